"""`DiTTransformer2DModel` of diffusers as our SiT with DiT's time, under the names of the official checkpoints.

The conversion of the official weights repeated the embedders of time and label in each block; they are one network
only where all copies are equal. Stock code embeds the time with frequencies 10,000^(-i/127) rather than 10,000^(-i/128)
(`model.frequencies 127`) and adds 1e-5 rather than 1e-6 in the norm before each MLP, which changes the fourth digit.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from taildiff.errors import CheckpointError, InputError
from taildiff.run.weights import Tensors
from taildiff.spec import ModelHints, SiTSpec, parse

_SHARED = {
    "timestep_embedder.linear_1": "t_embedder.mlp.0",
    "timestep_embedder.linear_2": "t_embedder.mlp.2",
    "class_embedder.embedding_table": "y_embedder.embedding_table",
}
_IN_BLOCK = {
    "norm1.linear": "adaLN_modulation.1",
    "attn1.to_out.0": "attn.proj",
    "ff.net.0.proj": "mlp.fc1",
    "ff.net.2": "mlp.fc2",
}
_OUTER = {"pos_embed.proj": "x_embedder.proj", "proj_out_1": "final_layer.adaLN_modulation.1"}
_OUTER |= {"proj_out_2": "final_layer.linear"}


def dit_spec(config: Mapping[str, Any], hints: ModelHints, source: str) -> SiTSpec:
    """The network of a transformer's config.json; `InputError` for an option that ours does not have."""
    fixed = {"norm_type": "ada_norm_zero", "attention_bias": True, "activation_fn": "gelu-approximate"}
    fixed |= {"norm_elementwise_affine": False, "upcast_attention": False}
    for name, value in fixed.items():
        if config.get(name, value) != value:
            raise InputError(f"{source} has {name} {config[name]!r}, and only {value!r} is supported")
    heads, channels = config.get("num_attention_heads", 16), config.get("in_channels", 4)
    out = config.get("out_channels") or channels
    if out not in (channels, 2 * channels):
        raise InputError(f"{source} has {out} output channels for {channels} input channels: one or two per input")
    values = {
        "depth": config.get("num_layers", 28),
        "width": heads * config.get("attention_head_dim", 72),
        "heads": hints.heads or heads,
        "patch": config.get("patch_size", 2),
        "learn_sigma": out == 2 * channels,
        "embed": hints.embed or "dit",
        "frequencies": hints.frequencies or 128,
    }
    return parse(SiTSpec, values, f"{source}: config.json")


def is_stock_dit(names: Any) -> bool:
    """Whether these are names of parameters of diffusers' DiT."""
    return "transformer_blocks.0.norm1.linear.weight" in names


def official_names(tensors: Tensors, source: str) -> Tensors:
    """The parameters under their official names; `CheckpointError` where blocks have embedders of their own."""
    renamed: Tensors = {}
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        stem, _, kind = name.rpartition(".")
        block = re.fullmatch(r"transformer_blocks\.(\d+)\.(.+)", stem)
        if block is None:
            renamed[f"{_OUTER.get(stem, stem)}.{kind}"] = value
        elif block[2].startswith("norm1.emb."):
            shared = f"{_SHARED[block[2].removeprefix('norm1.emb.')]}.{kind}"
            if not torch.equal(renamed.setdefault(shared, value), value):
                raise CheckpointError(
                    f"{source} has other embedders of time and label in each block ({name}), as training in diffusers "
                    "gives; networks here have one"
                )
        elif match := re.fullmatch(r"attn1\.to_([qkv])", block[2]):
            parts.setdefault(f"blocks.{block[1]}.attn.qkv.{kind}", {})[match[1]] = value
        else:
            renamed[f"blocks.{block[1]}.{_IN_BLOCK.get(block[2], block[2])}.{kind}"] = value
    return renamed | {name: torch.cat([each[key] for key in "qkv"]) for name, each in parts.items()}
