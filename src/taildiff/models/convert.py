"""Weights made elsewhere: official SiT and DiT checkpoints, and safetensors with the same names.

Nothing is unpickled but tensors and argparse.Namespace, which the official files hold beside them.
"""

import argparse
from pathlib import Path
from pickle import UnpicklingError
from zipfile import is_zipfile

import torch
from torch import Tensor

from taildiff.errors import CheckpointError
from taildiff.models.denoiser import Denoiser
from taildiff.run.weights import Tensors, read_tensors

LABELS = ("y_embedder.embedding_table.weight", "net.class_embedding.weight")
"""Tables with a row for each class and a last one for "no label"."""
WRAPPERS = ("ema", "model", "state_dict")
"""Where official files keep the parameters, the best first."""


def read_foreign(path: Path) -> Tensors:
    """Parameters by name from `.safetensors`, or torch's `.pt` and `.pth`; `CheckpointError` names a bad file.

    The tensors are pages of the file, read when they are used: of a training checkpoint of SiT-XL/2 (parameters, EMA
    and optimiser, 10.8 GB) only the EMA's 2.7 GB ever are. Files from before torch 1.6 are read as a whole.
    """
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n", 1)[0]
        raise CheckpointError(f"{path} is damaged, or holds more than tensors: {reason}") from None
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} holds no parameters by name (looked at the top and in {', '.join(WRAPPERS)})")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def load_foreign(network: Denoiser, tensors: Tensors, source: str) -> None:
    """Load parameters into a network; with another number of classes the label table is new but for its null row.

    `CheckpointError` names the parameters that are missing, unknown or of another shape; nothing is changed then.
    """
    own = network.state_dict()
    tensors = {
        name: _labels(own[name], value) if name in LABELS and name in own else value for name, value in tensors.items()
    }
    if problems := misfits(own, tensors, "this network", ", and here"):
        raise CheckpointError(f"{source} does not fit this network: {problems}")
    network.load_state_dict(tensors)


def misfits(own: Tensors, given: Tensors, whose: str, than: str) -> str:
    """The first parameters that are missing, unknown or of another shape, in words; empty where all fit."""
    problems = [f"{name} is missing" for name in own.keys() - given.keys()]
    problems += [f"{name} is not a parameter of {whose}" for name in given.keys() - own.keys()]
    problems += [
        f"{name} is {tuple(given[name].shape)}{than} {tuple(own[name].shape)}"
        for name in own.keys() & given.keys()
        if own[name].shape != given[name].shape
    ]
    more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
    return "; ".join(sorted(problems)[:4]) + more


def _labels(own: Tensor, given: Tensor) -> Tensor:
    """The given table, or (other classes) the network's own with the given null row."""
    if own.shape == given.shape or own.shape[1:] != given.shape[1:]:
        return given
    return torch.cat([own[:-1], given[-1:].to(own.dtype)])
