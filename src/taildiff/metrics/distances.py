"""Pairwise distances in blocks, so that memory does not grow with N·M.

A block is `|a|^2 + |b|^2 - 2ab` in float64, which is fast but inexact in the last digits if points (nearly) coincide.
There, and where a distance almost equals a limit, it is recomputed from the difference. Copies are therefore at
distance 0, and results do not depend on the block size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taildiff.metrics.points import Floats

CHUNK = 1024  # points per side of a block; at D = 2048 two blocks of points and one of distances take 40 MiB
_CLOSE = 1e-12  # relative to |a|^2 + |b|^2: far above the rounding of the product form, far below any true difference
_ROUNDING = 1e-9  # of sums of weights
_NEAR = 1e-6  # below this, the root of a product-form distance has too few digits


@dataclass(frozen=True)
class Block:
    """Squared distances between a slice of `a` and a slice of `b`."""

    rows: slice
    columns: slice
    a: Floats  # (n, D), centred
    b: Floats  # (m, D), centred
    squared: Floats  # (n, m), product form
    lengths: tuple[Floats, Floats]  # (n, 1) and (1, m), squared

    @property
    def transposed(self) -> "Block":
        """The same distances seen from `b`."""
        one, other = self.lengths
        return Block(self.columns, self.rows, self.b, self.a, self.squared.T, (other.T, one.T))

    def below(self, limit: Floats) -> NDArray[np.bool_]:
        """Where the squared distance is strictly smaller than `limit` (broadcast), exactly."""
        inside = self.squared < limit
        row, column = np.nonzero(np.abs(self.squared - limit) <= self._scaled(_CLOSE))
        inside[row, column] = self.exact(row, column) < np.broadcast_to(limit, inside.shape)[row, column]
        return inside

    def distances(self) -> Floats:
        """Distances (n, m), not squared, to at least eight digits even between near points."""
        result = self.squared.copy()
        row, column = np.nonzero(result <= self._scaled(_NEAR))
        result[row, column] = self.exact(row, column)
        return np.sqrt(result)

    def nearest(self, k: int) -> tuple[Floats, NDArray[np.intp]]:
        """Exact squared distances from each row to its k nearest columns (at most), and those columns; unsorted."""
        columns = np.argpartition(self.squared, min(k, self.squared.shape[1]) - 1, axis=1)[:, :k]
        row = np.repeat(np.arange(len(columns)), columns.shape[1])
        exact = self.exact(row, columns.ravel()).reshape(columns.shape)
        exact[np.isinf(np.take_along_axis(self.squared, columns, axis=1))] = np.inf  # itself
        return exact, columns

    def exact(self, row: NDArray[np.intp], column: NDArray[np.intp]) -> Floats:
        """Squared distances of single pairs (p,) from their differences, in parts, since all pairs may coincide."""
        result = np.empty(len(row))
        step = max(1, 2**20 // self.a.shape[1])
        for start in range(0, len(row), step):
            part = slice(start, start + step)
            difference = self.a[row[part]] - self.b[column[part]]
            result[part] = np.einsum("pd,pd->p", difference, difference)
        return result

    def _scaled(self, factor: float) -> Floats:
        return factor * self.lengths[0] + factor * self.lengths[1]


def blocks(a: NDArray[Any], b: NDArray[Any], chunk: int = CHUNK) -> Iterator[Block]:
    """All distances between points a (N, D) and b (M, D)."""
    return _blocks(a, b, chunk, upper=False)


def blocks_within(points: NDArray[Any], chunk: int = CHUNK) -> Iterator[Block]:
    """Distances among points (N, D): the blocks on and above the diagonal, which itself is infinite."""
    for block in _blocks(points, points, chunk, upper=True):
        if block.rows == block.columns:
            np.fill_diagonal(block.squared, np.inf)
        yield block


def radii(points: NDArray[Any], k: int, chunk: int = CHUNK, weights: Floats | None = None) -> Floats:
    """Squared distance of each point (N,) to its k-th nearest neighbour, itself excluded; 0 where it has fewer.

    A point of weight w (N,), at least 1, counts as w neighbours of another one and as w - 1 of itself.
    """
    weights = np.ones(len(points)) if weights is None else weights
    nearest, weight = np.full((len(points), k), np.inf), np.ones((len(points), k))
    for block in blocks_within(points, chunk):
        sides = (block,) if block.rows == block.columns else (block, block.transposed)
        for side in sides:
            squared, columns = side.nearest(k)
            squared = np.concatenate([nearest[side.rows], squared], axis=1)
            weighted = np.concatenate([weight[side.rows], weights[side.columns][columns]], axis=1)
            kept = np.argpartition(squared, k - 1, axis=1)[:, :k]
            nearest[side.rows] = np.take_along_axis(squared, kept, axis=1)
            weight[side.rows] = np.take_along_axis(weighted, kept, axis=1)
    order = np.argsort(nearest, axis=1)
    near = np.take_along_axis(nearest, order, axis=1)
    total = np.cumsum(np.take_along_axis(weight, order, axis=1), axis=1) + weights[:, None] - 1
    last = (total > k - _ROUNDING).argmax(axis=1)  # the others weigh at least 1 each, so k of them are enough
    radius = near[np.arange(len(points)), last]
    radius[(weights - 1 > k - _ROUNDING) | np.isinf(radius)] = 0
    return radius


@dataclass(frozen=True, eq=False)
class Distinct:
    """The different points among some, in the order of their first copies."""

    first: NDArray[np.intp]
    """(U,) position of the first copy of each."""
    place: NDArray[np.intp]
    """(N,) which of them each point is."""
    copies: NDArray[np.intp]
    """(U,) number of copies, the first included."""


def distinct(points: NDArray[Any]) -> Distinct:
    """The different points among (N, D), by exact equality."""
    seen: dict[bytes, int] = {}
    first: list[int] = []
    place = np.empty(len(points), dtype=np.intp)
    for row, point in enumerate(points):
        content = blake2b((point + 0).tobytes(), digest_size=16)  # + 0: -0.0 equals 0.0
        place[row] = seen.setdefault(content.digest(), len(first))
        if place[row] == len(first):
            first.append(row)
    return Distinct(np.array(first, dtype=np.intp), place, np.bincount(place, minlength=len(first)))


def nearest(a: NDArray[Any], b: NDArray[Any], chunk: int = CHUNK) -> tuple[Floats, NDArray[np.intp]]:
    """Distance (N,), not squared, from each point of a (N, D) to its nearest in b (M, D), and the index of that one."""
    best, index = np.full(len(a), np.inf), np.zeros(len(a), dtype=np.intp)
    for block in blocks(a, b, chunk):
        squared, columns = block.nearest(1)
        closer = squared[:, 0] < best[block.rows]
        best[block.rows] = np.where(closer, squared[:, 0], best[block.rows])
        index[block.rows] = np.where(closer, columns[:, 0] + block.columns.start, index[block.rows])
    return np.sqrt(best), index


def _blocks(a: NDArray[Any], b: NDArray[Any], chunk: int, upper: bool) -> Iterator[Block]:
    centre = a.mean(axis=0, dtype=np.float64)  # far from the origin, the squared lengths would swamp the distances
    for i in range(0, len(a), chunk):
        rows = slice(i, min(i + chunk, len(a)))
        x = a[rows] - centre
        x_length = np.einsum("nd,nd->n", x, x)[:, None]
        for j in range(i if upper else 0, len(b), chunk):
            columns = slice(j, min(j + chunk, len(b)))
            y = b[columns] - centre
            y_length = np.einsum("md,md->m", y, y)[None, :]
            squared = x @ y.T
            squared *= -2
            squared += x_length
            squared += y_length
            yield Block(rows, columns, x, y, squared, (x_length, y_length))
