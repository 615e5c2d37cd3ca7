"""What a classifier says of generated images: Inception score, accuracy, confusion.

Inception score (Salimans et al. 2016): `exp(mean KL(p(y|x) || p(y)))`, p(y) the mean of p(y|x) over a split's images.
It knows no real images: a copied training image scores well, and so does one clear image a class.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from taildiff.errors import InputError
from taildiff.metrics.points import Features, as_array, points

_SUM = 1e-3  # how far from 1 probabilities in float16 may add up to


@dataclass(frozen=True)
class InceptionScore:
    """In [1, number of classes]; `float()` of it is the mean."""

    mean: float
    std: float
    """Over the splits; 0 for one."""

    def __float__(self) -> float:
        return self.mean


def inception_score(probabilities: Features, splits: int = 10) -> InceptionScore:
    """Mean and standard deviation over `splits` successive parts of class probabilities (N, C) of generated images.

    Shuffle what is sorted by class first: a part of one class alone scores 1.
    """
    array = points(probabilities, "class probabilities", at_least=1).astype(np.float64)
    sums = array.sum(axis=1)
    if (array < 0).any() or (np.abs(sums - 1) > _SUM).any():
        raise InputError("class probabilities must be at least 0 and add up to 1 for each image: apply a softmax first")
    if not 1 <= splits <= len(array):
        raise InputError(f"splits must be from 1 to the number of images, {len(array)}; got {splits}")
    parts = np.array_split(array / sums[:, None], splits)
    scores = [np.exp(rel_entr(part, part.mean(axis=0)).sum(axis=1).mean()) for part in parts]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def accuracy(predicted: Features, labels: Features) -> float:
    """Share of images (N,) that a classifier of real images takes for the class that was asked for."""
    found, asked = _labels(predicted, labels)
    return float((found == asked).mean())


def confusion(predicted: Features, labels: Features, classes: int) -> NDArray[np.int64]:
    """How many images (C, C) of each class asked for (row) the classifier takes for each class (column)."""
    found, asked = _labels(predicted, labels)
    low, high = min(found.min(), asked.min()), max(found.max(), asked.max())
    if low < 0 or high >= classes:
        raise InputError(f"labels must be from 0 to {classes - 1}, got {low} to {high}")
    return np.bincount(asked * classes + found, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def _labels(predicted: Features, labels: Features) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    found, asked = as_array(predicted), as_array(labels)
    if found.ndim != 1 or found.shape != asked.shape or not len(found):
        raise InputError(f"one predicted and one true label an image are needed, got {found.shape} and {asked.shape}")
    if found.dtype.kind not in "iu" or asked.dtype.kind not in "iu":
        raise InputError(f"labels must be whole numbers, got {found.dtype} and {asked.dtype}")
    return found.astype(np.int64), asked.astype(np.int64)
