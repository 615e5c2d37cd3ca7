"""Caches features, the numbers of one family of metrics on one set of images, and what depends on the real images
alone, each by a hash of all it depends on.

An interrupted evaluation resumes after the last cached family, and one that shares images or metrics reuses them.
Damaged or missing files are computed again. The hash includes the images themselves: what was computed from others, as
when two processes wrote the same file, is never used, whatever settings they share.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taildiff.evaluation.images import ImageSequence
from taildiff.evaluation.sample import Number
from taildiff.io.atomic import write_atomic
from taildiff.io.npz import NpzError, read_arrays

Features = NDArray[np.float32]
_ARRAYS = ("replicates", "real_side")
_ROWS = 4096


def cache_key(*values: object) -> str:
    """The SHA-256 of values as JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def images_key(images: ImageSequence, labels: NDArray[np.int64]) -> str:
    """The SHA-256 of images and labels."""
    digest = hashlib.sha256(repr(images.shape).encode())
    for start in range(0, len(images), _ROWS):
        digest.update(images[start : start + _ROWS].tobytes())
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def cached_features(folder: Path, key: str, make: Callable[[], Features]) -> Features:
    """Features (N, D) cached in a folder under a key; computed and cached where missing."""
    path = folder / f"features-{key[:32]}.npz"
    if cached := _read(path, key, "features"):
        return cached[0].astype(np.float32, copy=False)
    features = make()
    _write(path, key, features=features)
    return features


def cached_array(folder: Path, key: str, make: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
    """An array cached in a folder under a key; computed and cached where missing."""
    path = folder / f"real-{key[:32]}.npz"
    if cached := _read(path, key, "values"):
        return cached[0]
    values = np.asarray(make())
    _write(path, key, values=values)
    return values


def cached_numbers(folder: Path, key: str, make: Callable[[], list[Number]]) -> list[Number]:
    """Numbers with their replicates cached in a folder under a key; computed and cached where missing."""
    path = folder / f"part-{key[:32]}.npz"
    if cached := _read(path, key, "numbers", "replicates"):
        rows = iter(cached[1])
        values = json.loads(str(cached[0]))
        return [Number(**each | {name: next(rows) if each[name] else None for name in _ARRAYS}) for each in values]
    numbers = make()
    arrays = [array for number in numbers for name in _ARRAYS if (array := getattr(number, name)) is not None]
    values = [vars(n) | {name: getattr(n, name) is not None for name in _ARRAYS} for n in numbers]
    _write(path, key, numbers=np.array(json.dumps(values)), replicates=np.array(arrays))
    return numbers


def _read(path: Path, key: str, *names: str) -> list[NDArray]:
    """The named arrays; none if the file is missing, damaged or of another key."""
    try:
        cached_key, *arrays = read_arrays(path, ("key", *names), largest=None)
    except (OSError, NpzError):
        return []
    return arrays if str(cached_key) == key else []


def _write(path: Path, key: str, **arrays: NDArray) -> None:
    try:
        write_atomic(path, lambda file: np.savez(file, allow_pickle=False, key=np.array(key), **arrays))
    except OSError:  # an unwritable folder costs time next time and nothing else
        return
