"""Precision, recall, density and coverage from nearest neighbours.

Improved precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020). Each point has a
ball that reaches its k-th nearest neighbour in the same set, itself excluded; a point is inside if its distance is
strictly smaller.

Exact copies count once where radii are taken: real data are often oversampled by copying files, and three copies would
shrink their balls to nothing. So do generated copies, as long as the generated set has as many different points as the
real one. The fewer it has, the more its copies count as points of their own, so that a generator that repeats a few
images keeps its small balls: with M generated points, V of them different, and min(M, U) different real ones, a point
with c copies weighs 1 + (c - 1) max(0, min(M, U) - V) / (M - V). Shares are of all points, copies included;
density counts the balls of different points.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taildiff.errors import InputError
from taildiff.metrics.distances import CHUNK, Distinct, blocks, distinct, radii
from taildiff.metrics.points import Features, Floats, pair


@dataclass(frozen=True)
class PrecisionRecall:
    """Improved precision and recall, each in [0, 1]."""

    precision: float
    """Share of generated points inside any real point's ball: do they look real?"""
    recall: float
    """Share of real points inside any generated point's ball: is all their variety covered?"""


@dataclass(frozen=True)
class DensityCoverage:
    """Density in [0, inf), coverage in [0, 1]."""

    density: float
    """Mean number of real balls around a generated point, divided by k; about 1 for equal distributions."""
    coverage: float
    """Share of real balls that contain a generated point."""


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """Which points lie in which balls: precision, recall, density and coverage for one k, before averaging."""

    k: int
    balls: NDArray[np.int64]
    """(M,) number of different real balls around each generated point."""
    covered: NDArray[np.bool_]
    """(N,) whether each real ball contains a generated point."""
    reached: NDArray[np.bool_]
    """(N,) whether each real point lies in a generated ball."""
    n_real: int
    """Different real points, at most N."""
    n_generated: int
    """Different generated points, at most M."""

    @property
    def precision_recall(self) -> PrecisionRecall:
        """Share of generated points in a real ball, and of real points in a generated ball."""
        return PrecisionRecall(float((self.balls > 0).mean()), float(self.reached.mean()))

    @property
    def density_coverage(self) -> DensityCoverage:
        """Mean number of real balls around a generated point over k, and share of real balls that contain one."""
        return DensityCoverage(float(self.balls.sum()) / (self.k * len(self.balls)), float(self.covered.mean()))


def neighbourhoods(real: Features, generated: Features, k: int = 3, chunk: int = CHUNK) -> Neighbourhoods:
    """Which of real (N, D) and generated (M, D) lie in which balls; needs memory for a few blocks besides the input.

    Depends on N and M: keep them equal. Needs more than k of each; with at most k different ones all balls are empty.
    """
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    a, b = pair(real, generated, at_least=k + 1)
    real, made = distinct(a), distinct(b)
    real_radius = radii(a[real.first], k, chunk)[real.place]
    generated_radius = radii(b[made.first], k, chunk, _weights(made, len(real.first)))[made.place]
    once = np.zeros(len(a), dtype=bool)
    once[real.first] = True
    balls = np.zeros(len(b), dtype=np.int64)
    covered, reached = np.zeros(len(a), dtype=bool), np.zeros(len(a), dtype=bool)
    for block in blocks(a, b, chunk):
        inside = block.below(real_radius[block.rows, None])
        balls[block.columns] += inside[once[block.rows]].sum(axis=0)
        covered[block.rows] |= inside.any(axis=1)
        reached[block.rows] |= block.below(generated_radius[None, block.columns]).any(axis=1)
    return Neighbourhoods(k, balls, covered, reached, len(real.first), len(made.first))


def _weights(made: Distinct, real: int) -> Floats:
    """Weights (V,) of the different generated points beside so many different real ones."""
    missing, copies = min(len(made.place), real) - len(made.first), made.copies.astype(np.float64) - 1
    return 1 + copies * (max(0, missing) / max(1.0, float(copies.sum())))


def precision_recall(real: Features, generated: Features, k: int = 3, chunk: int = CHUNK) -> PrecisionRecall:
    """Improved precision and recall of real (N, D) and generated (M, D); see `neighbourhoods`."""
    return neighbourhoods(real, generated, k, chunk).precision_recall


def density_coverage(real: Features, generated: Features, k: int = 5, chunk: int = CHUNK) -> DensityCoverage:
    """Density and coverage of real (N, D) and generated (M, D); see `neighbourhoods`."""
    return neighbourhoods(real, generated, k, chunk).density_coverage
