"""Which generated images are copies of training images, by a threshold that real images set.

With d(x) the distance of x to the nearest training image (of any class, or to that image's mirror image) and m_c the
median over the training images of class c of the same distance to the nearest *other* one,

    ratio(x) = d(x) / m_c    for x of class c;  a copy has  ratio(x) < min ratio(r) over real images r

of all classes together: held-out ones, or where fewer than `FEWEST` are known, the training images themselves, each
with itself left out. Dividing by m_c lets classes of few, scattered images and classes of many, dense ones share one
threshold. Images as new as h held-out ones fall below it with probability 1/(h + 1) on average. Exact copies among the
real images (distance 0) do not count; of many real images `MOST`, evenly spaced, are used, as the smallest of
ever more ratios tends to 0.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from taildiff.errors import InputError
from taildiff.metrics.points import Features, Floats, points, same_dimension
from taildiff.metrics.search import nearest_of

FEWEST, MOST = 20, 1000
_BLOCK = 2048


@dataclass(frozen=True, eq=False)
class Copies:
    """Generated images beside their nearest training images."""

    distance: Floats
    """(M,) to the nearest training image."""
    nearest: NDArray[np.intp]
    """(M,) which one that is."""
    ratio: Floats
    """(M,) distance over the class's median; below the rule's threshold, it is a copy."""
    copied: NDArray[np.bool_]
    """(M,)."""


@dataclass(frozen=True, eq=False)
class CopyRule:
    """Training images with the scale of each class and the threshold."""

    train: NDArray[Any]
    """(N, D), or (2N, D) with the mirror images behind."""
    count: int
    """N."""
    scale: Floats
    """(C,) the class's median distance between real neighbours, m_c."""
    threshold: float
    """Ratios below it are copies; NaN where all real images are copies of each other."""
    real: NDArray[np.intp]
    """(C,) the real images behind the threshold, by class."""
    known_from: Literal["held-out images", "training images, each left out"]

    @classmethod
    def fit(
        cls,
        train: Features,
        labels: NDArray[np.int64],
        holdout: Features | None = None,
        holdout_labels: NDArray[np.int64] | None = None,
        mirrored: Features | None = None,
    ) -> Self:
        """The rule for training images (N, D) of labels (N,), held-out ones (H, D) and mirrored training ones (N, D).

        Raises `InputError` for fewer than two training images, or features of different dimensions.
        """
        a = points(train, "training features", at_least=2)
        sides = [a] if mirrored is None else [a, points(mirrored, "mirrored features")]
        classes = int(max(labels.max(), -1 if holdout_labels is None else holdout_labels.max(initial=-1))) + 1
        alone = _distinct(a)
        itself = np.arange(len(alone))[:, None] + len(alone) * np.arange(len(sides))
        within = _nearest(a[alone], np.concatenate([side[alone] for side in sides]), itself)[0]
        scale, everything = _medians(within, labels[alone], classes), np.concatenate(sides)
        real, own, source = within, labels[alone], "training images, each left out"
        if holdout is not None and holdout_labels is not None and len(holdout_labels) >= FEWEST:
            b = points(holdout, "hold-out features")
            same_dimension(a, b, "training features", "hold-out ones")
            distance = _nearest(b, everything)[0]
            if (distance > 0).sum() >= FEWEST:
                real, own, source = distance, holdout_labels, "held-out images"
        new = np.flatnonzero(real > 0)
        new = new[_spaced(len(new))]
        real, own = real[new], own[new]
        threshold = float((real / scale[own]).min()) if len(real) else float("nan")
        return cls(everything, len(a), scale, threshold, np.bincount(own, minlength=classes), source)

    def measure(self, generated: Features, labels: NDArray[np.int64]) -> Copies:
        """Generated images (M, D) of labels (M,) beside their nearest training images."""
        x = points(generated, "generated features")
        same_dimension(self.train, x, "training features", "generated ones")
        if len(labels) and labels.max() >= len(self.scale):
            raise InputError(f"label {labels.max()} of a generated image, but training has 0..{len(self.scale) - 1}")
        distance, index = _nearest(x, self.train)
        ratio = distance / self.scale[labels]
        return Copies(distance, index % self.count, ratio, ratio < self.threshold)

    def among(self, one: Features, others: Features, label: int) -> tuple[Floats, NDArray[np.intp]]:
        """Ratios (M,) of images (M, D) of a class to the nearest of others (K, D) of it, at least one; and which."""
        distance, index = _nearest(points(one, "features"), points(others, "features", at_least=1))
        return distance / self.scale[label], index


def _distinct(a: NDArray[Any]) -> NDArray[np.intp]:
    """Positions (U,) of the first of each set of equal points."""
    return np.sort(np.unique(a, axis=0, return_index=True)[1])


def _medians(distance: Floats, labels: NDArray[np.int64], classes: int) -> Floats:
    """(C,) of the positive distances of each class; that of all classes for one without any."""
    pooled = float(np.median(distance[distance > 0])) if (distance > 0).any() else 1.0
    own = [distance[(labels == label) & (distance > 0)] for label in range(classes)]
    return np.array([float(np.median(each)) if len(each) else pooled for each in own])


def _spaced(count: int) -> NDArray[np.intp]:
    return np.linspace(0, count - 1, min(count, MOST)).astype(np.intp)


def _nearest(
    a: NDArray[Any], b: NDArray[Any], excluded: NDArray[np.intp] | None = None
) -> tuple[Floats, NDArray[np.intp]]:
    """Distance (N,) from each point of a to its nearest in b, and the index of that; `excluded` (N, k) do not count.

    Found by |b|² - 2ab in float64 and computed from the difference, so that copies are at distance 0.
    """
    if excluded is None:
        squared, index = nearest_of(a, b, _BLOCK)
        return np.sqrt(squared), index
    centre = b.mean(axis=0, dtype=np.float64)
    best, index = np.full(len(a), np.inf), np.zeros(len(a), dtype=np.intp)
    for first in range(0, len(b), _BLOCK):
        y = b[first : first + _BLOCK] - centre
        lengths = np.einsum("md,md->m", y, y)
        for start in range(0, len(a), _BLOCK):
            rows = slice(start, min(start + _BLOCK, len(a)))
            squared = lengths - 2 * ((a[rows] - centre) @ y.T)  # less the length of a, the same for all of b
            row, k = np.nonzero((excluded[rows] >= first) & (excluded[rows] < first + len(y)))
            squared[row, excluded[rows][row, k] - first] = np.inf
            column = squared.argmin(axis=1)
            nearest = squared[np.arange(len(column)), column]
            closer = nearest < best[rows]
            best[rows] = np.where(closer, nearest, best[rows])
            index[rows] = np.where(closer, column + first, index[rows])
    return _exact(a, b, index), index


def _exact(a: NDArray[Any], b: NDArray[Any], index: NDArray[np.intp]) -> Floats:
    """Distances (N,) from a to `b[index]`."""
    parts = [slice(start, start + _BLOCK) for start in range(0, len(a), _BLOCK)]
    return np.concatenate([np.zeros(0), *(np.linalg.norm(a[p] - b[index[p]].astype(float), axis=1) for p in parts)])
