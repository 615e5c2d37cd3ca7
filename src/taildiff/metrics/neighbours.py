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
from typing import Self

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
    entered: NDArray[np.int64]
    """(N,) number of generated points in each real ball; 0 for further copies of it."""
    covered: NDArray[np.bool_]
    """(N,) whether each real ball contains a generated point."""
    reached: NDArray[np.bool_]
    """(N,) whether each real point lies in a generated ball."""
    holds_alone: NDArray[np.int64]
    """(N,) number of generated points that lie in this real ball and in no different one."""
    enters_alone: NDArray[np.int64]
    """(M,) number of real balls that contain this generated point and no other."""
    reaches_alone: NDArray[np.int64]
    """(M,) number of real points that lie in this generated point's ball and in no other."""
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
    balls, entered, reached = _Tally.over(b), _Tally.over(a), _Tally.over(a)
    for block in blocks(a, b, chunk):
        inside = block.below(real_radius[block.rows, None])
        balls.add(block.columns, inside.T & once[block.rows], block.rows)
        entered.add(block.rows, inside, block.columns)
        reached.add(block.rows, block.below(generated_radius[None, block.columns]), block.columns)
    return Neighbourhoods(
        k=k,
        balls=balls.count,
        entered=entered.count * once,
        covered=entered.count > 0,
        reached=reached.count > 0,
        holds_alone=balls.alone(len(a)),
        enters_alone=entered.alone(len(b)),
        reaches_alone=reached.alone(len(b)),
        n_real=len(real.first),
        n_generated=len(made.first),
    )


def _weights(made: Distinct, real: int) -> Floats:
    """Weights (V,) of the different generated points beside so many different real ones."""
    missing, copies = min(len(made.place), real) - len(made.first), made.copies.astype(np.float64) - 1
    return 1 + copies * (max(0, missing) / max(1.0, float(copies.sum())))


@dataclass(frozen=True, eq=False)
class _Tally:
    """How many points of another set each point of one set goes with, and the last of them."""

    count: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def over(cls, points: Features) -> Self:
        return cls(np.zeros(len(points), dtype=np.int64), np.zeros(len(points), dtype=np.int64))

    def add(self, rows: slice, inside: NDArray[np.bool_], columns: slice) -> None:
        """Add a block of pairs (rows, columns)."""
        self.count[rows] += inside.sum(axis=1)
        some = inside.any(axis=1)
        self.last[rows][some] = inside.argmax(axis=1)[some] + columns.start

    def alone(self, others: int) -> NDArray[np.int64]:
        """For each point of the other set (others,), how many points go with it alone."""
        return np.bincount(self.last[self.count == 1], minlength=others)


def precision_recall(real: Features, generated: Features, k: int = 3, chunk: int = CHUNK) -> PrecisionRecall:
    """Improved precision and recall of real (N, D) and generated (M, D); see `neighbourhoods`."""
    return neighbourhoods(real, generated, k, chunk).precision_recall


def density_coverage(real: Features, generated: Features, k: int = 5, chunk: int = CHUNK) -> DensityCoverage:
    """Density and coverage of real (N, D) and generated (M, D); see `neighbourhoods`."""
    return neighbourhoods(real, generated, k, chunk).density_coverage
