"""What an importer hands over: first that a source is there, then what its images are, then the images one by one.

Found    from names, sizes and times of files alone, so that an unchanged source is known at once
Source   class and part of every item; the pictures come as a stream of files, encoded bytes or arrays
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taildiff.data.store_files import is_latents, is_store, refuse_run
from taildiff.errors import DataError

Raw = Path | bytes | np.ndarray
"""A picture: an image file, what would be in one, or uint8 (H, W) or (H, W, C)."""
OTHER_SIZE = 32
"""Pixels a side, where the images of a source have no size in common."""


@dataclass(frozen=True, eq=False)
class Source:
    """Items in the order in which a store keeps them."""

    class_names: tuple[str, ...]
    labels: np.ndarray
    """int64 (n,), 0..C-1."""
    test: np.ndarray
    """bool (n,); True = held out."""
    pictures: Callable[[int], Iterator[Raw]]
    """All pictures from the one of this position on; `DataError` when the source turns out to be damaged."""
    names: Sequence[str] | None = None
    """Where each comes from, relative to the source; kept in the store."""
    channels: int | None = None
    """1 or 3; None: the pictures say so."""
    notes: tuple[str, ...] = ()
    """What a person should know, a sentence each."""
    strict_notes: tuple[str, ...] = ()
    """The same, where `--strict` refuses it."""

    def line(self, position: int) -> str:
        """An item in an error message."""
        name = self.names[position] if self.names else f"image {position:,}"
        return name.encode(errors="replace").decode()  # file names need not be valid text


@dataclass(frozen=True, eq=False)
class Found:
    """A source that is there."""

    source: str
    """Absolute, for the record."""
    name: str
    """For titles."""
    fingerprint: str
    roots: tuple[Path, ...]
    """What a store must not lie in."""
    read: Callable[[], Source]
    size: int = OTHER_SIZE
    """Pixels a side unless the user says otherwise."""
    options: str = ""
    """What besides the size decides the images."""


def check_classes(place: object, class_names: Sequence[str], labels: np.ndarray, test: np.ndarray) -> None:
    """`DataError` unless there are two classes or more, each with a printable name and an image to learn from."""
    if len(class_names) < 2:
        only = f"the single class '{class_names[0]}'" if class_names else "no images"
        raise DataError(f"{place} has {only}, but at least two classes are needed")
    for name in class_names:
        if not name.isprintable() or not name.strip():
            raise DataError(f"{place}: {name!r} becomes the name of a class; give it a printable one")
    if len(set(class_names)) < len(class_names):
        twice = next(name for name in class_names if list(class_names).count(name) > 1)
        raise DataError(f"{place}: two classes have the name '{twice}'; rename one")
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(class_names):
        raise DataError(
            f"{place}: labels {labels.min()}..{labels.max()}, but there are {len(class_names)} class names "
            f"(0..{len(class_names) - 1})"
        )
    counts = np.bincount(labels[~test], minlength=len(class_names))
    if not counts.all():
        empty = class_names[int(counts.argmin())]
        raise DataError(f"{place}: class '{empty}' has no images for training; add some, or leave it out")


def classes_by_value(values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and labels (int64) for classes that are known by their numbers alone: those that occur, in order."""
    found, labels = np.unique(values, return_inverse=True)
    return tuple(str(value) for value in found.tolist()), labels.reshape(-1).astype(np.int64)


def read_class_names(path: Path) -> tuple[str, ...]:
    """A text file with one class name a line, in the order of the labels."""
    lines = read_text(path).splitlines()
    names = tuple(line.strip() for line in lines)
    while names and not names[-1]:
        names = names[:-1]
    if not names or not all(names):
        raise DataError(f"{path}: one class name a line is needed, in the order of the labels, and no empty line")
    return names


def read_text(path: Path) -> str:
    """A text file of the user's; `DataError` says why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not a text file (UTF-8)") from None


def fingerprint(files: Iterable[tuple[str, int, int]]) -> str:
    """Of (name, size, time): tells changed files without reading them."""
    digest = hashlib.sha256()
    for name, size, time_ns in files:
        digest.update(f"{name}\0{size}\0{time_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def fingerprint_of(paths: Sequence[Path]) -> str:
    """`fingerprint` of some files."""
    return fingerprint((path.name, (status := path.stat()).st_size, status.st_mtime_ns) for path in paths)


def check_place(place: Path) -> None:
    """`DataError` when a source does not exist, or is a store, latents or a run."""
    if not place.exists():
        raise DataError(f"{place} does not exist")
    if is_latents(place):
        raise DataError(
            f"{place} holds latents already: taildiff train auto-sit-ccua --data {place} --out RUN trains on it"
        )
    if is_store(place):
        raise DataError(f"{place} is a store already: taildiff train auto-ccua --data {place} --out RUN trains on it")
    refuse_run(place)
