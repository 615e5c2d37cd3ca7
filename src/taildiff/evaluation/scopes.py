"""Which images a number is taken over: the real reference, the generated ones, and their parts by class and group."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from taildiff.data.longtail import NEARLY_EQUAL, Groups
from taildiff.data.store import Store
from taildiff.errors import DataError
from taildiff.evaluation.table import Group
from taildiff.rng import stream


@dataclass(frozen=True)
class Pool:
    """Features (N, D) with labels (N,), in an order of which every beginning has the classes as even as they can be."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64] | None = None
    """What the judge takes each image for (N,), where it was asked."""

    @classmethod
    def interleaved(
        cls, features: NDArray[np.float32], labels: NDArray[np.int64], predicted: NDArray[np.int64] | None = None
    ) -> "Pool":
        """Bring into that order: all first images of each class, then all second ones, and so on."""
        return cls(features, labels, predicted)._at(interleave(labels))

    def of(self, classes: Sequence[int]) -> "Pool":
        """The part of some classes."""
        return self._at(np.isin(self.labels, classes))

    def first(self, n: int) -> "Pool":
        """The first n images, classes as even as they can be."""
        return self._at(slice(n))

    def _at(self, chosen: NDArray[np.intp] | NDArray[np.bool_] | slice) -> "Pool":
        predicted = None if self.predicted is None else self.predicted[chosen]
        return Pool(self.features[chosen], self.labels[chosen], predicted)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Reference:
    """Which images of a store the generated ones are held against."""

    index: NDArray[np.intp]
    """Positions in the store, interleaved by class."""
    balanced: bool
    """Exactly equal numbers of each class."""
    note: str
    """What a reader has to know of it; empty if nothing."""


def reference(store: Store, column: Literal["train", "test", "all"]) -> Reference:
    """The real images of a column of the store, never the long-tailed cut.

    Where the classes are about equally frequent they are cut to equal numbers (the same ones always); a natural folder
    is taken as it is, since its rare classes would leave next to nothing. `DataError` for a column without images.
    """
    test = np.asarray(store.test)
    index = np.flatnonzero({"train": ~test, "test": test, "all": np.ones_like(test)}[column])
    if not len(index):
        raise DataError(f"the store {store.root} has no {column} images: choose another --reference")
    labels = np.asarray(store.labels)[index]
    counts = np.bincount(labels, minlength=len(store.meta.class_names))
    shuffled = stream(0, "evaluation/reference").permutation(len(index))
    index, labels = index[shuffled], labels[shuffled]
    index = index[interleave(labels)]
    least, most = int(counts.min()), int(counts.max())
    if most <= NEARLY_EQUAL * least:
        return Reference(index[: least * len(counts)], True, "")
    note = f"no balanced reference: all {len(index)} real images are it ({least} to {most} a class, n_real names them)"
    return Reference(index, False, note)


def interleave(labels: NDArray[np.int64]) -> NDArray[np.intp]:
    """The order (N,) that takes the first image of each class, then the second of each, and so on."""
    by_class = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    rank = np.empty(len(labels), dtype=np.intp)
    rank[by_class] = np.concatenate([np.arange(size) for size in sizes])
    return np.lexsort((labels, rank))


@dataclass(frozen=True)
class Scope:
    """The classes that a number is taken over."""

    group: Group
    labels: tuple[int, ...]
    class_name: str = ""


def scopes(counts: Sequence[int], class_names: Sequence[str]) -> Iterator[Scope]:
    """All classes, the groups of both schemes by training count (where it is known), each class."""
    yield Scope("all", tuple(range(len(class_names))))
    for groups in (Groups.thirds(counts), Groups.shots(counts)) if counts else ():
        for name, labels in groups:
            yield Scope(cast(Group, name), labels)
    for label, name in enumerate(class_names):
        yield Scope("class", (label,), name)
