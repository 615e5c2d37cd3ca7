"""Long tails: the images of a store that a run trains on, the class laws of resampling, and groups of classes.

Exponential tail (Cao et al. 2019): n_k = min(available, int(n_max ρ^(k/(C-1)))), classes k in label order, n_max = N/C.
Step tail (the same): the first classes keep n_max, the last ⌊share C⌋ of them int(n_max ρ).
List: the images named in a text file, as the long-tailed benchmarks are published (`path class_id` per line).
Class law (CCUA, arXiv 2507.09052): p_k ∝ f^(k/(C-1)), k the rank of the class from the commonest to the rarest.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from taildiff.data.formats.table import read_list
from taildiff.data.store import Columns
from taildiff.errors import DataError, SpecError
from taildiff.io.atomic import write_json
from taildiff.io.checksum import checksum_matches, with_checksum
from taildiff.io.json_files import read_json
from taildiff.spec import DataSpec

NEARLY_EQUAL = 2.0
"""Ratio of the commonest class to the rarest up to which the uncut images, cut to equal counts, count as balanced.

Datasets called balanced are only nearly so: ImageNet has 732 to 1,300 images per class, Places365 3,068 to 5,000.
"""
FEWEST_REAL = 20
"""Real images that a metric needs; with fewer it is not reported."""


def exponential_counts(
    available: Sequence[int], ratio: float, n_max: float | None = None, min_per_class: int = 0
) -> tuple[int, ...]:
    """Images kept per class; 0 is possible. `n_max` is N/C by default; no class gets more than it has."""
    classes = len(available)
    peak = _peak(available, ratio, n_max)
    wanted = (peak * ratio ** (k / (classes - 1)) for k in range(classes))
    return tuple(min(n, max(int(count), min_per_class)) for n, count in zip(available, wanted, strict=True))


def step_counts(
    available: Sequence[int], ratio: float, share: float = 0.5, n_max: float | None = None, min_per_class: int = 0
) -> tuple[int, ...]:
    """Images kept per class; a `share` of the classes, at least one and not all, is made rare."""
    classes = len(available)
    peak = _peak(available, ratio, n_max)
    if not 0 < share < 1:
        raise DataError(f"step share {share} is not between 0 and 1; it is the share of the classes that is made rare")
    head = classes - min(max(int(share * classes + 1e-9), 1), classes - 1)
    wanted = [max(int(peak if k < head else peak * ratio), min_per_class) for k in range(classes)]
    return tuple(min(n, count) for n, count in zip(available, wanted, strict=True))


def _peak(available: Sequence[int], ratio: float, n_max: float | None) -> float:
    if len(available) < 2:
        raise DataError("a long tail needs at least two classes")
    if not 0 < ratio <= 1:
        raise DataError(f"ratio {ratio} is not in (0, 1]; it is the rarest class's count over the commonest's")
    return sum(available) / len(available) if n_max is None else n_max


def exponential(
    labels: np.ndarray,
    ratio: float,
    seed: int = 0,
    max_per_class: int | None = None,
    min_per_class: int = 0,
    classes: int | None = None,
) -> np.ndarray:
    """Positions in `labels` that are kept, int64, class after class in label order.

    `min_per_class` raises the counts as far as there are images; `DataError` for a class that would get none.
    """
    available = np.bincount(labels, minlength=int(labels.max()) + 1 if classes is None else classes)
    counts = exponential_counts(available.tolist(), ratio, max_per_class, min_per_class)
    return _choose(labels, available, counts, ratio, seed)


def step(
    labels: np.ndarray,
    ratio: float,
    share: float = 0.5,
    seed: int = 0,
    max_per_class: int | None = None,
    min_per_class: int = 0,
    classes: int | None = None,
) -> np.ndarray:
    """Like `exponential`, with the counts of `step_counts`."""
    available = np.bincount(labels, minlength=int(labels.max()) + 1 if classes is None else classes)
    counts = step_counts(available.tolist(), ratio, share, max_per_class, min_per_class)
    return _choose(labels, available, counts, ratio, seed)


def _choose(labels: np.ndarray, available: np.ndarray, counts: Sequence[int], ratio: float, seed: int) -> np.ndarray:
    """Uses numpy's legacy generator, as published splits do: one generator, one shuffle per class."""
    random = np.random.RandomState(seed % 2**32)
    kept: list[np.ndarray] = []
    for label, count in enumerate(counts):
        if count == 0:
            why = "it has none" if available[label] == 0 else f"ratio {ratio:g} is too small"
            raise DataError(
                f"class {label} would keep no image: {why}. Raise --data.ratio, or give --data.min-per-class 1"
            )
        members = np.flatnonzero(labels == label)
        random.shuffle(members)
        kept.append(members[:count])
    return np.concatenate(kept)


