"""Input checks of all metrics: finite real numbers, one row per sample."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from taildiff.errors import InputError

Features = Any  # a numpy array or torch tensor, (N, D)
Floats = NDArray[np.float64]
_CHUNK = 4096


def points(features: Features, name: str, at_least: int = 0) -> NDArray[Any]:
    """Features as a numpy array (N, D), without a copy if possible; `InputError` unless they are real numbers."""
    array = as_array(features)
    if array.ndim != 2:
        raise InputError(f"{name} must be (N, D), got shape {array.shape}: flatten each sample to one row")
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name} must be real numbers, got {array.dtype}")
    if not array.shape[1]:
        raise InputError(f"{name} have no dimension, shape {array.shape}; give at least one number per sample")
    if not all(np.isfinite(array[start : start + _CHUNK]).all() for start in range(0, len(array), _CHUNK)):
        raise InputError(f"{name} contain NaN or infinite values")
    if len(array) < at_least:
        raise InputError(f"at least {at_least} {name} are required, got {len(array)}")
    return array


def pair(real: Features, generated: Features, at_least: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Real and generated features, checked to have the same dimension."""
    a, b = points(real, "real features"), points(generated, "generated features")
    same_dimension(a, b, "real features", "generated ones")
    for array, name in ((a, "real"), (b, "generated")):
        if len(array) < at_least:
            raise InputError(f"at least {at_least} {name} points are required, got {len(array)}")
    return a, b


def same_dimension(a: NDArray[Any], b: NDArray[Any], first: str, second: str) -> None:
    """Raise `InputError` for features of different extractors."""
    if a.shape[1] != b.shape[1]:
        raise InputError(f"{first} have {a.shape[1]} dimensions, {second} {b.shape[1]}: use one extractor")


def as_array(values: Any) -> NDArray[Any]:
    """Numpy array of an array, a list or a torch tensor on any device and in any precision."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if values.dtype.is_floating_point and values.dtype.itemsize < 4:
            values = values.float()  # numpy has no bfloat16
        values = values.numpy()
    return np.asarray(values)
