"""Who lies in whose ball, for several groupings of the points and several k in one pass over the distances.

A grouping divides real and generated points into groups, such as the classes; only pairs of one group count there. The
distances are computed once for all of them. What counts, and how copies do, is defined in `neighbours.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from taildiff.metrics.distances import Block, Distances, distinct
from taildiff.metrics.points import Floats
from taildiff.metrics.search import MANY, Ids, Pairs, above, nearest_within, pairs

_ROUNDING = 1e-9  # of sums of weights


@dataclass(frozen=True, eq=False)
class Grouped:
    """Points in L groupings, with their copies."""

    points: NDArray[Any]
    """(N, D)"""
    ids: Ids
    """(L, N) the group of each point in each grouping, -1 for none."""
    original: NDArray[np.intp]
    """(L, N) the first copy of each point in its group."""
    copies: NDArray[np.intp]
    """(L, N) number of copies of each point in its group, itself included."""

    @classmethod
    def of(cls, points: NDArray[Any], ids: Ids) -> Self:
        """Find the copies, by exact equality."""
        place = distinct(points).place
        original, copies = np.tile(np.arange(len(points)), (len(ids), 1)), np.ones(ids.shape, dtype=np.intp)
        for level, own in enumerate(ids):
            used = np.flatnonzero(own >= 0)
            content = own[used] * len(points) + place[used]
            _, first, which, count = np.unique(content, return_index=True, return_inverse=True, return_counts=True)
            original[level, used], copies[level, used] = used[first[which]], count[which]
        return cls(points, ids, original, copies)

    @cached_property
    def first(self) -> NDArray[np.bool_]:
        """(L, N) whether a point belongs to a group and is the first copy there."""
        return (self.original == np.arange(len(self.points))) & (self.ids >= 0)

    def sizes(self, groups: int, different: bool) -> NDArray[np.intp]:
        """(L, groups) number of points, or of different ones."""
        counted = self.first if different else self.ids >= 0
        return np.array([np.bincount(own[used], minlength=groups) for own, used in zip(self.ids, counted, strict=True)])


def radii(grouped: Grouped, ks: Sequence[int], chunk: int, weights: Floats | None = None) -> Floats:
    """Squared distances (L, K, N) to the k-th nearest neighbour in the group; 0 where there are fewer, or no group.

    Copies count once, unless `weights` (L, N), at least 1, make a point count as w neighbours of another one and as
    w - 1 of itself.
    """
    weights = np.ones(grouped.ids.shape) if weights is None else weights
    near = nearest_within(grouped.points, max(ks), np.where(grouped.first, grouped.ids, -1), chunk)
    result = np.zeros((len(weights), len(ks), len(grouped.points)))
    for level, own in enumerate(weights):
        squared = near.squared[level]
        weight = np.where(np.isinf(squared), 1.0, own[near.index[level]])
        total = np.cumsum(weight, axis=1) + own[:, None] - 1
        for place, k in enumerate(ks):
            last = (total > k - _ROUNDING).argmax(axis=1)  # the others weigh at least 1 each, so k of them are enough
            radius = squared[np.arange(len(squared)), last]
            radius[(own - 1 > k - _ROUNDING) | np.isinf(radius)] = 0
            result[level, place] = radius[grouped.original[level]]
    return result


def weights_of(generated: Grouped, real: Grouped) -> Floats:
    """Weights (L, M) of generated points beside the real ones of their group (`neighbours.py`)."""
    groups = 1 + max(int(generated.ids.max(initial=0)), int(real.ids.max(initial=0)))
    different, points = (generated.sizes(groups, different=kind) for kind in (True, False))
    missing = np.maximum(0, np.minimum(points, real.sizes(groups, different=True)) - different)
    each = missing / np.maximum(1, points - different)
    return 1 + (generated.copies - 1) * np.take_along_axis(each, np.maximum(generated.ids, 0), axis=1)


@dataclass(frozen=True, eq=False)
class Tallies:
    """Counts over the pairs in balls, for one grouping and one k."""

    balls: "Tally"
    """(M,) over the different real points whose balls hold a generated one."""
    entered: "Tally"
    """(N,) over the generated points in a real ball."""
    reached: "Tally"
    """(N,) over the generated points whose balls hold a real one."""


@dataclass(frozen=True, eq=False)
class Tally:
    """How many points of another set each point of one set goes with, and the last of them."""

    count: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def over(cls, n: int) -> Self:
        """Of n points."""
        return cls(np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64))

    def add(self, points: slice, point: NDArray[np.intp], other: NDArray[np.intp]) -> None:
        """Add pairs (p,) of the place of a point in `points` and another."""
        self.count[points] += np.bincount(point, minlength=points.stop - points.start)
        self.last[points][point] = other

    def alone(self, others: int) -> NDArray[np.int64]:
        """For each point of the other set (others,), how many points go with it alone."""
        return np.bincount(self.last[self.count == 1], minlength=others)


@dataclass(frozen=True, eq=False)
class _Pass:
    """The pass over real and generated points; radii in the units of the blocks, -inf for empty balls."""

    real: Grouped
    generated: Grouped
    real_radii: Floats  # (L, K, N)
    generated_radii: Floats  # (L, K, M)
    tallies: list[list[Tallies]]  # (L, K)

    def add(self, block: Block) -> None:
        """Count the pairs of a block."""
        rows, columns = block.rows, block.columns
        limits = self.real_radii[:, :, rows], self.generated_radii[:, :, columns]
        (row, column), squared, undecided = self._inside(block, limits)
        if len(undecided) > MANY * block.squared.size + sum(block.squared.shape) and not block.is_precise:
            block = block.precise()
            (row, column), squared, undecided = self._inside(block, limits)
        squared[undecided] = block.exact(row[undecided], column[undecided])
        first = self.real.first[:, rows]
        for level, of_level in enumerate(self.tallies):
            group = self.real.ids[level, rows][row]
            same = (group == self.generated.ids[level, columns][column]) & (group >= 0)
            r, c, d = row[same], column[same], squared[same]
            for tallies, real, generated in zip(of_level, limits[0][level], limits[1][level], strict=True):
                inside, reached = d < real[r], d < generated[c]
                once = inside & first[level][r]
                tallies.entered.add(rows, r[inside], c[inside] + columns.start)
                tallies.balls.add(columns, c[once], r[once] + rows.start)
                tallies.reached.add(rows, r[reached], c[reached] + columns.start)

    def _inside(self, block: Block, limits: tuple[Floats, Floats]) -> tuple[Pairs, Floats, NDArray[np.intp]]:
        """Pairs that may be in a ball of some group, their squared distances, and the places of undecided ones."""
        reach = [
            above(limit.max(axis=(0, 1)) + block.most_doubt(axis), block.squared)
            for limit, axis in zip(limits, (1, 0), strict=True)
        ]
        found = pairs((block.squared <= reach[0][:, None]) | (block.squared <= reach[1]))
        squared, doubt = block.squared[found].astype(np.float64), block.doubt(*found)
        undecided = np.zeros(len(squared), dtype=bool)
        for limit, own in zip(limits, found, strict=True):
            for radius in limit.reshape(-1, limit.shape[2]):
                undecided |= np.abs(squared - radius[own]) <= doubt
        return found, squared, np.flatnonzero(undecided)


def tally(
    real: Grouped, generated: Grouped, real_radii: Floats, generated_radii: Floats, chunk: int
) -> list[list[Tallies]]:
    """The tallies of each grouping and each k, given the squared radii (L, K, N) and (L, K, M)."""
    n, m = len(real.points), len(generated.points)
    tallies = [[Tallies(*map(Tally.over, (m, n, n))) for _ in of_level] for of_level in real_radii]
    distances = Distances(real.points, generated.points, chunk)
    scaled = [np.where(each > 0, each * distances.scale, -np.inf) for each in (real_radii, generated_radii)]
    counting = _Pass(real, generated, scaled[0], scaled[1], tallies)
    for block in distances.blocks():
        counting.add(block)
    return tallies
