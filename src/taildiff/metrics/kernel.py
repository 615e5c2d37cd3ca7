"""Kernel distance (Bińkowski et al. 2018): unbiased MMD^2 with the kernel `(x·y/D + 1)^3`, mean over random subsets.

Unlike the Fréchet distance it is unbiased for any n, so it suits small groups; it may fall below 0. It is called KID
only on features of FID's Inception network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taildiff.errors import InputError
from taildiff.metrics.points import Features, Floats, pair
from taildiff.rng import stream

Labels = NDArray[np.int64]
Draw = tuple[NDArray[np.int64], NDArray[np.int64]]
MOST_DRAWN = 1000
"""Points of each side in a subset."""
_ROWS = 512
_SPARSE = 8  # points per drawn one: with more, subset after subset is faster


@dataclass(frozen=True, eq=False)
class Atoms:
    """Points (N, D) in ascending order of labels (N,), from 0."""

    points: NDArray[Any]
    labels: Labels


def kernel_distance(
    real: Features, generated: Features, subsets: int = 100, size: int = MOST_DRAWN, seed: int = 0
) -> float:
    """Unbiased MMD^2 of real (N, D) and generated (M, D) features: the mean over `subsets` draws of `size` of each.

    At most min(N, M) are drawn, without replacement; the value is deterministic if that is all of both.
    Memory: a few times size^2 numbers.
    """
    a, b = pair(real, generated, at_least=2)
    if subsets < 1 or size < 2:
        raise InputError(f"give at least 1 subset of at least 2 points, got {subsets} of {size}")
    drawn = draws(len(a), len(b), subsets, size, seed)
    return float(np.mean([_mmd2(a[i], b[j]) for i, j in drawn])) if drawn else _mmd2(a, b)


def draws(n: int, m: int, subsets: int = 100, size: int = MOST_DRAWN, seed: int = 0) -> list[Draw]:
    """Subsets of n real and m generated points: at most `size`, equally many of both; none if that is all of both."""
    size = min(size, n, m)
    if size == n == m:
        return []
    rng = stream(seed, "evaluation/kernel distance")
    return [(rng.choice(n, size, replace=False), rng.choice(m, size, replace=False)) for _ in range(subsets)]


def mean_within(points: NDArray[Any]) -> float:
    """Mean kernel of two different points of some (N, D)."""
    x = points.astype(np.float64)
    return _mean_of_others(_kernel(x, x))


def mean_within_draws(points: NDArray[Any], drawn: Sequence[NDArray[np.int64]]) -> float:
    """The mean of `mean_within` over subsets (size,) of points (N, D).

    Where subsets overlap much, each pair's kernel is computed once and weighted by the number of subsets with both.
    """
    size, n = len(drawn[0]), len(points)
    if n > _SPARSE * size:
        return float(np.mean([mean_within(points[each]) for each in drawn]))
    member = np.zeros((n, len(drawn)))
    for place, each in enumerate(drawn):
        member[each, place] = 1
    x, total = points.astype(np.float64), 0.0
    for i in range(0, n, _ROWS):
        own = slice(i, i + _ROWS)
        for j in range(i, n, _ROWS):
            other = slice(j, j + _ROWS)
            kernel = _kernel(x[own], x[other])
            if i == j:
                np.fill_diagonal(kernel, 0)
            total += (1 if i == j else 2) * float(np.vdot(kernel @ member[other], member[own]))
    return total / (len(drawn) * size * (size - 1))


def mean_between(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Mean kernel of a point of one set (N, D) and one of another (M, D)."""
    return float(_kernel(first.astype(np.float64), second.astype(np.float64)).mean())


def kernel_sums(first: Atoms, second: Atoms, groups: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Sums (L, N) of the kernel from each point of `first` to those of its group in `second`, and (L, M) the reverse.

    `groups` (L, C) is the group of each label in L groupings, -1 for none. One pass serves all groupings: the kernel is
    summed over runs of equal labels, and these over the labels of a group.
    """
    rows, columns = (np.zeros((len(groups), len(side.labels))) for side in (first, second))
    for i in range(0, len(first.labels), _ROWS):
        own = slice(i, i + _ROWS)
        x = first.points[own].astype(np.float64)
        for j in range(0, len(second.labels), _ROWS):
            other = slice(j, j + _ROWS)
            kernel = _kernel(x, second.points[other].astype(np.float64))
            labels = first.labels[own], second.labels[other]
            rows[:, own] += _grouped(kernel, labels, groups)
            columns[:, other] += _grouped(kernel.T, (labels[1], labels[0]), groups)
    return rows, columns


def sums_of_others(atoms: Atoms, groups: NDArray[np.intp]) -> Floats:
    """Sums (L, N) of the kernel from each point to the others of its group, like `kernel_sums`."""
    sums = np.zeros((len(groups), len(atoms.labels)))
    for i in range(0, len(atoms.labels), _ROWS):
        own = slice(i, i + _ROWS)
        x = atoms.points[own].astype(np.float64)
        for j in range(i, len(atoms.labels), _ROWS):
            other = slice(j, j + _ROWS)
            kernel = _kernel(x, x if i == j else atoms.points[other].astype(np.float64))
            labels = atoms.labels[own], atoms.labels[other]
            sums[:, own] += _grouped(kernel, labels, groups)
            if i < j:
                sums[:, other] += _grouped(kernel.T, (labels[1], labels[0]), groups)
        sums[:, own] -= _cube(np.einsum("nd,nd->n", x, x) / x.shape[1] + 1)  # itself
    return sums


def _grouped(kernel: Floats, labels: tuple[Labels, Labels], groups: NDArray[np.intp]) -> Floats:
    """Sums (L, n) of a kernel (n, m) over the columns of each row's group."""
    starts = np.flatnonzero(np.diff(labels[1], prepend=-1))
    runs, of_runs = np.add.reduceat(kernel, starts, axis=1), labels[1][starts]
    return np.array([(runs * (own[labels[0]][:, None] == own[of_runs])).sum(axis=1) for own in groups])


def _mmd2(real: NDArray[Any], generated: NDArray[Any]) -> float:
    return mean_within(real) + mean_within(generated) - 2 * mean_between(real, generated)


def _kernel(x: Floats, y: Floats) -> Floats:
    return _cube(np.column_stack([x / x.shape[1], np.ones(len(x))]) @ np.column_stack([y, np.ones(len(y))]).T)


def _cube(base: Floats) -> Floats:
    result = base * base  # several times faster than a power
    result *= base
    return result


def _mean_of_others(kernel: Floats) -> float:
    """Mean off the diagonal, which makes the estimate unbiased."""
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))
