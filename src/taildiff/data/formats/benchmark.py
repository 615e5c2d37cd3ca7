"""Shared by the importers of published datasets: from files and their classes to a checked `Found`.

Images are named by their paths in the published tree, the names that published list files use (`longtail.listed`).
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from taildiff.data.formats.published import Dataset, check_dataset, missing
from taildiff.data.listing import Entry, PassedOver, does_not, images_below, some
from taildiff.data.source import Found, Source, check_place, fingerprint, read_text
from taildiff.errors import DataError

SIZE = 64
"""Default pixels per side: the size of Tiny ImageNet, and of the small settings of the others."""
_WNID = re.compile(r"n\d{8}")


@dataclass(eq=False)
class Part:
    """The training or the held-out images."""

    entries: list[Entry] = field(default_factory=list)
    """Paths are relative to the source's root."""
    classes: list[str] = field(default_factory=list)
    """Class of each entry, by its unique name: a wnid, a folder, an id."""


@dataclass(eq=False)
class Copy:
    """A copy of a published dataset on this machine."""

    dataset: Dataset
    place: Path
    """The SOURCE of the user."""
    root: Path
    """Folder that image paths are relative to."""
    partial: bool = False
    """Accept missing files, with a note."""
    notes: list[str] = field(default_factory=list)
    passed: PassedOver = field(default_factory=PassedOver)

    def walk(self, folder: str) -> list[Entry]:
        """All image files below a folder of the root; none if it does not exist."""
        place = self.root / folder
        return images_below(place, f"{folder}/", self.passed) if place.is_dir() else []

    def train(self, folder: str, by_class: Callable[[Iterable[Entry]], Part]) -> Part:
        """The training images below a folder; `DataError` with instructions unless there are any."""
        part = by_class(self.walk(folder))
        if not part.entries:
            raise missing(self.dataset, self._why_empty(self.root / folder))
        return part

    @staticmethod
    def _why_empty(place: Path) -> str:
        if not place.is_dir():
            return f"{place} does not exist."
        packed = next(place.glob("*.tar"), None)
        if packed is not None:
            return f"{place} contains .tar files ({packed.name} …); unpack each into its own folder."
        return f"{place} contains no images in class folders."

    def tolerate(self, problem: str) -> None:
        """Note a problem with `--partial`, else raise a `DataError`."""
        if not self.partial:
            raise DataError(f"{problem}. Complete the copy, or accept it as it is: --partial")
        self.notes.append(f"{problem}: skipped")

    def unlabelled(self, problem: str) -> Part:
        """No held-out images, and a note, with `--partial`; else a `DataError` with instructions."""
        if not self.partial:
            raise missing(self.dataset, f"{problem} (--partial skips them.)")
        self.notes.append(f"{problem} They were skipped.")
        return Part()

    def by_list(self, folder: str, flat: Iterable[Entry], file: Path, classes: Sequence[str]) -> Part:
        """The held-out images `flat` of a folder, with the classes that `file` gives them."""
        if file.is_file():
            return by_truth(self, flat, read_truth(file, classes, self.dataset.classes), file)
        return self.unlabelled(
            f"{file} does not exist, and without it the images in {self.root / folder} have no classes."
        )

    def found(
        self, train: Part, test: Part, readable: Mapping[str, str], key: Callable[[str], str | int] = str
    ) -> Found:
        """The result of the importer. Classes are sorted by `key` and named by `readable`, or else by their id.

        `DataError` for a held-out image of a class without training images and for counts other than the published
        ones; with `partial`, notes.
        """
        ids = sorted(set(train.classes), key=key)
        label = {name: k for k, name in enumerate(ids)}
        test = self._with_training_images(test, label)
        self.notes += check_dataset(
            self.dataset, self.place, len(ids), len(train.entries), len(test.entries), self.partial
        )
        names = _unique([readable.get(name, name) for name in ids], ids)
        rows = [*_sorted(train, label), *_sorted(test, label)]
        labels = np.array([k for k, _ in rows], np.int64)
        held_out = np.arange(len(rows)) >= len(train.entries)
        paths = tuple(path for _, (path, _, _) in rows)
        mark = fingerprint(
            [*((name, 0, 0) for name in names), *((f"{path}\0{k}", size, time) for k, (path, size, time) in rows)]
        )

        def pictures(start: int) -> Iterator[Path]:
            return (self.root / path for path in paths[start:])

        source = Source(names, labels, held_out, pictures, paths, 3, tuple(self.notes), self.passed.notes())
        return Found(str(self.place.resolve()), self.dataset.importer, mark, (self.place,), lambda: source, SIZE)

    def _with_training_images(self, test: Part, label: Mapping[str, int]) -> Part:
        untrained = sorted(set(test.classes) - label.keys())
        if not untrained:
            return test
        self.tolerate(f"{self.place}: held-out images of {some(untrained)}, which has no training images")
        pairs = [(entry, name) for entry, name in zip(test.entries, test.classes, strict=True) if name in label]
        return Part([entry for entry, _ in pairs], [name for _, name in pairs])


