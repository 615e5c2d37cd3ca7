"""The difference of two numbers with its interval and p-value; imports no torch.

One run each: the error is the standard deviation of the paired bootstrap replicates of the generated images, the
interval d ± 1.96 error, p = P(|N(0, 1)| > |d| / error). Several training seeds each: Student's or Welch's (`seeds.py`).
"""

from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np

from taildiff.evaluation.replicates import Floats
from taildiff.evaluation.table import Row
from taildiff.metrics.intervals import Z95

LEVEL = 0.05
"""Of the verdict: up to which corrected p-value a difference is clear."""


@dataclass(frozen=True)
class Difference:
    """To the first subject; without `p` there is no interval or no spread to judge it by."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """Two-sided, of this comparison alone."""
    p_holm: float | None = None
    """Corrected over the comparisons of the verdict (`verdict.py`); None for description."""
    negligible: bool = False
    """Too small to count, whatever its p-value."""

    @property
    def clear(self) -> bool:
        """Whether the verdict says that the two differ."""
        return self.p_holm is not None and self.p_holm <= LEVEL and not self.negligible


def between(first: Row | None, other: Row | None, replicates: tuple[Floats | None, Floats | None]) -> Difference | None:
    """The difference of two rows with bootstrap replicates (R,); None where one has no value."""
    if first is None or other is None or first.value is None or other.value is None:
        return None
    value, error = other.value - first.value, _error((first, other), replicates)
    if not error:
        return Difference(value, p=1.0 if error == value == 0 else None)
    return Difference(value, value - Z95 * error, value + Z95 * error, erfc(abs(value) / error / sqrt(2)))


def _error(rows: tuple[Row, Row], replicates: tuple[Floats | None, Floats | None]) -> float | None:
    """The standard error. Where all or none count, resampling shows no spread: the row's own interval stands in."""
    a, b = replicates
    if a is None or b is None or len(a) != len(b):
        return None
    squared = float(np.var(b - a))
    for row, own in zip(rows, replicates, strict=True):
        if own is not None and np.ptp(own) == 0 and None not in (ends := (row.low, row.value, row.high)):
            low, value, high = map(float, ends)  # pyright: ignore[reportArgumentType]
            squared += (max(value - low, high - value) / Z95) ** 2
    return sqrt(squared)
