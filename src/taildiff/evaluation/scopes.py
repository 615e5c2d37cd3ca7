"""The images behind a number: real and generated ones, as a whole and by group and class."""

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
    """Features (N, D) with labels (N,), ordered so that the first n have the classes as evenly as possible."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64] | None = None
    """The classifier's label for each image (N,), where known."""
    copied: NDArray[np.bool_] | None = None
    """Whether each image is a copy of a training image (N,), where known."""

    @classmethod
    def interleaved(
        cls,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        predicted: NDArray[np.int64] | None = None,
        copied: NDArray[np.bool_] | None = None,
    ) -> "Pool":
        """A pool in that order: the first image of each class, then the second of each, and so on."""
        return cls(features, labels, predicted, copied)._at(interleave(labels))

    def of(self, classes: Sequence[int]) -> "Pool":
        """The part of some classes."""
        return self._at(np.isin(self.labels, classes))

    def first(self, n: int) -> "Pool":
        """The first n images, classes as evenly as possible."""
        return self._at(slice(n))

    def _at(self, chosen: NDArray[np.intp] | NDArray[np.bool_] | slice) -> "Pool":
        predicted = None if self.predicted is None else self.predicted[chosen]
        copied = None if self.copied is None else self.copied[chosen]
        return Pool(self.features[chosen], self.labels[chosen], predicted, copied)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ReferenceIndex:
    """The images of a store that serve as the reference."""

    index: NDArray[np.intp]
    """Positions in the store, interleaved by class."""
    note: str = ""
    """A warning for the table; empty where each class has the same number."""


def reference_index(store: Store, column: Literal["train", "test", "all"]) -> ReferenceIndex:
    """The real images of a column of the store, never of the long-tailed cut.

    Classes that are about equally frequent are cut to equal numbers (always the same images); a natural folder is used
    whole, since its rare classes would leave next to nothing. `DataError` for a column without images.
    """
    test = np.asarray(store.test)
    index = np.flatnonzero({"train": ~test, "test": test, "all": np.ones_like(test)}[column])
    if not len(index):
        raise DataError(f"the store {store.root} has no {column} images; choose another --reference")
    labels = np.asarray(store.labels)[index]
    counts = np.bincount(labels, minlength=len(store.meta.class_names))
    shuffled = stream(0, "evaluation/reference").permutation(len(index))
    index, labels = index[shuffled], labels[shuffled]
    index = index[interleave(labels)]
    least, most = int(counts.min()), int(counts.max())
    if most <= NEARLY_EQUAL * least:
        return ReferenceIndex(index[: least * len(counts)])
    note = f"no balanced reference; all {len(index)} real images are used ({least} to {most} per class, see n_real)"
    return ReferenceIndex(index, note)


def interleave(labels: NDArray[np.int64]) -> NDArray[np.intp]:
    """The order (N,) that takes the first image of each class, then the second of each, and so on."""
    by_class = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    rank = np.empty(len(labels), dtype=np.intp)
    rank[by_class] = np.concatenate([np.arange(size) for size in sizes])
    return np.lexsort((labels, rank))


@dataclass(frozen=True)
class Scope:
    """The classes behind a number."""

    group: Group
    labels: tuple[int, ...]
    class_name: str = ""


def scopes(counts: Sequence[int], class_names: Sequence[str]) -> Iterator[Scope]:
    """All classes, the groups of both schemes by training count where it is known, and each class."""
    yield Scope("all", tuple(range(len(class_names))))
    for groups in (Groups.thirds(counts), Groups.shots(counts)) if counts else ():
        for name, labels in groups:
            yield Scope(cast(Group, name), labels)
    for label, name in enumerate(class_names):
        yield Scope("class", (label,), name)
