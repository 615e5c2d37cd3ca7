"""The k nearest neighbours of each point among those of its own group, for several groupings in one pass.

A pass over the blocks of `distances.py` keeps the k nearest so far. A pair is a candidate if its product-form distance
less its bound is at most the k-th of these; only candidates, a few per point, are computed from their difference.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from taildiff.metrics.distances import Block, Distances
from taildiff.metrics.points import Floats

Ids = NDArray[np.intp]  # (L, N) the group of each point in L groupings, -1 for none
Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]  # (p,) and (p,) places in a block
MANY = 0.02  # of the pairs of a block: to compute more of them from differences takes longer than the block in float64


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest neighbours in each grouping in ascending order."""

    squared: Floats
    """(L, N, k) exact squared distances; infinite where there are fewer neighbours."""
    index: NDArray[np.intp]
    """(L, N, k) the neighbours."""


def nearest_within(points: NDArray[Any], k: int, ids: Ids, chunk: int) -> Nearest:
    """The k nearest of each point (N, D) among the others of its group."""
    needed = np.zeros(ids.shape, dtype=np.intp)
    for own, wanted in zip(ids, needed, strict=True):
        used = own >= 0
        wanted[used] = np.minimum(k, np.bincount(own[used])[own[used]] - 1)
    distances, found = Distances(points, chunk=chunk), _Search.of(k, needed)
    for block in distances.blocks():
        found.add(_Side.rows(block, ids, ids))
        if not block.on_diagonal:
            found.add(_Side.columns(block, ids, ids))
    return Nearest(found.squared / distances.scale, found.index)


def nearest_of(a: NDArray[Any], b: NDArray[Any], chunk: int) -> tuple[Floats, NDArray[np.intp]]:
    """The exact squared distance (N,) from each point of a (N, D) to its nearest in b (M, D), and the index of that."""
    distances, found = Distances(a, b, chunk), _Search.of(1, np.ones((1, len(a)), dtype=np.intp))
    ids, other_ids = np.zeros((1, len(a)), dtype=np.intp), np.zeros((1, len(b)), dtype=np.intp)
    for block in distances.blocks():
        found.add(_Side.rows(block, ids, other_ids))
    return found.squared[0, :, 0] / distances.scale, found.index[0, :, 0]


def pairs(mask: NDArray[np.bool_]) -> Pairs:
    """The places (p,), (p,) of what is true in a matrix; a few times faster than `np.nonzero`, if it is little."""
    return np.divmod(np.flatnonzero(mask), mask.shape[1])


def above(limits: Floats, like: NDArray[Any]) -> NDArray[Any]:
    """Limits in the type of another array, rounded up."""
    return np.nextafter(limits.astype(like.dtype), like.dtype.type(np.inf))


@dataclass(frozen=True, eq=False)
class _Side:
    """A block seen from its rows, or from its columns, as n points with m others each."""

    block: Block
    by_row: bool
    points: slice
    others: slice
    ids: Ids  # (L, n)
    other_ids: Ids  # (L, m)

    @classmethod
    def rows(cls, block: Block, ids: Ids, other_ids: Ids) -> Self:
        return cls(block, True, block.rows, block.columns, ids[:, block.rows], other_ids[:, block.columns])

    @classmethod
    def columns(cls, block: Block, ids: Ids, other_ids: Ids) -> Self:
        return cls(block, False, block.columns, block.rows, other_ids[:, block.columns], ids[:, block.rows])

    @property
    def squared(self) -> NDArray[Any]:
        """(n, m)"""
        return self.block.squared if self.by_row else self.block.squared.T

    def in_block(self, found: Pairs) -> Pairs:
        """Pairs of a point and another as pairs of a row and a column, and the reverse."""
        return found if self.by_row else (found[1], found[0])

    def same(self, level: int, found: Pairs) -> NDArray[np.bool_]:
        """Which pairs (p,) are of one group."""
        own = self.ids[level][found[0]]
        return (own == self.other_ids[level][found[1]]) & (own >= 0)


