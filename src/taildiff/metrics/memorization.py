"""Memorization: how near generated images come to training images, compared with how near new real images come."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taildiff.metrics.distances import CHUNK, nearest
from taildiff.metrics.points import Features, Floats, points, same_dimension


@dataclass(frozen=True, eq=False)
class Memorization:
    """Distances to the nearest training image, of generated and of new real images."""

    generated: Floats
    """(M,) of each generated image."""
    nearest: NDArray[np.intp]
    """(M,) which training image that is."""
    holdout: Floats
    """(H,) of each hold-out image: what a new real image keeps."""
    threshold: float
    """The smallest of `holdout`."""
    copied: float
    """Share of generated images nearer than `threshold`: nearer than real hold-out images ever are. Images as new as
    those of the hold-out give 1 / (H + 1) on average."""
    ratio: float
    """Median of `generated` over median of `holdout`; well below 1: the model repeats what it was trained on. NaN where
    half of the hold-out lies in the training set itself."""


def memorization(generated: Features, train: Features, holdout: Features, chunk: int = CHUNK) -> Memorization:
    """Compare generated (M, D) and hold-out (H, D) features by their nearest among the training set's (N, D).

    The hold-out: real images of the same classes that were not trained on, class proportions as those of the generated
    ones; rare classes are sparse, so their images are far from each other.
    """
    a, b = points(generated, "generated features", at_least=1), points(train, "training features", at_least=1)
    c = points(holdout, "hold-out features", at_least=1)
    same_dimension(b, a, "training features", "generated ones")
    same_dimension(b, c, "training features", "hold-out ones")
    near, place = nearest(a, b, chunk)
    new = nearest(c, b, chunk)[0]
    usual = float(np.median(new))
    ratio = float(np.median(near)) / usual if usual else float("nan")
    threshold = float(new.min())
    return Memorization(near, place, new, threshold, float((near < threshold).mean()), ratio)