def listed(store: Columns, path: Path, seed: int = 0, min_per_class: int = 0) -> np.ndarray:
    """Positions in the store of the images named in a list file, int64, ascending.

    A class id is the class's name where all names are numbers, else its label. `min_per_class` adds images, chosen by
    `seed`, to classes with fewer. `DataError` names the line of an image that is missing from the store, held out,
    repeated or of another class, and a class that would get no image.
    """
    names = store.names
    if names is None:
        raise DataError(
            f"{store.root} does not record file names, which a list needs; prepare it from a folder, csv, list or "
            "published tree (imagenet …)"
        )
    position = {name: k for k, name in enumerate(names)}
    classes = store.meta.class_names
    label_of = {str(int(name)) if name.isdecimal() else name: label for label, name in enumerate(classes)}
    if not all(name.isdecimal() for name in classes):
        label_of = {str(label): label for label in range(len(classes))}
    chosen = np.zeros(len(names), np.bool_)
    for row in read_list(path):
        where = f"{path}, line {row.line}: '{row.path}'"
        k = position.get(row.path)
        if k is None:
            raise DataError(f"{where} is not in {store.root}, whose images are named like '{names[0]}'")
        if store.test[k]:
            raise DataError(f"{where} is held out in {store.root}; a list names images for training")
        if chosen[k]:
            raise DataError(f"{where} is listed twice")
        if label_of.get(str(int(row.label))) != store.labels[k]:
            raise DataError(f"{where} has the class {row.label}, in {store.root} it is '{classes[store.labels[k]]}'")
        chosen[k] = True
    _fill_up(chosen, store, seed, min_per_class)
    lost = np.flatnonzero(np.bincount(store.labels[chosen], minlength=len(classes)) == 0)
    if len(lost):
        raise DataError(f"{path} has no image of class '{classes[lost[0]]}'; add one, or give --data.min-per-class 1")
    return np.flatnonzero(chosen)


def _fill_up(chosen: np.ndarray, store: Columns, seed: int, min_per_class: int) -> None:
    random = np.random.RandomState(seed % 2**32)
    counts = np.bincount(store.labels[chosen], minlength=len(store.meta.class_names))
    for label in np.flatnonzero(counts < min_per_class):
        rest = np.flatnonzero((store.labels == label) & ~store.test & ~chosen)
        chosen[random.permutation(rest)[: min_per_class - counts[label]]] = True


def natural(labels: np.ndarray) -> np.ndarray:
    """All positions, int64, ascending."""
    return np.arange(len(labels))


def class_law(classes: int, factor: float) -> np.ndarray:
    """p_k ∝ f^(k/(C-1)), float64 (C,), for classes ordered from head to tail; f = 1 is balanced."""
    if classes < 1 or not 0 < factor <= 1:
        raise DataError(f"a class law needs at least one class and a factor in (0, 1], not {classes} and {factor}")
    weights = factor ** (np.arange(classes) / max(classes - 1, 1))
    return weights / weights.sum()


def class_law_by_count(counts: Sequence[int], factor: float) -> np.ndarray:
    """`class_law` with classes ranked by count, most first, ties by label; float64 (C,) by label."""
    law = np.empty(len(counts))
    law[rank(counts)] = class_law(len(counts), factor)
    return law


def class_law_of(data: DataSpec, counts: Sequence[int]) -> np.ndarray | None:
    """The class law of a run that resamples, float64 (C,) by label; None for epochs."""
    if data.resample_power is not None:
        weights = np.asarray(counts, np.float64) ** data.resample_power
        return weights / weights.sum()
    return None if data.resample is None else class_law_by_count(counts, data.resample)


def rank(counts: Sequence[int]) -> np.ndarray:
    """Labels from the commonest class to the rarest; ties by label."""
    return np.argsort(-np.asarray(counts, np.int64), kind="stable")


