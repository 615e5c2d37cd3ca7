"""External weights: safetensors and torch's files with the names of our networks, in whatever they are wrapped.

Only tensors and argparse.Namespace, which the official files contain, are unpickled.
"""

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from zipfile import is_zipfile

import torch
from torch import Tensor

from taildiff.errors import CheckpointError, first_few
from taildiff.io.nested_tuples import check_checkpoint
from taildiff.io.paths import reason, regular
from taildiff.models.denoiser import Denoiser
from taildiff.run.weights import Tensors, check_finite, read_tensors

LABELS = ("y_embedder.embedding_table.weight", "net.class_embedding.weight")
"""Tables with one row per class and a last one for "no label"."""
WRAPPERS = ("ema", "ema_state_dict", "model_ema", "model", "model_state_dict", "state_dict", "net")
"""Keys under which files keep the parameters, in order of preference: averaged ones first."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""What DDP, torch.compile and containers put in front of every name."""
_PROJECTORS = "projectors."
"""REPA's heads, which only its loss uses."""


def read_foreign(path: Path) -> Tensors:
    """Parameters by name from `.safetensors`, or torch's `.pt` and `.pth`; `CheckpointError` names a bad file.

    The file is memory-mapped: of a training checkpoint of SiT-XL/2 (parameters, EMA and optimiser, 10.8 GB) only the
    EMA's 2.7 GB are read. Files from before torch 1.6 are read completely.
    """
    if path.suffix == ".safetensors":
        return plain_names(read_tensors(path)[0])
    try:
        check_checkpoint(regular(path))
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except Exception as error:  # on damaged files, unpickling raises a dozen types
        raise CheckpointError(f"{path} is damaged or contains non-tensor objects{_why(error)}") from None
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not all(map(_is_plain, content.values())):
        raise CheckpointError(f"{path} contains no named parameters (searched the top level and {', '.join(WRAPPERS)})")
    return plain_names({str(name): value for name, value in content.items()})


def plain_names(tensors: Tensors) -> Tensors:
    """Parameters without the prefixes that all of them have, and without the counter of an averaged model."""
    tensors = {name: value for name, value in tensors.items() if name != "n_averaged"}
    while tensors and (prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), "")):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def is_repa(names: Iterable[str]) -> bool:
    """Whether a network was saved by REPA or DeltaFM, by its projectors."""
    return any(name.startswith(_PROJECTORS) for name in names)


def without_heads(tensors: Tensors) -> Tensors:
    """Without REPA's projectors; blocks that its first release called `decoder_blocks.i` follow the others."""
    first = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    kept = {name: value for name, value in tensors.items() if not name.startswith(_PROJECTORS)}
    moved = re.compile(r"decoder_blocks\.(\d+)")
    return {moved.sub(lambda m: f"blocks.{int(m[1]) + first}", name): value for name, value in kept.items()}


def _is_plain(value: object) -> bool:
    """Whether it is a tensor with its numbers in memory, one by one."""
    return (
        isinstance(value, Tensor)
        and (value.layout, value.device.type) == (torch.strided, "cpu")
        and not (value.is_quantized or value.is_complex() or value.is_nested)
    )


def _why(error: Exception) -> str:
    """The library's reason, without its advice to load the file unsafely."""
    if named := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f": {named[1]}"
    return "" if "weights" in str(error).lower() else f": {reason(error)}"


def load_foreign(network: Denoiser, tensors: Tensors, source: str, rows: Sequence[int | None] | None = None) -> None:
    """Load parameters into a network.

    `rows` has the row of the given label table for each class, None for a new class, which keeps its initial row; the
    null row is always taken. Without it, tables of equal size are taken as they are, and of others only the null row.
    An unconditional U-Net has no table: then all rows are 0, so that the network starts as the given one.
    `CheckpointError` names what does not fit and why, or is not finite; the network is then unchanged.
    """
    fresh = network.state_dict()
    tensors = _completed(fresh, tensors)
    tensors = {
        name: _labels(fresh[name], value, rows) if name in LABELS and name in fresh else value
        for name, value in tensors.items()
    }
    if problems := misfits(fresh, tensors):
        if not (fresh.keys() & tensors.keys()) - {"pos_embed"}:
            problems = f"none of its {len(tensors)} parameters has the name of one of the {len(fresh)} here"
        raise CheckpointError(f"{source} does not fit this network: {problems}{explained(fresh, tensors)}")
    check_finite(tensors, source)
    network.load_state_dict(tensors)


