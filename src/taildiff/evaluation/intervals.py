"""Confidence intervals of shares."""

from dataclasses import dataclass
from math import sqrt

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Interval:
    """Two-sided, in [0, 1]."""

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
