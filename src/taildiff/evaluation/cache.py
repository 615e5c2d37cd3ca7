"""What an evaluation keeps while it goes on, by a hash of all that it depends on: features, and the numbers of a part.

A part is one family of metrics of one set of images. A stopped evaluation goes on after its last part, and another one
that shares images or metrics takes them from here. A damaged or missing file is worked out again.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taildiff.evaluation.scores import Number
from taildiff.evaluation.table import Metric
from taildiff.io.atomic import write_atomic
from taildiff.io.npz import NPZ_DAMAGE
from taildiff.spec.base import Spec

Features = NDArray[np.float32]


class _Record(Spec):
    metric: Metric
    value: float | None
    n_real: int
    n_generated: int
    low: float | None
    high: float | None
    replicated: bool


def digest(*values: object) -> str:
    """A name for whatever can be written as JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def digest_of_images(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """A name for just these images and labels."""
    found = hashlib.sha256(repr(images.shape).encode())
    for start in range(0, len(images), 4096):
        found.update(images[start : start + 4096].tobytes())
    found.update(labels.astype("<i8").tobytes())
    return found.hexdigest()


def kept_features(folder: Path, key: str, make: Callable[[], Features]) -> Features:
    """Features (N, D) kept in a folder under a key, or made and kept there."""
    path = folder / f"features-{key[:32]}.npz"
    kept = _read(path, key, "features")
    if kept is not None:
        return kept.astype(np.float32, copy=False)
    made = make()
    _write(path, key, {"features": made})
    return made


def kept_numbers(folder: Path, key: str, make: Callable[[], list[Number]]) -> list[Number]:
    """Numbers with their replicates kept in a folder under a key, or made and kept there."""
    path = folder / f"part-{key[:32]}.npz"
    records, replicates = _read(path, key, "numbers"), _read(path, key, "replicates")
    if records is not None and replicates is not None:
        return _numbers([_Record.model_validate(values) for values in json.loads(str(records))], replicates)
    made = make()
    known = [number.replicates for number in made if number.replicates is not None]
    values = [
        _Record(
            metric=n.metric,
            value=n.value,
            n_real=n.n_real,
            n_generated=n.n_generated,
            low=n.low,
            high=n.high,
            replicated=n.replicates is not None,
        ).model_dump()
        for n in made
    ]
    _write(path, key, {"numbers": np.array(json.dumps(values)), "replicates": np.array(known)})
    return made


def _numbers(records: Sequence[_Record], replicates: NDArray[np.float64]) -> list[Number]:
    rows = iter(replicates)
    return [
        Number(r.metric, r.value, r.n_real, r.n_generated, r.low, r.high, next(rows) if r.replicated else None)
        for r in records
    ]


def _read(path: Path, key: str, name: str) -> NDArray | None:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return file[name] if str(file["key"]) == key else None
    except NPZ_DAMAGE:
        return None


def _write(path: Path, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, key=np.array(key), **arrays)
    try:
        write_atomic(path, buffer.getvalue())
    except OSError:  # a place that cannot be written costs time next time, and no more
        return