def open_copy(dataset: Dataset, place: Path, partial: bool, inner: Path | str = "") -> Copy:
    """The copy in `place`, or in its folder `inner` if there is one; `DataError` with instructions for no folder."""
    if not place.is_dir():
        problem = "is a file; unpack the archive and give its folder" if place.exists() else "does not exist"
        raise missing(dataset, f"{place} {problem}.")
    check_place(place)
    root = place / inner
    return Copy(dataset, place, root if root.is_dir() else place, partial)


def by_folder(entries: Iterable[Entry]) -> Part:
    """Class = the second folder of `train/n01440764/x.JPEG`. Files beside class folders are skipped."""
    part = Part()
    for entry in entries:
        _, name, *rest = entry[0].split("/")
        if rest:
            part.entries.append(entry)
            part.classes.append(name)
    return part


def by_truth(copy: Copy, entries: Iterable[Entry], truth: Mapping[str, str], file: Path) -> Part:
    """Class = the label of the image's name in `file`; images and file must name the same images."""
    part = Part()
    unlabelled: list[str] = []
    for entry in entries:
        name = truth.get(entry[0].rpartition("/")[2])
        if name is None:
            unlabelled.append(entry[0])
        else:
            part.entries.append(entry)
            part.classes.append(name)
    if unlabelled:
        copy.tolerate(f"{file} has no label for {some(unlabelled)}")
    if len(part.entries) < len(truth):
        names = {entry[0].rpartition("/")[2] for entry in part.entries}
        absent = [name for name in truth if name not in names]
        copy.tolerate(f"{file} names {some(absent)}, which {does_not(absent)} exist")
    return part


def read_truth(path: Path, classes: Sequence[str], need: int) -> dict[str, str]:
    """File name → class, from a file with an image and its class on each line.

    A class is given by name (`n01440764`), or by its position in `classes`, which must then hold `need` of them.
    Kaggle's CSV (`ImageId,PredictionString`) is read too. `DataError` names the line that is wrong.
    """
    text = read_text(path)
    table = path.suffix.lower() == ".csv"
    try:
        rows = list(csv.reader(io.StringIO(text))) if table else [line.split() for line in text.splitlines()]
    except csv.Error as error:
        raise DataError(f"{path}: {error}") from None
    truth: dict[str, str] = {}
    for number, fields in enumerate(rows, 1):
        if not any(fields) or (table and number == 1 and fields[0] == "ImageId"):
            continue
        name, label = (fields[0], fields[1].split(" ")[0]) if len(fields) > 1 else ("", "")
        name = name.replace("\\", "/").rpartition("/")[2] + (".JPEG" if table else "")
        if not name or not label:
            raise DataError(f"{path}, line {number}: {' '.join(fields)[:80]!r} is not an image and its class")
        if name in truth:
            raise DataError(f"{path}, line {number}: '{name}' occurs twice")
        truth[name] = _class(path, number, label, classes, need)
    if not truth:
        raise DataError(f"{path} is empty; each line must hold an image and its class")
    return truth


def _class(path: Path, number: int, label: str, classes: Sequence[str], need: int) -> str:
    if _WNID.fullmatch(label):
        return label
    if not (label.isascii() and label.isdigit() and len(label) < 9):
        raise DataError(f"{path}, line {number}: {label[:40]!r} is neither the name nor the number of a class")
    if len(classes) != need:
        hint = ", or write wnids instead of numbers" if all(map(_WNID.fullmatch, classes)) else ""
        raise DataError(
            f"{path} gives classes by number, which needs all {need:,}; the training images have {len(classes):,}. "
            f"Complete them{hint}"
        )
    if int(label) >= need:
        raise DataError(f"{path}, line {number}: class {label}, but classes are numbered from 0 to {need - 1:,}")
    return classes[int(label)]


def read_words(path: Path) -> dict[str, str]:
    """Wnid → the first of its words, from lines such as `n01440764 tench, Tinca tinca`."""
    words: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        wnid, _, text = line.strip().replace("\t", " ").partition(" ")
        first = text.split(",")[0].strip()
        if not _WNID.fullmatch(wnid) or not first or not first.isprintable():
            raise DataError(f"{path}, line {number}: {line[:80]!r} is not `wnid words`")
        words[wnid] = first
    return words


def _unique(names: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """Class names; those that occur twice (ImageNet has two `crane`) are followed by their ids."""
    times = Counter(names)
    return tuple(
        f"{name} ({id_})" if times[name] > 1 and name != id_ else name for name, id_ in zip(names, ids, strict=True)
    )


def _sorted(part: Part, label: Mapping[str, int]) -> list[tuple[int, Entry]]:
    return sorted((label[name], entry) for name, entry in zip(part.classes, part.entries, strict=True))
