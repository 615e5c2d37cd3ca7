"""What the scopes of one set of images share: distances and kernels are computed once for all of them.

Scopes that do not overlap form a grouping (all classes; head, body, tail; many, medium, few; each class), and a pass
over the pairs of images serves every grouping (`metrics/balls.py`, `metrics/kernel.py`). What depends on the real
images alone is the same at every guidance and for every run: `keep` caches it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from taildiff.evaluation.scopes import Pool
from taildiff.metrics.balls import Grouped, radii
from taildiff.metrics.distances import CHUNK
from taildiff.metrics.influence import Contributions, of_kernel
from taildiff.metrics.kernel import (
    MOST_DRAWN,
    Atoms,
    Draw,
    draws,
    kernel_sums,
    mean_between,
    mean_within_draws,
    sums_of_others,
)
from taildiff.metrics.neighbours import GroupedNeighbourhoods, Neighbourhoods, grouped_neighbourhoods
from taildiff.metrics.points import Floats

Labels = NDArray[np.int64]
Places = NDArray[np.intp]
Classes = tuple[int, ...]
Keep = Callable[[Callable[[], Floats], str], Floats]
"""Gives what is cached under a key, or computes and caches it."""


def compute(make: Callable[[], Floats], _: str) -> Floats:
    """Keeps nothing."""
    return make()


@dataclass(frozen=True, eq=False)
class Near:
    """The neighbourhoods of a scope, with the labels of its real and generated images in their order."""

    neighbourhoods: Neighbourhoods
    real_labels: Labels
    generated_labels: Labels


@dataclass(frozen=True, eq=False)
class _Side:
    """A pool in ascending order of labels."""

    pool: Pool

    @cached_property
    def order(self) -> Places:
        return np.argsort(self.pool.labels, kind="stable")

    @cached_property
    def atoms(self) -> Atoms:
        return Atoms(self.pool.features[self.order], self.pool.labels[self.order])

    @cached_property
    def place(self) -> Places:
        """Of each image of the pool."""
        return np.argsort(self.order)

    def members(self, classes: Classes) -> Places:
        """Places of the images of some classes, in the order of the pool."""
        return self.place[np.isin(self.pool.labels, classes)]


class Shared:
    """Real and generated images with the scopes that are measured."""

    def __init__(
        self, real: Pool, generated: Pool, scopes: Sequence[Classes], ks: tuple[int, ...] = (), keep: Keep = compute
    ):
        self._sides, self._ks, self._keep = (_Side(real), _Side(generated)), ks, keep
        self._groups, self._where = groupings(scopes)
        self._passes: dict[tuple[int, ...], GroupedNeighbourhoods] = {}

    def near(self, classes: Classes, k: int) -> Near:
        """The neighbourhoods within a scope, of equally many real and generated images."""
        ks = self._ks if k in self._ks else (k,)
        if ks not in self._passes:
            self._passes[ks] = self._pass(ks)
        found, (level, group) = self._passes[ks], self._where[classes]
        labels = [
            side.atoms.labels[used][points.ids[level] == group]
            for side, used, points in zip(self._sides, self._used, (found.real, found.generated), strict=True)
        ]
        return Near(found.of(level, group, k), labels[0], labels[1])

    def kernel(self, classes: Classes, influence: bool) -> tuple[float, Contributions | None]:
        """The kernel distance of a scope, and the influence of its images in the order of the pools."""
        level = self._where[classes][0]
        real, generated = (side.members(classes) for side in self._sides)
        n, m = len(real), len(generated)
        drawn = draws(n, m) or [(np.arange(n), np.arange(m))]
        value = self._within_real(classes, drawn) + self._within_generated(classes, drawn)
        value -= 2 * self._between(classes, drawn)
        if not influence:
            return value, None
        cross, within = self._cross, (self._real_sums[level], self._generated_sums[level])
        means = within[0][real] / (n - 1), cross[0][level][real] / m
        return value, of_kernel(*means, within[1][generated] / (m - 1), cross[1][level][generated] / n)

    def _within_real(self, classes: Classes, drawn: Sequence[Draw]) -> float:
        own = self._sides[0].members(classes)
        if len(drawn[0][0]) < len(own):
            return self._real_draws[classes]
        return self._real_sums[self._where[classes][0]][own].sum() / (len(own) * (len(own) - 1))

    def _within_generated(self, classes: Classes, drawn: Sequence[Draw]) -> float:
        own = self._sides[1].members(classes)
        if len(drawn[0][1]) < len(own):
            return mean_within_draws(self._sides[1].atoms.points[own], [j for _, j in drawn])
        return self._generated_sums[self._where[classes][0]][own].sum() / (len(own) * (len(own) - 1))

    def _between(self, classes: Classes, drawn: Sequence[Draw]) -> float:
        """From sums over one side where that is drawn whole."""
        level, size = self._where[classes][0], len(drawn[0][0])
        real, generated = (side.members(classes) for side in self._sides)
        if size == len(generated):
            return float(np.mean([self._cross[0][level][real[i]].sum() for i, _ in drawn])) / (size * size)
        if size == len(real):
            return float(np.mean([self._cross[1][level][generated[j]].sum() for _, j in drawn])) / (size * size)
        first, second = (side.atoms.points for side in self._sides)
        return float(np.mean([mean_between(first[real[i]], second[generated[j]]) for i, j in drawn]))

    @cached_property
    def _cross(self) -> tuple[Floats, Floats]:
        return kernel_sums(self._sides[0].atoms, self._sides[1].atoms, self._groups)

    @cached_property
    def _real_draws(self) -> dict[Classes, float]:
        """Mean kernel within the subsets of real images, of each scope that has more than are drawn."""
        members = {classes: [side.members(classes) for side in self._sides] for classes in self._where}
        sizes = {classes: tuple(map(len, both)) for classes, both in members.items()}
        known = [classes for classes, (n, m) in sizes.items() if min(MOST_DRAWN, n, m) < n and m > 1]

        def make() -> Floats:
            points = self._sides[0].atoms.points
            drawn = (draws(*sizes[classes]) for classes in known)
            return np.array(
                [
                    mean_within_draws(points[members[classes][0]], [i for i, _ in own])
                    for classes, own in zip(known, drawn, strict=True)
                ]
            )

        what = f"kernel of draws {[(classes, sizes[classes]) for classes in known]}"
        return dict(zip(known, self._keep(make, what).tolist(), strict=True))

    @cached_property
    def _real_sums(self) -> Floats:
        return self._keep(lambda: sums_of_others(self._sides[0].atoms, self._groups), f"kernel {_hash(self._groups)}")

    @cached_property
    def _generated_sums(self) -> Floats:
        return sums_of_others(self._sides[1].atoms, self._groups)

    @cached_property
    def _used(self) -> tuple[Places, Places]:
        """Places of the images that some scope takes as neighbours."""
        real, generated = (np.flatnonzero((ids >= 0).any(axis=0)) for ids in self._ids)
        return real, generated

    @cached_property
    def _ids(self) -> tuple[Places, Places]:
        """The scope of each image in each grouping: of the first of its members, equally many of both sides."""
        ids = [np.full((len(self._groups), len(side.pool)), -1, dtype=np.intp) for side in self._sides]
        for classes, (level, group) in self._where.items():
            members = [side.members(classes) for side in self._sides]
            for of_side, own in zip(ids, members, strict=True):
                of_side[level, own[: min(map(len, members))]] = group
        return ids[0], ids[1]

    def _pass(self, ks: tuple[int, ...]) -> GroupedNeighbourhoods:
        real, generated = (
            Grouped.of(side.atoms.points[used], ids[:, used])
            for side, used, ids in zip(self._sides, self._used, self._ids, strict=True)
        )
        what = f"radii {ks} {_hash(self._used[0], real.ids)}"
        return grouped_neighbourhoods(real, generated, ks, CHUNK, self._keep(lambda: radii(real, ks, CHUNK), what))


def groupings(scopes: Sequence[Classes]) -> tuple[Places, dict[Classes, tuple[int, int]]]:
    """Groups (L, C) of each class in as many groupings as needed, -1 for none; and the place of each scope in them."""
    classes = 1 + max((label for scope in scopes for label in scope), default=0)
    levels: list[Places] = []
    where: dict[Classes, tuple[int, int]] = {}
    for scope in dict.fromkeys(scopes):
        labels = np.array(scope, dtype=np.intp)
        level = next((i for i, own in enumerate(levels) if (own[labels] < 0).all()), len(levels))
        if level == len(levels):
            levels.append(np.full(classes, -1, dtype=np.intp))
        group = sum(other == level for other, _ in where.values())
        levels[level][labels] = group
        where[scope] = level, group
    return np.array(levels), where


def _hash(*arrays: Places) -> str:
    return sha256(b"".join(array.astype("<i8").tobytes() for array in arrays)).hexdigest()
