"""What the importers of published datasets share: from files and their classes to a checked `Found`.

Names of images are paths as in the published tree, so that published list files name them (`longtail.listed`).
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
from taildiff.data.listing import Entry, some, walk
from taildiff.data.source import Found, Source, check_place, fingerprint, read_text
from taildiff.errors import DataError

SIZE = 64
"""Pixels a side unless the user says otherwise: that of Tiny ImageNet, and of the small settings of the others."""
_WNID = re.compile(r"n\d{8}")


@dataclass(eq=False)
class Part:
    """Training or held-out images."""

    entries: list[Entry] = field(default_factory=list)
    """Paths are relative to the source's root."""
    classes: list[str] = field(default_factory=list)
    """Of each, by the name that cannot be mistaken: a wnid, a folder, an id."""


@dataclass(eq=False)
class Copy:
    """A copy of a published dataset on this machine, as far as it was looked at."""

    dataset: Dataset
    place: Path
    """What the user named."""
    root: Path
    """What the paths of images begin at."""
    partial: bool = False
    """Take what is there."""
    notes: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    """Images of kinds that are not read, by suffix."""

    def walk(self, folder: str) -> list[Entry]:
        """All image files below a folder of the root; none where it is missing."""
        found: list[Entry] = []
        if (self.root / folder).is_dir():
            for entry in walk(self.root / folder, f"{folder}/", ()):
                if isinstance(entry, str):
                    self.others.update([entry] if entry else [])
                else:
                    found.append(entry)
        return found

    def forgive(self, problem: str, remedy: str = "") -> None:
        """A note with `--partial`, else a `DataError`."""
        if not self.partial:
            raise DataError(f"{problem}. {remedy or 'Complete it'}, or take what is there: --partial")
        self.notes.append(f"{problem}: left out")

    def unlabelled(self, problem: str) -> Part:
        """No held-out images, with a note and `--partial`; else a `DataError` with instructions."""
        if not self.partial:
            raise missing(self.dataset, f"{problem} (--partial leaves them out.)")
        self.notes.append(f"{problem} They were left out.")
        return Part()

    def found(
        self,
        train: Part,
        test: Part,
        readable: Mapping[str, str],
        key: Callable[[str], str | int] = str,
    ) -> Found:
        """As an importer hands it over. Classes are in the order of `key`; those that `readable` knows take its name.

        `DataError`: a held-out image of a class without training images, or other numbers than published, unless
        `partial` turns these into notes.
        """
        ids = sorted(set(train.classes), key=key)
        label = {name: k for k, name in enumerate(ids)}
        test = self._known(test, label)
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
        passed = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(self.others.items()))
        other_kinds = (f"passed over {passed}: only JPEG, PNG and WebP are read; convert them",) if passed else ()

        def pictures(start: int) -> Iterator[Path]:
            return (self.root / path for path in paths[start:])

        source = Source(names, labels, held_out, pictures, paths, 3, tuple(self.notes), other_kinds)
        return Found(str(self.place.resolve()), self.dataset.importer, mark, (self.place,), lambda: source, SIZE)

    def _known(self, test: Part, label: Mapping[str, int]) -> Part:
        strange = sorted(set(test.classes) - label.keys())
        if not strange:
            return test
        self.forgive(f"{self.place}: held-out images of {some(strange)}, which has none for training")
        pairs = [(entry, name) for entry, name in zip(test.entries, test.classes, strict=True) if name in label]
        return Part([entry for entry, _ in pairs], [name for _, name in pairs])


def check_there(dataset: Dataset, place: Path) -> None:
    """`DataError` with instructions unless `place` is a folder that may hold a dataset."""
    if not place.is_dir():
        problem = "is a file: unpack the archive and give its folder" if place.exists() else "does not exist"
        raise missing(dataset, f"{place} {problem}.")
    check_place(place)


def check_images(dataset: Dataset, root: Path, folder: str, part: Part) -> None:
    """`DataError` with instructions unless there are images of classes."""
    if part.entries:
        return
    packed = next(((root / folder).glob("*.tar")), None) if (root / folder).is_dir() else None
    if packed is not None:
        raise missing(dataset, f"{root / folder} holds .tar files ({packed.name} …): unpack each into its own folder.")
    problem = "holds no images in class folders" if (root / folder).is_dir() else "does not exist"
    raise missing(dataset, f"{root / folder} {problem}.")


def by_folder(entries: Iterable[Entry]) -> Part:
    """Class = the folder below the part's: `train/n01440764/x.JPEG`. Files beside the folders are left out."""
    part = Part()
    for entry in entries:
        _, name, *rest = entry[0].split("/")
        if rest:
            part.entries.append(entry)
            part.classes.append(name)
    return part


def by_truth(copy: Copy, entries: Iterable[Entry], truth: Mapping[str, str], file: Path) -> Part:
    """Class = what the file with the labels says of the image's name; both must name the same images."""
    part = Part()
    unnamed: list[str] = []
    for entry in entries:
        name = truth.get(entry[0].rpartition("/")[2])
        if name is None:
            unnamed.append(entry[0])
        else:
            part.entries.append(entry)
            part.classes.append(name)
    if unnamed:
        copy.forgive(f"{file} has no label for {some(unnamed)}")
    if len(part.entries) < len(truth):
        there = {entry[0].rpartition("/")[2] for entry in part.entries}
        gone = [name for name in truth if name not in there]
        copy.forgive(f"{file} names {some(gone)}, which {'is' if len(gone) == 1 else 'are'} not there")
    return part


def read_truth(path: Path, classes: Sequence[str], need: int) -> dict[str, str]:
    """File name → class of a file with an image a line and its class behind it.

    The class is its name (`n01440764`), or its position in `classes`, of which there must be `need` then. Kaggle's CSV
    (`ImageId,PredictionString`) is known too. `DataError` names a line that cannot be right.
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
            raise DataError(f"{path}, line {number}: '{name}' is there twice")
        truth[name] = _class(path, number, label, classes, need)
    if not truth:
        raise DataError(f"{path} is empty; an image and its class a line are needed")
    return truth


def _class(path: Path, number: int, label: str, classes: Sequence[str], need: int) -> str:
    if _WNID.fullmatch(label):
        return label
    if not (label.isascii() and label.isdigit() and len(label) < 9):
        raise DataError(f"{path}, line {number}: {label[:40]!r} is neither a class's name nor its number")
    if len(classes) != need:
        named = ", or put wnids in the place of the numbers" if all(map(_WNID.fullmatch, classes)) else ""
        raise DataError(
            f"{path} numbers the classes, which needs all {need:,}: there are {len(classes):,} in the training images. "
            f"Complete them{named}"
        )
    if int(label) >= need:
        raise DataError(f"{path}, line {number}: class {label}, but classes are numbered from 0 to {need - 1:,}")
    return classes[int(label)]


def read_words(path: Path) -> dict[str, str]:
    """`n01440764 tench, Tinca tinca` a line: wnid → the first of its words."""
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
    """Two classes of one name (there are two `crane` in ImageNet) take their ids behind it."""
    times = Counter(names)
    return tuple(
        f"{name} ({own})" if times[name] > 1 and name != own else name for name, own in zip(names, ids, strict=True)
    )


def _sorted(part: Part, label: Mapping[str, int]) -> list[tuple[int, Entry]]:
    return sorted((label[name], entry) for name, entry in zip(part.classes, part.entries, strict=True))
