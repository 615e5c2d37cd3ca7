"""Weights files: safetensors with the spec and the data's facts in the metadata: all that sampling needs."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from taildiff.errors import CheckpointError
from taildiff.io.atomic import write_atomic
from taildiff.io.checksum import CHECKSUM, json_sha256
from taildiff.spec import DataFacts, RunSpec, Spec, explain, field_names

Tensors = dict[str, Tensor]


class WeightsMeta(Spec):
    """What stands beside the tensors."""

    format: Literal[2] = 2
    kind: str
    """`ema` or `raw`."""
    step: int
    spec: RunSpec
    facts: DataFacts
    sha256: str = ""
    """Over the tensors and all else here; inside the one entry of the metadata, because several have no fixed order."""


def write_weights(path: Path, tensors: Tensors, meta: WeightsMeta) -> None:
    """Write atomically, with a checksum over tensors and metadata."""
    values = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    beside = meta.model_dump(mode="json", exclude={CHECKSUM})
    text = json.dumps(beside | {CHECKSUM: content_hash(values, beside)}, separators=(",", ":"))
    write_atomic(path, save(values, {"taildiff": text}))


def read_weights(path: Path) -> tuple[Tensors, WeightsMeta]:
    """Tensors by parameter name and what stands beside them; `CheckpointError` names a damaged or foreign file."""
    tensors, metadata = read_tensors(path)
    if "taildiff" not in metadata:
        raise CheckpointError(f"{path} is not a weights file of taildiff (no spec in its metadata)")
    try:
        beside = json.loads(metadata["taildiff"])
        meta = WeightsMeta.model_validate(beside)
    except (ValueError, RecursionError) as error:  # of pydantic, too
        reason = explain(error, known=field_names(WeightsMeta)) if isinstance(error, ValidationError) else str(error)
        raise CheckpointError(f"{path}: its metadata does not fit this version of taildiff: {reason}") from None
    if beside.pop(CHECKSUM, None) != content_hash(tensors, beside):
        raise CheckpointError(f"{path} is damaged: its checksum does not fit its content")
    return tensors, meta


def content_hash(tensors: Tensors, beside: Mapping[str, Any]) -> str:
    """sha256 over what stands beside them, names, types, shapes and values of the tensors; hexadecimal."""
    found = hashlib.sha256(json_sha256(beside).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def is_own(path: Path) -> bool:
    """Whether a safetensors file was written by `write_weights`; reads its header only."""
    with _opened(path) as file:
        return "taildiff" in (file.metadata() or {})


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Any safetensors file."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file; `CheckpointError` names one that is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file: {error}") from None
