"""Confidence intervals: by formula for shares, otherwise by a bootstrap over each image's influence (`influence.py`).

Reweighting the images moves a smooth value by the weighted mean of their influences. One replicate therefore costs one
weighted mean, however expensive the value, and avoids the bias that duplicate images cause in distances and
neighbourhoods. Images are resampled within their class, since the number per class is fixed. Equal keys give equal
weights: two runs with the same seed are resampled alike, which pairs their differences.
"""

from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np
from numpy.typing import NDArray

from taildiff.metrics.points import Floats
from taildiff.rng import stream

Z95 = 1.959963984540054
REPLICATES = 1000
_AT_ONCE = 2**22  # random numbers in memory


@dataclass(frozen=True)
class Interval:
    """Two-sided; 95 % by default."""

    low: float
    high: float


def wilson(share: float, n: float, z: float = Z95) -> Interval:
    """Wilson's score interval (1927) of a share in n trials; keeps its level near 0 and 1 and for small n.

    It covers the choice of the counted points; `widened` adds that of others that decide which of them count.
    """
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"wilson needs a share in [0, 1] of at least one trial, got {share} of {n}")
    centre = share + z * z / (2 * n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Interval(max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))


def bootstrap(contributions: Floats, labels: NDArray[np.int64], key: int, count: int = REPLICATES) -> Floats:
    """Means (count,) of contributions (N,), resampled with replacement within each class.

    The weights depend only on (key, label, images of that label). Raises `ValueError` without contributions.
    """
    if not len(contributions):
        raise ValueError("nothing to resample")
    total = np.zeros(count)
    for label in np.unique(labels):
        values = contributions[labels == label]
        rng = stream(key, "evaluation/bootstrap", int(label), len(values))
        step = max(1, _AT_ONCE // len(values))
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            total[part] += values[rng.integers(0, len(values), (part.stop - start, len(values)))].sum(axis=1)
    return total / len(contributions)


def widened(interval: Interval, value: float, deviations: Floats) -> Interval:
    """An interval of `value` with the independent errors `deviations` (R,) from 0 added.

    Distances of the ends from the value are added as squares: Zou & Donner (2008), after Newcombe (1998).
    """
    added = percentiles(deviations)
    return Interval(value - hypot(value - interval.low, added.low), value + hypot(interval.high - value, added.high))


def percentiles(replicates: Floats, level: float = 0.95) -> Interval:
    """The middle `level` of bootstrap replicates (count,)."""
    tail = (1 - level) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return Interval(float(low), float(high))
