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
from taildiff.metrics.balls import Grouped, Tallies, radii, tally, weights_of
from taildiff.metrics.distances import CHUNK
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
    whole = [Grouped.of(points, np.zeros((1, len(points)), dtype=np.intp)) for points in (a, b)]
    return grouped_neighbourhoods(whole[0], whole[1], (k,), chunk).of(0, 0, k)


@dataclass(frozen=True, eq=False)
class GroupedNeighbourhoods:
    """The neighbourhoods within each group of some groupings, for several k."""

    real: Grouped
    generated: Grouped
    ks: tuple[int, ...]
    tallies: list[list[Tallies]]

    def of(self, level: int, group: int, k: int) -> Neighbourhoods:
        """Those of one group: of its real and generated points, in their order."""
        tallies, once = self.tallies[level][self.ks.index(k)], self.real.first[level]
        n, m = len(once), len(self.generated.points)
        real, generated = self.real.ids[level] == group, self.generated.ids[level] == group
        return Neighbourhoods(
            k=k,
            balls=tallies.balls.count[generated],
            entered=(tallies.entered.count * once)[real],
            covered=(tallies.entered.count > 0)[real],
            reached=(tallies.reached.count > 0)[real],
            holds_alone=tallies.balls.alone(n)[real],
            enters_alone=tallies.entered.alone(m)[generated],
            reaches_alone=tallies.reached.alone(m)[generated],
            n_real=int((once & real).sum()),
            n_generated=int((self.generated.first[level] & generated).sum()),
        )


def grouped_neighbourhoods(
    real: Grouped, generated: Grouped, ks: tuple[int, ...], chunk: int = CHUNK, real_radii: Floats | None = None
) -> GroupedNeighbourhoods:
    """The neighbourhoods within each group, from one pass over the distances; see `neighbourhoods`.

    `real_radii` (L, K, N) are what `balls.radii` gives for the real points, where they are known.
    """
    known = radii(real, ks, chunk) if real_radii is None else real_radii
    own = radii(generated, ks, chunk, weights_of(generated, real))
    return GroupedNeighbourhoods(real, generated, ks, tally(real, generated, known, own, chunk))


def precision_recall(real: Features, generated: Features, k: int = 3, chunk: int = CHUNK) -> PrecisionRecall:
    """Improved precision and recall of real (N, D) and generated (M, D); see `neighbourhoods`."""
    return neighbourhoods(real, generated, k, chunk).precision_recall


def density_coverage(real: Features, generated: Features, k: int = 5, chunk: int = CHUNK) -> DensityCoverage:
    """Density and coverage of real (N, D) and generated (M, D); see `neighbourhoods`."""
    return neighbourhoods(real, generated, k, chunk).density_coverage
