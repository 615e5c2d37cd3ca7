"""How much the samples of one class differ from each other; real images are not used.

- Mean distance between two samples.
- Vendi score (Friedman and Dieng 2023): exp of the entropy of the eigenvalues of `K / n`, K the cosine similarities:
  the effective number of distinct samples, 1 for copies, n for orthogonal features.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from taildiff.errors import InputError
from taildiff.metrics.distances import CHUNK, Distances
from taildiff.metrics.points import Features, as_array, points

_NEAR = 1e-6  # below this, the root of a product-form distance has too few digits


@dataclass(frozen=True)
class Diversity:
    """Diversity of one class, or the mean over classes."""

    mean_distance: float
    """Mean Euclidean distance over all pairs."""
    vendi: float
    """In [1, n]."""


def intra_class_diversity(features: Features, labels: Features | None = None, chunk: int = CHUNK) -> Diversity:
    """Diversity of features (N, D) of one class; with labels (N,), the mean of the per-class values.

    The Vendi score depends on n: compare only equal numbers per class.
    """
    array = points(features, "features", at_least=2)
    classes = np.zeros(len(array)) if labels is None else as_array(labels)
    if classes.shape != (len(array),):
        raise InputError(f"{len(array)} features have labels of shape {classes.shape}; give one label per feature")
    parts = [array[classes == label] for label in np.unique(classes)]
    if min(len(part) for part in parts) < 2:
        raise InputError("a class has a single sample; diversity needs at least 2 per class")
    distances = [_mean_distance(part, chunk) for part in parts]
    return Diversity(float(np.mean(distances)), float(np.mean([_vendi(part) for part in parts])))


def _mean_distance(array: NDArray[Any], chunk: int) -> float:
    distances, total = Distances(array, chunk=chunk), 0.0
    for block in distances.blocks(single=False):
        squared = block.squared
        near = np.nonzero(squared <= _NEAR * (block.lengths[0][:, None] + block.lengths[1]))
        squared[near] = block.exact(*near)
        if block.on_diagonal:
            np.fill_diagonal(squared, 0)
        total += (1 if block.on_diagonal else 2) * float(np.sqrt(squared).sum())
    return total / np.sqrt(distances.scale) / (len(array) * (len(array) - 1))


def _vendi(array: NDArray[Any]) -> float:
    values = array.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    values /= np.where(lengths > 0, lengths, 1)
    small = values @ values.T if len(values) <= values.shape[1] else values.T @ values  # equal nonzero eigenvalues
    eigenvalues = np.linalg.eigvalsh(small).clip(min=0)
    total = eigenvalues.sum()
    return float(np.exp(entr(eigenvalues / total).sum())) if total else 1.0
