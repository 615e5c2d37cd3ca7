"""Weights files: safetensors with spec and data facts in the metadata, which is all that sampling needs."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from taildiff.errors import CheckpointError
from taildiff.io.atomic import write_atomic
from taildiff.io.checksum import CHECKSUM, json_sha256
from taildiff.io.paths import reason, regular
from taildiff.run.info import FORMAT, Format, check_format, upgraded
from taildiff.spec import DataFacts, ModelSpec, RunSpec, Spec, parse

Tensors = dict[str, Tensor]


class WeightsMeta(Spec):
    """The metadata of a weights file."""

    format: Format = FORMAT
    kind: str
    """`ema` or `raw`."""
    step: int
    spec: RunSpec
    facts: DataFacts
    sha256: str = ""
    """Over tensors and metadata; all metadata is one entry, because safetensors does not keep the order of several."""


def write_weights(path: Path, tensors: Tensors, meta: WeightsMeta) -> None:
    """Write a weights file atomically, with a checksum over tensors and metadata."""
    values = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    fields = meta.model_dump(mode="json", exclude={CHECKSUM})
    text = json.dumps(fields | {CHECKSUM: content_hash(values, fields)}, separators=(",", ":"))
    write_atomic(path, save(values, {"taildiff": text}))


def read_weights(path: Path) -> tuple[Tensors, WeightsMeta]:
    """Tensors by parameter name and the metadata; `CheckpointError` for a damaged or foreign file."""
    tensors, metadata = read_tensors(path)
    if "taildiff" not in metadata:
        raise CheckpointError(f"{path} is not a weights file of taildiff (no spec in its metadata)")
    try:
        fields = json.loads(metadata["taildiff"])
        check_format(fields, path, CheckpointError)
        meta = parse(WeightsMeta, upgraded(fields))
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata does not fit this version of taildiff: {error}") from None
    if fields.pop(CHECKSUM, None) != content_hash(tensors, fields):
        raise CheckpointError(f"{path} is damaged: its checksum does not match its content")
    return tensors, meta


def check_size(tensors: Tensors, model: ModelSpec, source: object) -> None:
    """`CheckpointError` for weights that describe a larger network, which could take any amount of memory to build."""
    held, needed = sum(tensor.numel() for tensor in tensors.values()), model.fewest_parameters
    if held < needed:
        raise CheckpointError(f"{source} describes a network of at least {needed:,} parameters, but holds {held:,}")


def nonfinite(tensors: Mapping[str, Tensor]) -> str:
    """Which tensors contain NaN or infinity, for an error message; empty without any."""
    bad = [name for name, value in tensors.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    return f"{bad[0]} and {len(bad) - 1} more" if len(bad) > 1 else "".join(bad)


def check_finite(tensors: Tensors, source: object) -> None:
    """`CheckpointError` for weights with NaN or infinity, which make black images and losses that are not finite."""
    if bad := nonfinite(tensors):
        raise CheckpointError(
            f"{source} has weights that are NaN or infinite ({bad}): training had diverged. Use weights of an earlier "
            "step, or train again with a lower --optimizer.lr"
        )


def content_hash(tensors: Tensors, fields: Mapping[str, Any]) -> str:
    """sha256 over the metadata fields and over names, types, shapes and values of the tensors; hexadecimal."""
    digest = hashlib.sha256(json_sha256(fields).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def is_taildiff_file(path: Path) -> bool:
    """Whether a safetensors file was written by `write_weights`; reads its header only."""
    with _opened(path) as file:
        return "taildiff" in (file.metadata() or {})


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of any safetensors file."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An open safetensors file; `CheckpointError` when it is missing or damaged."""
    try:
        with safe_open(regular(path), framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file: {reason(error)}") from None