@dataclass(frozen=True, eq=False)
class _Search:
    """The nearest so far, in the units of the blocks."""

    squared: Floats  # (L, N, k)
    index: NDArray[np.intp]  # (L, N, k)
    needed: NDArray[np.intp]  # (L, N) neighbours to look for, at most k

    @classmethod
    def of(cls, k: int, needed: NDArray[np.intp]) -> Self:
        return cls(np.full((*needed.shape, k), np.inf), np.zeros((*needed.shape, k), dtype=np.intp), needed)

    def add(self, side: _Side) -> None:
        """Take in the pairs of a block."""
        found, size = self._candidates(side), side.squared.size
        if len(found[0]) > MANY * size + 8 * self.needed.max() * len(side.squared) and not side.block.is_precise:
            side = _Side(side.block.precise(), side.by_row, side.points, side.others, side.ids, side.other_ids)
            found = self._candidates(side)
        squared = side.block.exact(*side.in_block(found))
        for level in range(len(self.needed)):
            same = side.same(level, found)
            point, other = found[0][same] + side.points.start, found[1][same] + side.others.start
            _merge(self.squared[level], self.index[level], point, other, squared[same])

    def _candidates(self, side: _Side) -> Pairs:
        """Pairs that may be among the nearest in some grouping."""
        limits = self._limits(side)
        reach = above(limits.max(axis=0) + side.block.most_doubt(side.by_row), side.squared)
        if side.by_row:
            found = pairs(side.block.squared <= reach[:, None])
        else:
            other, point = pairs(side.block.squared <= reach[None])
            found = point, other
        squared = side.squared[found] - side.block.doubt(*side.in_block(found))
        kept = np.zeros(len(squared), dtype=bool)
        for level, limit in enumerate(limits):
            kept |= (squared <= limit[found[0]]) & side.same(level, found)
        kept &= np.isfinite(squared)  # not itself
        return found[0][kept], found[1][kept]

    def _limits(self, side: _Side) -> Floats:
        """(L, n) upper bounds of the distance to the last neighbour needed; of first blocks from the block itself."""
        needed = self.needed[:, side.points]
        last = np.maximum(needed - 1, 0)[..., None]
        limits = np.take_along_axis(self.squared[:, side.points], last, axis=2)[..., 0]
        limits[needed == 0] = -np.inf
        doubt = side.block.most_doubt(side.by_row)
        for level, limit in enumerate(limits):
            unknown = np.flatnonzero(np.isposinf(limit))
            if not len(unknown):
                continue
            own = side.squared[unknown]
            own[side.ids[level][unknown][:, None] != side.other_ids[level]] = np.inf
            count = min(self.squared.shape[2], own.shape[1])
            near = np.sort(np.partition(own, count - 1, axis=1)[:, :count], axis=1)
            place = last[level, unknown, 0]
            known = place < count
            limit[unknown[known]] = near[known, place[known]] + doubt[unknown[known]]
        return limits


def _merge(
    squared: Floats, index: NDArray[np.intp], point: NDArray[np.intp], other: NDArray[np.intp], found: Floats
) -> None:
    """Add pairs (p,) to tables (N, k) of the nearest of each point; of equal distances the earlier ones stay first."""
    if not len(point):
        return
    k = squared.shape[1]
    order = np.lexsort((other, found, point))
    point, other, found = point[order], other[order], found[order]
    first = np.flatnonzero(np.diff(point, prepend=-1))
    rank = np.arange(len(point)) - np.repeat(first, np.diff(first, append=len(point)))
    row, rows = np.repeat(np.arange(len(first)), np.diff(first, append=len(point))), point[first]
    near, who = np.full((len(rows), 2 * k), np.inf), np.zeros((len(rows), 2 * k), dtype=np.intp)
    near[:, :k], who[:, :k] = squared[rows], index[rows]
    kept = rank < k
    near[row[kept], k + rank[kept]], who[row[kept], k + rank[kept]] = found[kept], other[kept]
    order = np.argsort(near, axis=1, kind="stable")[:, :k]
    squared[rows], index[rows] = np.take_along_axis(near, order, axis=1), np.take_along_axis(who, order, axis=1)
