"""Weights files: safetensors with the spec and the data's facts in the metadata: all that sampling needs."""

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from taildiff.errors import CheckpointError
from taildiff.runs import write_atomic
from taildiff.spec import DataFacts, RunSpec, Spec

Tensors = dict[str, Tensor]


class WeightsMeta(Spec):
    """What stands beside the tensors."""

    format: int = 1
    kind: str
    """`ema` or `raw`."""
    step: int
    spec: RunSpec
    facts: DataFacts


def write_weights(path: Path, tensors: Tensors, meta: WeightsMeta) -> None:
    """Write atomically."""
    values = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(values, {"taildiff": meta.model_dump_json()}))


def read_weights(path: Path) -> tuple[Tensors, WeightsMeta]:
    """Tensors by parameter name and what stands beside them; `CheckpointError` names a damaged or foreign file."""
    tensors, metadata = read_tensors(path)
    if "taildiff" not in metadata:
        raise CheckpointError(f"{path} is not a weights file of taildiff (no spec in its metadata)")
    try:
        return tensors, WeightsMeta.model_validate(json.loads(metadata["taildiff"]))
    except (ValidationError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: its metadata does not fit this version of taildiff: {error}") from None


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Any safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file: {error}") from None


def file_hash(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
