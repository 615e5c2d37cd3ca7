"""Caches features, and the numbers of one family of metrics on one set of images, by a hash of all they depend on.

An interrupted evaluation resumes after the last cached family, and one that shares images or metrics reuses them.
Damaged or missing files are computed again.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taildiff.evaluation.scores import Number
from taildiff.io.atomic import write_atomic
from taildiff.io.npz import NpzError, read_arrays
from taildiff.spec import MetricName, Spec

Features = NDArray[np.float32]


class _CachedNumber(Spec):
    metric: MetricName
    value: float | None
    n_real: int
    n_generated: int
    low: float | None
    high: float | None
    replicated: bool

    @classmethod
    def of(cls, number: Number) -> "_CachedNumber":
        values = {name: getattr(number, name) for name in cls.model_fields if name != "replicated"}
        return cls(**values, replicated=number.replicates is not None)

    def number(self, replicates: NDArray[np.float64] | None) -> Number:
        return Number(**self.model_dump(exclude={"replicated"}), replicates=replicates)


def cache_key(*values: object) -> str:
    """The SHA-256 of values as JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def images_key(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """The SHA-256 of images and labels."""
    digest = hashlib.sha256(repr(images.shape).encode())
    for start in range(0, len(images), 4096):
        digest.update(images[start : start + 4096].tobytes())
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def cached_features(folder: Path, key: str, make: Callable[[], Features]) -> Features:
    """Features (N, D) cached in a folder under a key; computed and cached where missing."""
    path = folder / f"features-{key[:32]}.npz"
    cached = _read(path, key, "features")
    if cached is not None:
        return cached.astype(np.float32, copy=False)
    features = make()
    _write(path, key, {"features": features})
    return features


def cached_numbers(folder: Path, key: str, make: Callable[[], list[Number]]) -> list[Number]:
    """Numbers with their replicates cached in a folder under a key; computed and cached where missing."""
    path = folder / f"part-{key[:32]}.npz"
    cached, replicates = _read(path, key, "numbers"), _read(path, key, "replicates")
    if cached is not None and replicates is not None:
        rows = iter(replicates)
        values = [_CachedNumber.model_validate(each) for each in json.loads(str(cached))]
        return [value.number(next(rows) if value.replicated else None) for value in values]
    numbers = make()
    known = [number.replicates for number in numbers if number.replicates is not None]
    values = [_CachedNumber.of(number).model_dump() for number in numbers]
    _write(path, key, {"numbers": np.array(json.dumps(values)), "replicates": np.array(known)})
    return numbers


def _read(path: Path, key: str, name: str) -> NDArray | None:
    try:
        found, array = read_arrays(path, ("key", name), largest=None)
    except (OSError, NpzError):
        return None
    return array if str(found) == key else None


def _write(path: Path, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, key=np.array(key), **arrays)
    try:
        write_atomic(path, buffer.getvalue())
    except OSError:  # an unwritable folder costs time next time and nothing else
        return
