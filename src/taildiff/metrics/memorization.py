"""Memorization: how close generated images are to training images, compared with new real (hold-out) images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taildiff.metrics.distances import CHUNK
from taildiff.metrics.points import Features, Floats, points, same_dimension
from taildiff.metrics.search import nearest_of


@dataclass(frozen=True, eq=False)
class Memorization:
    """Distances from generated and hold-out images to their nearest training image."""

    generated: Floats
    """(M,) distances of the generated images."""
    nearest: NDArray[np.intp]
    """(M,) index of the nearest training image."""
    holdout: Floats
    """(H,) distances of the hold-out images: what new real images have."""
    leaked: NDArray[np.intp]
    """(L,) indices of hold-out images that are copies of training images; `threshold` and `ratio` leave them out."""
    threshold: float
    """The smallest of `holdout` that is not leaked; NaN if all are."""
    copied: float
    """Share of generated images nearer than `threshold`, that is, nearer than any hold-out image. Images as new as the
    hold-out give 1 / (H + 1) on average. NaN without a threshold."""
    ratio: float
    """Median of `generated` over median of `holdout`; well below 1, the model repeats its training images. NaN without
    a threshold."""


def memorization(generated: Features, train: Features, holdout: Features, chunk: int = CHUNK) -> Memorization:
    """Compare generated (M, D) and hold-out (H, D) features by their nearest training features (N, D).

    The hold-out must be real images that were not trained on, with the class proportions of the generated ones: images
    of rare, sparse classes are far apart.
    """
    a, b = points(generated, "generated features", at_least=1), points(train, "training features", at_least=1)
    c = points(holdout, "hold-out features", at_least=1)
    same_dimension(b, a, "training features", "generated ones")
    same_dimension(b, c, "training features", "hold-out ones")
    squared, index = nearest_of(a, b, chunk)
    distance, holdout_distance = np.sqrt(squared), np.sqrt(nearest_of(c, b, chunk)[0])
    leaked = holdout_distance == 0
    if leaked.all():
        threshold = copied = ratio = float("nan")
    else:
        new = holdout_distance[~leaked]
        threshold, ratio = float(new.min()), float(np.median(distance) / np.median(new))
        copied = float((distance < threshold).mean())
    return Memorization(distance, index, holdout_distance, np.flatnonzero(leaked), threshold, copied, ratio)