@dataclass(frozen=True, eq=False)
class Split:
    """The training images of one run; saved with it, so that no later change of the rules changes the run."""

    store_hash: str
    tail: str
    """The rule as text."""
    index: np.ndarray
    """int64 (n,), positions in the store."""
    counts: tuple[int, ...]
    """Images per class."""
    hash: str
    """sha256 over the store's hash and the index."""

    @classmethod
    def cut(cls, store: Columns, data: DataSpec) -> Self:
        """The split that `data` describes; `DataError` when it leaves a class empty."""
        train = store.train_index
        labels = store.labels[train]
        classes, floor = len(store.meta.class_names), data.min_per_class
        match data.tail:
            case "exp":
                kept = exponential(labels, data.ratio, data.tail_seed, min_per_class=floor, classes=classes)
                tail = f"exp ratio={data.ratio:g} seed={data.tail_seed} min_per_class={floor}"
            case "step":
                kept = step(labels, data.ratio, data.step_share, data.tail_seed, min_per_class=floor, classes=classes)
                tail = (
                    f"step ratio={data.ratio:g} share={data.step_share:g} seed={data.tail_seed} min_per_class={floor}"
                )
            case "list":
                assert data.list is not None
                kept = np.searchsorted(train, listed(store, data.list, data.tail_seed, floor))
                tail = f"list {data.list} seed={data.tail_seed} min_per_class={floor}"
            case "natural":
                kept = natural(labels)
                tail = "natural"
        index = train[kept]
        counts = np.bincount(store.labels[index], minlength=classes)
        if not counts.all():
            raise DataError(f"class '{store.meta.class_names[counts.argmin()]}' of {store.root} has no training image")
        return cls(store.meta.hash, tail, index, tuple(counts.tolist()), _hash(store.meta.hash, index))

    @classmethod
    def unknown(cls, store: Columns, counts: Sequence[int] = ()) -> Self:
        """The split of a model that was trained elsewhere: of no store, so that nothing counts as seen in training.

        `counts` are its training images per class; by default those of the store.
        """
        train = store.train_index
        have = np.bincount(store.labels[train], minlength=len(store.meta.class_names))
        counts = tuple(counts) or tuple(have.tolist())
        index = np.arange(sum(counts))
        return cls("", "unknown", index, counts, _hash("", index))

    def save(self, path: Path) -> None:
        """Write as JSON."""
        values = {"store_hash": self.store_hash, "tail": self.tail, "hash": self.hash, "counts": list(self.counts)}
        write_json(path, with_checksum(values | {"index": self.index.tolist()}))

    @classmethod
    def load(cls, path: Path) -> Self:
        """The split that `save` wrote; `DataError` where it is missing or was changed."""
        try:
            values: Any = read_json(path)
            index = np.array(values["index"], np.int64)
            counts = tuple(int(count) for count in values["counts"])
            split = cls(values["store_hash"], values["tail"], index, counts, values["hash"])
            intact = checksum_matches(values) and _hash(split.store_hash, index) == split.hash
        except SpecError as error:
            raise DataError(str(error)) from None
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            intact, split = False, None
        if split is None or not intact or sum(split.counts) != len(split.index):
            raise DataError(f"{path} is damaged, was changed, or is not a split; start a new run to cut it again")
        return split


def _hash(store_hash: str, index: np.ndarray) -> str:
    return hashlib.sha256(store_hash.encode() + index.astype("<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Groups:
    """Classes in named groups, from the commonest to the rarest; empty groups are left out."""

    scheme: str
    """`thirds` or `shots`."""
    names: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]
    """Per group, from the commonest class to the rarest."""

    @classmethod
    def thirds(cls, counts: Sequence[int]) -> Self:
        """Head and tail: the first and last ⌊C/3⌋ classes by count (one each of two classes); body: the rest."""
        order = rank(counts).tolist()
        third = max(len(order) // 3, 1 if len(order) == 2 else 0)
        cut = len(order) - third
        return cls._of("thirds", {"head": order[:third], "body": order[third:cut], "tail": order[cut:]})

    @classmethod
    def shots(cls, counts: Sequence[int]) -> Self:
        """Many: more than 100 training images; medium: 20..100; few: fewer than 20."""
        order = rank(counts).tolist()
        many = [label for label in order if counts[label] > 100]
        few = [label for label in order if counts[label] < 20]
        return cls._of("shots", {"many": many, "medium": [k for k in order if 20 <= counts[k] <= 100], "few": few})

    @classmethod
    def _of(cls, scheme: str, members: dict[str, list[int]]) -> Self:
        filled = {name: tuple(labels) for name, labels in members.items() if labels}
        return cls(scheme, tuple(filled), tuple(filled.values()))

    def __iter__(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """(name, labels) of each group."""
        return iter(zip(self.names, self.labels, strict=True))

    def of(self, label: int) -> str:
        """The name of the class's group."""
        for name, labels in self:
            if label in labels:
                return name
        raise DataError(f"class {label} is in none of the groups {', '.join(self.names)}")