def _completed(fresh: Tensors, tensors: Tensors) -> Tensors:
    """The parameters with our prefix, fixed positions where they were not saved, and a table where there is none."""
    if all(name.startswith("net.") for name in fresh) and "conv_in.weight" in tensors:
        tensors = {f"net.{name}": value for name, value in tensors.items()}
    added = {"pos_embed": fresh["pos_embed"]} if "pos_embed" in fresh else {}
    table = LABELS[1]
    if table in fresh and fresh.keys() - tensors.keys() == {table}:
        added[table] = torch.zeros_like(fresh[table])
    return added | without_heads(tensors)


def explained(fresh: Tensors, given: Tensors) -> str:
    """Two lines on why parameters do not fit: what both networks are, and options that make them alike."""
    own, other = architecture(fresh), architecture(given)
    if not other:
        return "\nIt is neither a SiT or DiT nor a U-Net of diffusers, whose parameters have known names"
    if own["kind"] != other["kind"]:
        title = {"sit": "a SiT or DiT", "unet": "a U-Net"}
        return f"\nIt is {title[other['kind']]}, and this network is {title[own['kind']]}: choose another recipe"
    differ = [name for name in other if other[name] != own.get(name)]
    shown = ", ".join(f"{name} {other[name]} rather than {own.get(name)}" for name in differ)
    options = " ".join(f"--model.{name.replace('_', '-')} {other[name]}" for name in differ if " " not in name)
    reasons = f"\nIt has {shown}" if shown else "\nIts blocks are built differently"
    data = "; the data must have its size and channels" if any(" " in name for name in differ) else ""
    return reasons + (f"\nTo train that network: {options}{data}" if options or data else "")


def architecture(tensors: Tensors) -> dict[str, str]:
    """The fields of `spec.model` that the parameters show, and the input, as text; empty for another network."""
    names = {name.removeprefix("net."): tuple(value.shape) for name, value in tensors.items()}
    if "x_embedder.proj.weight" in names and "final_layer.linear.weight" in names:
        width, channels, patch, _ = names["x_embedder.proj.weight"]
        out = names["final_layer.linear.weight"][0] // patch**2
        depth = len({name.split(".")[1] for name in names if name.startswith("blocks.")})
        found = {"kind": "sit", "depth": depth, "width": width, "patch": patch, "learn_sigma": out == 2 * channels}
        places = {"input patches": names["pos_embed"][1]} if "pos_embed" in names else {}
        return {name: str(value) for name, value in (found | {"input channels": channels} | places).items()}
    if "conv_in.weight" in names and "conv_out.weight" in names:
        levels = len({name.split(".")[1] for name in names if name.startswith("down_blocks.")})
        first = [f"down_blocks.{level}.resnets.0.conv1.weight" for level in range(levels)]
        if not all(name in names for name in first):
            return {}
        blocks = len({name.split(".")[3] for name in names if name.startswith("down_blocks.0.resnets.")})
        attention = [level for level in range(levels) if any(n.startswith(f"down_blocks.{level}.att") for n in names)]
        listed = {"channels": [names[name][0] for name in first], "blocks": [blocks], "attention": attention}
        shown = {name: " ".join(map(str, values)) or "none" for name, values in listed.items()}
        return {"kind": "unet", **shown, "input channels": str(names["conv_in.weight"][1])}
    return {}


def misfits(expected: Tensors, given: Tensors) -> str:
    """The first parameters that are missing, unknown or of another shape, as text; empty if all fit."""
    problems = [f"{name} is missing" for name in expected.keys() - given.keys()]
    problems += [f"{name} is not a parameter of this network" for name in given.keys() - expected.keys()]
    problems += [
        f"{name} is {tuple(given[name].shape)} rather than {tuple(expected[name].shape)}"
        for name in expected.keys() & given.keys()
        if expected[name].shape != given[name].shape
    ]
    return first_few(sorted(problems), 4, "; ")


def _labels(fresh: Tensor, given: Tensor, rows: Sequence[int | None] | None) -> Tensor:
    """The table with the given rows of known classes, the fresh ones of new classes and the given null row."""
    if fresh.shape[1:] != given.shape[1:] or (rows is None and fresh.shape == given.shape):
        return given
    table = torch.cat([fresh[:-1], given[-1:].to(fresh.dtype)])
    for label, row in enumerate(rows or ()):
        if row is not None:
            table[label] = given[row]
    return table
