"""External weights: official SiT and DiT checkpoints, and safetensors with the same names.

Only tensors and argparse.Namespace, which the official files contain, are unpickled.
"""

import argparse
import re
from collections.abc import Sequence
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
WRAPPERS = ("ema", "model", "state_dict")
"""Keys under which official files keep the parameters, in order of preference."""


def read_foreign(path: Path) -> Tensors:
    """Parameters by name from `.safetensors`, or torch's `.pt` and `.pth`; `CheckpointError` names a bad file.

    The file is memory-mapped: of a training checkpoint of SiT-XL/2 (parameters, EMA and optimiser, 10.8 GB) only the
    EMA's 2.7 GB are read. Files from before torch 1.6 are read completely.
    """
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
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
    return {str(name).removeprefix("module."): value for name, value in content.items()}


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
    `CheckpointError` names parameters that are missing, unknown, of another shape or not finite; the network is then
    unchanged.
    """
    fresh = network.state_dict()
    tensors = {
        name: _labels(fresh[name], value, rows) if name in LABELS and name in fresh else value
        for name, value in tensors.items()
    }
    if problems := misfits(fresh, tensors):
        raise CheckpointError(f"{source} does not fit this network: {problems}")
    check_finite(tensors, source)
    network.load_state_dict(tensors)


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
