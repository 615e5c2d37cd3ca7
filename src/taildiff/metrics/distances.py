"""Pairwise squared distances in blocks, so that memory does not grow with N·M.

A block is `|x|² + |y|² - 2 x·y` of centred points: fast, but inexact. In float32 each entry is within
`(γ + 8u) (|x|² + |y|²)` of the true value, u = 2⁻²⁴ and γ = Du / (1 - Du): D products summed in any order (Higham
2002, section 3.1), the points and their lengths rounded, and two sums. In float64 the lengths are no better than the
products, so γ counts twice. Comparisons treat entries within this bound of a limit as undecided and take those pairs
from their difference in float64 (`Block.exact`), which depends on the two points alone: copies are at distance 0, and
no result depends on the block size. Blocks in float64 serve where float32 leaves too many pairs undecided.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from taildiff.metrics.points import Floats

CHUNK = 1024  # points per side of a block, fewer where they have many dimensions
_SIDE = 2**21  # numbers on a side of a block: 8 MiB in float32
_FEWEST = 64  # points per side, however many dimensions: a product of fewer is slow
_STRIPE = 4  # blocks that share their columns, which are centred and rounded once for all of them
_CLOSE = 1e-12  # of float64, at least: far below any true difference
_TINY = 1e-30  # of the squared radius of all points; more than float32 loses to underflow
_MOST_DIMENSIONS = 2**17  # above, float32 says too little


@dataclass(frozen=True, eq=False)
class Block:
    """Squared distances between a slice of `a` and a slice of `b`, in units of `Distances.scale`."""

    of: "Distances"
    rows: slice
    columns: slice
    squared: NDArray[Any]
    """(n, m) in float32 or float64; valid until the next block."""
    lengths: tuple[Floats, Floats]
    """(n,) and (m,), squared."""
    error: float
    """Bound of the error of an entry, relative to the sum of its squared lengths."""

    def doubt(self, row: NDArray[np.intp], column: NDArray[np.intp]) -> Floats:
        """Bounds (p,) of the errors of single entries."""
        return self.error * (self.lengths[0][row] + self.lengths[1][column]) + _TINY

    def most_doubt(self, axis: int) -> Floats:
        """The largest bound of each row (n,), or with axis 0 of each column (m,)."""
        own, other = self.lengths if axis else self.lengths[::-1]
        return self.error * (own + other.max(initial=0)) + _TINY

    def exact(self, row: NDArray[np.intp], column: NDArray[np.intp]) -> Floats:
        """Squared distances (p,) of single pairs from their differences, in the units of the block."""
        return self.of.exact(row + self.rows.start, column + self.columns.start)

    def precise(self) -> "Block":
        """The same block in float64."""
        return self.of.block(self.rows, self.columns)

    @property
    def is_precise(self) -> bool:
        """Whether it is in float64."""
        return self.squared.dtype == np.float64

    @property
    def on_diagonal(self) -> bool:
        """Whether its rows are its columns."""
        return self.of.within and self.rows == self.columns


class Distances:
    """Distances between points a (N, D) and b (M, D), or among a alone.

    Points are centred, since far from the origin the squared lengths would swamp the distances, and multiplied by a
    power of two, so that none is longer than about 1 and float32 holds their squares.
    """

    def __init__(self, a: NDArray[Any], b: NDArray[Any] | None = None, chunk: int = CHUNK):
        self.within = b is None
        self.a, self.b = a, a if b is None else b
        self.chunk = max(1, min(chunk, max(_FEWEST, _SIDE // a.shape[1])))
        self._centre = a.mean(axis=0, dtype=np.float64)
        self._shift = 1.0
        lengths = [self._lengths(side) for side in ((a,) if b is None else (a, b))]
        largest = max(float(each.max(initial=0)) for each in lengths)
        self._shift = float(2.0 ** -np.ceil(np.log2(largest) / 2)) if largest > 0 else 1.0
        self.scale = self._shift**2
        """What squared distances are multiplied by, a power of two."""
        self._squares = [each * self.scale for each in (lengths[0], lengths[-1])]

    def block(self, rows: slice, columns: slice) -> Block:
        """One block in float64."""
        x, y = self._part(self.a, rows, np.float64), self._part(self.b, columns, np.float64)
        return self._block(rows, columns, x, -2 * y, None)

    def blocks(self, single: bool = True) -> Iterator[Block]:
        """All pairs, in float32 or in float64; among one set the diagonal blocks first, then those above.

        The diagonal itself is infinite.
        """
        dtype = np.float32 if single and self.a.shape[1] <= _MOST_DIMENSIONS else np.float64
        buffer = np.empty((self.chunk, self.chunk), dtype=dtype)
        across, down = self._slices(self.b), self._slices(self.a)
        for rows in across if self.within else ():
            x = self._part(self.a, rows, dtype)
            yield self._block(rows, rows, x, -2 * x, buffer)
        for first in range(0, len(down), _STRIPE):
            stripe = down[first : first + _STRIPE]
            parts = [self._part(self.a, rows, dtype) for rows in stripe]
            for columns in across[first + 1 if self.within else 0 :]:
                y = -2 * self._part(self.b, columns, dtype)
                for rows, x in zip(stripe, parts, strict=True):
                    if not self.within or rows.start < columns.start:
                        yield self._block(rows, columns, x, y, buffer)

    def exact(self, row: NDArray[np.intp], column: NDArray[np.intp]) -> Floats:
        """Squared distances (p,) of single pairs, from their differences; in parts, since that may be all pairs."""
        result = np.empty(len(row))
        step = max(1, 2**20 // self.a.shape[1])
        for start in range(0, len(row), step):
            part = slice(start, start + step)
            difference = np.subtract(self.a[row[part]], self.b[column[part]], dtype=np.float64)
            difference *= self._shift
            result[part] = np.einsum("pd,pd->p", difference, difference)
        return result

    def _block(self, rows: slice, columns: slice, x: NDArray[Any], y: NDArray[Any], buffer: NDArray | None) -> Block:
        """The block of points x and -2y."""
        n, m = len(x), len(y)
        squared = np.matmul(x, y.T, out=None if buffer is None else buffer.ravel()[: n * m].reshape(n, m))
        lengths = self._squares[0][rows], self._squares[1][columns]
        squared += lengths[0].astype(x.dtype)[:, None]
        squared += lengths[1].astype(x.dtype)[None, :]
        if self.within and rows == columns:
            np.fill_diagonal(squared, np.inf)
        error = 1.02 * (x.shape[1] + 16) * float(np.finfo(x.dtype).eps) / 2
        return Block(self, rows, columns, squared, lengths, error if x.dtype == np.float32 else max(_CLOSE, 2 * error))

    def _slices(self, points: NDArray[Any]) -> list[slice]:
        return [slice(i, min(i + self.chunk, len(points))) for i in range(0, len(points), self.chunk)]

    def _part(self, points: NDArray[Any], rows: slice, dtype: DTypeLike) -> NDArray[Any]:
        part = points[rows] - self._centre
        part *= self._shift
        return part.astype(dtype, copy=False)

    def _lengths(self, points: NDArray[Any]) -> Floats:
        parts = (self._part(points, rows, np.float64) for rows in self._slices(points))
        return np.concatenate([np.zeros(0), *(np.einsum("nd,nd->n", part, part) for part in parts)])


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
