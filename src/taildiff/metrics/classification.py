"""Scores from a classifier's predictions on generated images: Inception score, accuracy, confusion.

Inception score (Salimans et al. 2016): `exp(mean KL(p(y|x) || p(y)))`, p(y) the mean of p(y|x) over a split's images.
It ignores real images: a copied training image scores well, and so does one clear image per class.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from taildiff.errors import InputError
from taildiff.metrics.points import Features, as_array, points

_SUM_TOLERANCE = 1e-3  # probabilities in float16 may miss a sum of 1 by this much


@dataclass(frozen=True)
class InceptionScore:
    """In [1, number of classes]; `float()` of it is the mean."""

    mean: float
    std: float
    """Over the splits; 0 with one split."""

    def __float__(self) -> float:
        return self.mean


def inception_score(probabilities: Features, splits: int = 10) -> InceptionScore:
    """Mean and standard deviation over `splits` consecutive parts of class probabilities (N, C) of generated images.

    Shuffle images that are sorted by class first: a part with a single class scores 1.
    """
    array = points(probabilities, "class probabilities", at_least=1).astype(np.float64)
    sums = array.sum(axis=1)
    if (array < 0).any() or (np.abs(sums - 1) > _SUM_TOLERANCE).any():
        raise InputError("class probabilities must be non-negative and sum to 1 per image; apply a softmax first")
    if not 1 <= splits <= len(array):
        raise InputError(f"splits must be from 1 to the number of images, {len(array)}; got {splits}")
    parts = np.array_split(array / sums[:, None], splits)
    scores = [np.exp(rel_entr(part, part.mean(axis=0)).sum(axis=1).mean()) for part in parts]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def accuracy(predicted: Features, labels: Features) -> float:
    """Share of images whose predicted class (N,) equals the requested one (N,)."""
    guesses, targets = _labels(predicted, labels)
    return float((guesses == targets).mean())


def confusion(predicted: Features, labels: Features, classes: int) -> NDArray[np.int64]:
    """Number of images (C, C) by requested class (row) and predicted class (column)."""
    guesses, targets = _labels(predicted, labels)
    low, high = min(guesses.min(), targets.min()), max(guesses.max(), targets.max())
    if low < 0 or high >= classes:
        raise InputError(f"labels must be from 0 to {classes - 1}, got {low} to {high}")
    return np.bincount(targets * classes + guesses, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def _labels(predicted: Features, labels: Features) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    guesses, targets = as_array(predicted), as_array(labels)
    if guesses.ndim != 1 or guesses.shape != targets.shape or not len(guesses):
        raise InputError(f"give one predicted and one true label per image, got {guesses.shape} and {targets.shape}")
    if guesses.dtype.kind not in "iu" or targets.dtype.kind not in "iu":
        raise InputError(f"labels must be integers, got {guesses.dtype} and {targets.dtype}")
    return guesses.astype(np.int64), targets.astype(np.int64)
