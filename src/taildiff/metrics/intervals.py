"""Confidence intervals: of shares by formula, of everything else by a bootstrap over what each image contributes.

A value that is smooth in its images moves by the mean of their contributions when the images are weighed anew
(`contributions.py`). So one resampling of images costs one weighted mean, whatever the value costs, and none of the
bias that doubled images bring into distances and neighbourhoods. Images are resampled within their class, since there
is a fixed number of each class. Equal keys give equal weights: two runs with the same seed, or the same real images,
are resampled alike, and the difference of their replicates is a paired one.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from taildiff.rng import stream

Z95 = 1.959963984540054
REPLICATES = 1000
_AT_ONCE = 2**22  # drawn numbers in memory

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Two-sided, 95 % unless said otherwise."""

    low: float
    high: float


def wilson(share: float, n: int, z: float = Z95) -> Interval:
    """Wilson's score interval (1927) of a share seen in n trials; keeps its level near 0 and 1 and for small n.

    For precision and recall it covers the draw of the counted points only, not that of the balls they are held against.
    """
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"a share in [0, 1] of at least one trial is needed, got {share} of {n}")
    centre = share + z * z / (2 * n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Interval(max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))


def bootstrap(contributions: Floats, labels: NDArray[np.int64], key: int, count: int = REPLICATES) -> Floats:
    """Means (count,) of contributions (N,), of which each class is resampled with replacement.

    The weights depend on (key, label, images of that label) alone. Raises `ValueError` without contributions.
    """
    if not len(contributions):
        raise ValueError("nothing to resample")
    total = np.zeros(count)
    for label in np.unique(labels):
        own = contributions[labels == label]
        rng = stream(key, "evaluation/bootstrap", int(label), len(own))
        step = max(1, _AT_ONCE // len(own))
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            total[part] += own[rng.integers(0, len(own), (part.stop - start, len(own)))].sum(axis=1)
    return total / len(contributions)


def percentiles(replicates: Floats, level: float = 0.95) -> Interval:
    """The middle `level` of bootstrap replicates (count,)."""
    tail = (1 - level) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return Interval(float(low), float(high))
