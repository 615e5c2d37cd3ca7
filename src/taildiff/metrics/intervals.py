"""Confidence intervals: by formula for shares, otherwise by a bootstrap over each image's influence (`influence.py`).

Reweighting the images moves a smooth value by the weighted mean of their influences. One replicate therefore costs one
weighted mean, however expensive the value, and avoids the bias that duplicate images cause in distances and
neighbourhoods. Images are resampled within their class, since the number per class is fixed. All replicates are one
product: how often each image was drawn, times its influence. Equal keys draw alike: two runs with the same seed are
resampled alike, which pairs their differences.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np
from numpy.typing import NDArray

from taildiff.metrics.points import Floats
from taildiff.rng import stream

Z95 = 1.959963984540054
REPLICATES = 1000
_AT_ONCE = 2**22  # random numbers in memory
_IN_CACHE = 2**18  # numbers of a product's part
_KEPT = 2**28  # bytes of draws
Drawn = NDArray[np.unsignedinteger]


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


class Resampling:
    """Bootstrap replicates of any number of values; how often each image is drawn is kept, as far as memory allows.

    The draws depend only on (key, label, images of that label), so all values over the same images share them.
    """

    def __init__(self, count: int = REPLICATES):
        self.count = count
        self._kept: dict[tuple[int, int, int], Drawn] = {}

    def replicates(self, contributions: Floats, labels: NDArray[np.int64], key: int) -> Floats:
        """Means (count,) of contributions (N,), resampled with replacement within each class.

        Raises `ValueError` without contributions.
        """
        if not len(contributions):
            raise ValueError("nothing to resample")
        total = np.zeros(self.count)
        for label in np.unique(labels).tolist():
            values = contributions[labels == label]
            for part, drawn in self._parts(key, label, len(values)):
                total[part] += drawn.astype(np.float64) @ values
        return total / len(contributions)

    def _parts(self, key: int, label: int, n: int) -> Iterator[tuple[slice, Drawn]]:
        """How often (r, n) each of n images is drawn in some of the replicates at a time."""
        if (key, label, n) not in self._kept:
            if self.count * n > _KEPT:
                yield from self._draw(key, label, n)
                return
            self._keep((key, label, n))
        drawn, step = self._kept[key, label, n], max(1, _IN_CACHE // n)
        yield from ((slice(r, r + step), drawn[r : r + step]) for r in range(0, self.count, step))

    def _keep(self, what: tuple[int, int, int]) -> None:
        drawn = np.concatenate([part for _, part in self._draw(*what)])
        while self._kept and sum(each.nbytes for each in self._kept.values()) + drawn.nbytes > _KEPT:
            self._kept.pop(next(iter(self._kept)))  # the oldest
        self._kept[what] = drawn

    def _draw(self, key: int, label: int, n: int) -> Iterator[tuple[slice, Drawn]]:
        rng = stream(key, "evaluation/bootstrap", label, n)
        step = max(1, _AT_ONCE // n)
        for start in range(0, self.count, step):
            rows = min(step, self.count - start)
            place = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
            drawn = np.bincount(place.ravel(), minlength=rows * n).reshape(rows, n)
            yield slice(start, start + rows), drawn.astype(np.min_scalar_type(int(drawn.max())))


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
