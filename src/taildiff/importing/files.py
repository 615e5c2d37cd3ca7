"""Files of parameters: single, sharded, or in a folder."""

import json
from pathlib import Path
from typing import Any

from taildiff.errors import CheckpointError, InputError
from taildiff.io.paths import reason, whole
from taildiff.models.convert import plain_names, read_foreign
from taildiff.run.weights import Tensors, read_tensors

INDEX = ".safetensors.index.json"
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt")
_STEMS = ("diffusion_pytorch_model", "model")
"""Names that diffusers and others give to the file of a model's folder, without variants such as fp16."""


def parameter_file(place: Path) -> Path | None:
    """The file of a folder that holds its parameters, or the index of its shards; None where it is not clear."""
    for stem in _STEMS:
        for suffix in (".safetensors", INDEX):
            if (path := place / f"{stem}{suffix}").is_file():
                return path
    found = [path for path in sorted(place.iterdir()) if path.name.endswith((*SUFFIXES, INDEX)) and path.is_file()]
    indices = [path for path in found if path.name.endswith(INDEX)]
    return (indices or found)[0] if len(indices) == 1 or len(found) == 1 else None


def read_parameters(place: Path) -> Tensors:
    """Parameters by plain name, of a file, of the shards of an index, or of a folder with either.

    `InputError` for a folder with none or several, `CheckpointError` for damaged or missing files.
    """
    if place.is_dir():
        if (found := parameter_file(place)) is None:
            kinds = ", ".join(SUFFIXES)
            raise InputError(f"{place} has no single file of parameters ({kinds}) and no {INDEX[1:]}; name the file")
        place = found
    if not place.name.endswith(INDEX):
        return read_foreign(place)
    tensors: Tensors = {}
    for shard in _shards(place):
        tensors |= read_tensors(place.parent / shard)[0]
    return plain_names(tensors)


def _shards(index: Path) -> list[str]:
    try:
        names: Any = json.loads(whole(index).read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(names.values()))
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is damaged or no index of shards: {reason(error)}") from None
    if not all(isinstance(shard, str) and Path(shard).name == shard for shard in shards):
        raise CheckpointError(f"{index} is damaged: it does not map parameters to files beside it")
    return shards
