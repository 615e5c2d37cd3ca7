"""Memorization: how close generated images are to training images, compared with new real (hold-out) images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taildiff.metrics.distances import CHUNK, nearest
from taildiff.metrics.points import Features, Floats, points, same_dimension


@dataclass(frozen=True, eq=False)
class Memorization:
    """Distances from generated and hold-out images to their nearest training image."""

    generated: Floats
    """(M,) distances of the generated images."""
    nearest: NDArray[np.intp]
    """(M,) index of the nearest training image."""
    holdout: Floats
    """(H,) distances of the hold-out images: what new real images have."""
    threshold: float
    """The smallest of `holdout`."""
    copied: float
    """Share of generated images nearer than `threshold`, that is, nearer than any hold-out image. Images as new as the
    hold-out give 1 / (H + 1) on average."""
    ratio: float
    """Median of `generated` over median of `holdout`; well below 1, the model repeats its training images. NaN if half
    of the hold-out lies in the training set itself."""


def memorization(generated: Features, train: Features, holdout: Features, chunk: int = CHUNK) -> Memorization:
    """Compare generated (M, D) and hold-out (H, D) features by their nearest training features (N, D).

    The hold-out must be real images that were not trained on, with the class proportions of the generated ones: images
    of rare, sparse classes are far apart.
    """
    a, b = points(generated, "generated features", at_least=1), points(train, "training features", at_least=1)
    c = points(holdout, "hold-out features", at_least=1)
    same_dimension(b, a, "training features", "generated ones")
    same_dimension(b, c, "training features", "hold-out ones")
    distance, index = nearest(a, b, chunk)
    holdout_distance = nearest(c, b, chunk)[0]
    typical, threshold = float(np.median(holdout_distance)), float(holdout_distance.min())
    ratio = float(np.median(distance)) / typical if typical else float("nan")
    return Memorization(distance, index, holdout_distance, threshold, float((distance < threshold).mean()), ratio)
