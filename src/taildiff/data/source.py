"""What an importer returns: `Found` at once, its `Source` when read, then a stream of images.

Found    made from names, sizes and times of files alone, so that an unchanged source is recognised at once
Source   class and split of every item, and its images as a stream of files, encoded bytes or arrays
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taildiff.data.class_names import canonical, in_order, name_notes
from taildiff.data.store_files import is_latents, is_store, refuse_run
from taildiff.errors import DataError
from taildiff.io.paths import special_kind, whole
from taildiff.io.staging import put_back

Raw = Path | bytes | np.ndarray
"""An image: a file, the bytes of one, or uint8 or uint16 (H, W) or (H, W, C)."""


@dataclass(frozen=True, eq=False)
class Source:
    """The items of a dataset, in the order of the store."""

    class_names: tuple[str, ...]
    labels: np.ndarray
    """int64 (n,), 0..C-1."""
    test: np.ndarray
    """bool (n,); True = held out."""
    pictures: Callable[[int], Iterator[Raw]]
    """All images from this position on; `DataError` when the source is damaged."""
    names: Sequence[str] | None = None
    """Path of each item, relative to the source; kept in the store."""
    channels: int | None = None
    """1 or 3; None: read from the headers of the images."""
    notes: tuple[str, ...] = ()
    """Sentences that the user should read."""
    strict_notes: tuple[str, ...] = ()
    """The same, but errors with `--strict`."""
    fewest_classes: int = 2
    """1 only for images to be evaluated."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """`notes`, and those on the names of the classes."""
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(self.class_names)).tolist()
        return (*self.notes, *name_notes(self.class_names, counts[: len(self.class_names)]))

    def line(self, position: int) -> str:
        """How an error message names an item."""
        name = self.names[position] if self.names else f"image {position:,}"
        return name.encode(errors="replace").decode()  # file names need not be valid text


@dataclass(frozen=True, eq=False)
class Found:
    """A source that exists."""

    source: str
    """Absolute path, kept in the store."""
    name: str
    """Title of the dataset."""
    fingerprint: str
    roots: tuple[Path, ...]
    """Folders that the store must be outside of."""
    read: Callable[[], Source]
    size: int = 32
    """Default pixels per side; 32 where the images have different sizes."""
    options: str = ""
    """Everything else that the images depend on."""


def check_classes(
    place: object, class_names: Sequence[str], labels: np.ndarray, test: np.ndarray, fewest: int = 2
) -> None:
    """`DataError` unless there are `fewest` classes, each with a unique printable name and a training image."""
    if len(class_names) < fewest:
        only = f"only the class '{class_names[0]}'" if class_names else "no images"
        raise DataError(f"{place} has {only}, but at least two classes are needed")
    for name in class_names:
        if not name.isprintable() or not name.strip():
            raise DataError(f"{place}: {name!r} is not a printable class name; rename the class")
    equal = [canonical(name) for name in class_names]
    if len(set(equal)) < len(equal):
        twice = next(name for name in equal if equal.count(name) > 1)
        raise DataError(f"{place}: two classes are named '{twice}'; rename one")
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(class_names):
        raise DataError(
            f"{place}: labels {labels.min()}..{labels.max()}, but there are {len(class_names)} class names "
            f"(0..{len(class_names) - 1})"
        )
    counts = np.bincount(labels[~test], minlength=len(class_names))
    if not counts.all():
        empty = class_names[int(counts.argmin())]
        raise DataError(f"{place}: class '{empty}' has no training images; add some or remove the class")


def pictures_of(counts: Sequence[int], read: Callable[[int, int], Iterable[Raw]]) -> Callable[[int], Iterator[Raw]]:
    """`Source.pictures` of parts with these numbers of images; `read(part, start)` gives those of one part."""

    def pictures(start: int) -> Iterator[Raw]:
        for part, count in enumerate(counts):
            if start < count:
                yield from read(part, max(start, 0))
            start -= count

    return pictures


def classes_by_value(values: np.ndarray, names: Path | None = None) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and labels (int64): those in the file `names`, by value; else the values that occur, by `in_order`."""
    if names is not None:
        return read_class_names(names), values
    unique, inverse = np.unique(values, return_inverse=True)
    texts = [canonical(str(value)) for value in unique.tolist()]
    label = {text: k for k, text in enumerate(in_order(texts))}
    return tuple(label), np.array([label[text] for text in texts], np.int64)[inverse.reshape(-1)]


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names from a text file: one per line, in label order."""
    lines = read_text(path).splitlines()
    names = tuple(line.strip() for line in lines)
    while names and not names[-1]:
        names = names[:-1]
    if not names or not all(names):
        raise DataError(f"{path} must hold one class name per line, in label order, without empty lines")
    return names


def read_text(path: Path) -> str:
    """The content of a text file; `DataError` says why it cannot be read."""
    try:
        return whole(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not a text file (UTF-8)") from None


def fingerprint(files: Iterable[tuple[str, int, int]]) -> str:
    """Hash of (name, size, time) of files: detects changes without reading them."""
    sha256 = hashlib.sha256()
    for name, size, time_ns in files:
        sha256.update(f"{name}\0{size}\0{time_ns}\n".encode(errors="surrogateescape"))
    return sha256.hexdigest()


def fingerprint_of(paths: Sequence[Path]) -> str:
    """`fingerprint` of the files at these paths."""
    return fingerprint((path.name, (status := path.stat()).st_size, status.st_mtime_ns) for path in paths)


def check_place(place: Path) -> None:
    """`DataError` unless the source exists and is no store, latents or run."""
    put_back(place)
    if not place.exists():
        raise DataError(f"{place} does not exist")
    if kind := special_kind(place):
        raise DataError(f"{place} is a {kind}, not a regular file or folder")
    if is_latents(place):
        raise DataError(
            f"{place} already holds latents; to train on them: taildiff train auto-sit-ccua --data {place} --out RUN"
        )
    if is_store(place):
        raise DataError(
            f"{place} is already a store; to train on it: taildiff train auto-ccua --data {place} --out RUN"
        )
    refuse_run(place)
