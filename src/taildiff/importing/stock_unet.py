"""`UNet2DModel` of diffusers as our U-Net and back; ours is that network with a fixed choice of its options."""

from collections.abc import Mapping
from typing import Any

from taildiff.errors import InputError
from taildiff.models.unet import groups_of
from taildiff.spec import DataFacts, DDPMSpec, UNetSpec, parse

_FIXED = {
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "act_fn": "silu",
    "attn_norm_num_groups": None,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": None,
}
"""Entries of config.json that have to be as here; older versions of diffusers leave some out."""
_SINUSOIDS = {(True, 0): "cos-sin", (False, 1): "sin-cos"}


def unet_spec(config: Mapping[str, Any], source: str) -> UNetSpec:
    """The network of a config.json; `InputError` names the entry that ours does not have."""
    for name, value in _FIXED.items():
        if config.get(name, value) != value:
            raise _unsupported(source, name, config[name], value)
    down, up = list(config["down_block_types"]), list(config["up_block_types"])
    kinds = ["Attn" if kind.startswith("Attn") else "" for kind in down]
    expected = [f"{kind}DownBlock2D" for kind in kinds], [f"{kind}UpBlock2D" for kind in reversed(kinds)]
    for name, have, want in zip(("down_block_types", "up_block_types"), (down, up), expected, strict=True):
        if have != want:
            raise _unsupported(source, name, have, want)
    sinusoids = config.get("flip_sin_to_cos", True), config.get("freq_shift", 0)
    if sinusoids not in _SINUSOIDS:
        raise _unsupported(source, "flip_sin_to_cos, freq_shift", sinusoids, (True, 0))
    values = {
        "channels": config["block_out_channels"],
        "blocks": config["layers_per_block"],
        "attention": [level for level, kind in enumerate(kinds) if kind],
        "dropout": config.get("dropout", 0.0),
        "groups": config.get("norm_num_groups", 32),
        "head_channels": config.get("attention_head_dim", 8),
        "norm_eps": config.get("norm_eps", 1e-5),
        "downsample_padding": config.get("downsample_padding", 1),
        "sinusoids": _SINUSOIDS[sinusoids],
    }
    return parse(UNetSpec, values, f"{source}: config.json")


def unet_config(spec: UNetSpec, facts: DataFacts) -> dict[str, Any]:
    """The arguments of the UNet2DModel with the same parameters and predictions: the inverse of `unet_spec`."""
    channels, height, width = facts.shape
    kinds = ["Attn" if level in spec.attention else "" for level in range(len(spec.channels))]
    flipped, shift = next(pair for pair, name in _SINUSOIDS.items() if name == spec.sinusoids)
    return {
        "sample_size": (height, width),
        "in_channels": channels,
        "out_channels": channels,
        "layers_per_block": spec.blocks,
        "block_out_channels": spec.channels,
        "down_block_types": tuple(f"{kind}DownBlock2D" for kind in kinds),
        "up_block_types": tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        "norm_num_groups": groups_of(spec.channels, spec.group_channels, spec.groups),
        "attention_head_dim": spec.head_channels,
        "norm_eps": spec.norm_eps,
        "downsample_padding": spec.downsample_padding,
        "flip_sin_to_cos": flipped,
        "freq_shift": shift,
        "dropout": spec.dropout,
        "num_class_embeds": facts.classes + 1,
    }


def ddpm_spec(scheduler: Mapping[str, Any], source: str) -> DDPMSpec:
    """The process of a scheduler_config.json; `InputError` for what is not the DDPM process with predicted noise.

    Without an entry, as in diffusers: 1000 steps and linear betas from 0.0001 to 0.02.
    """
    for name, value in (("beta_schedule", "linear"), ("prediction_type", "epsilon"), ("trained_betas", None)):
        if scheduler.get(name, value) != value:
            raise _unsupported(source, name, scheduler[name], value)
    steps = scheduler.get("num_train_timesteps", 1000)
    if steps != 1000:
        raise _unsupported(source, "num_train_timesteps", steps, 1000)
    values = {name: scheduler[name] for name in ("beta_start", "beta_end") if name in scheduler}
    return parse(DDPMSpec, values, f"{source}: scheduler_config.json")


def _unsupported(source: str, name: str, value: object, supported: object) -> InputError:
    return InputError(f"{source} has {name} {value!r}, and only {supported!r} is supported; train it in its own code")
