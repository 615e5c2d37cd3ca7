"""A folder of class folders, or of parts (`train/`, `val/`, `test/` …) that hold the same class folders."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np

from taildiff.data.class_names import canonical, in_order
from taildiff.data.formats.folder_parts import Parts, parts_of
from taildiff.data.formats.importer import Importer, Option
from taildiff.data.kinds import SUPPORTED_TEXT
from taildiff.data.listing import Entry, PassedOver, images_below, images_in, some, subfolders
from taildiff.data.source import Found, Source, check_place, fingerprint
from taildiff.errors import DataError

_Test = Annotated[Path | None, Option("Held-out images in another folder with the same classes.", "PLACE")]
_Train = Annotated[
    str | None, Option("Sub-folders to train on, where parts have other names. [default: train]", "NAME,…")
]
_HeldOut = Annotated[str | None, Option("Sub-folders to hold out. [default: val and test]", "NAME,…")]
_NoParts = Annotated[bool, Option("Take every sub-folder for a class, even if it looks like a part.")]


def find_folder(
    source: Path, test: _Test = None, train: _Train = None, held_out: _HeldOut = None, no_parts: _NoParts = False
) -> Found:
    """Images in class folders, without opening them; `test` is a folder of held-out images elsewhere.

    Images at any depth belong to the class of the top-level folder. Files that are no images are counted or ignored as
    `data.listing` says. `DataError`: no folder, no images, fewer than two classes, an empty class, held-out images of
    other classes, sub-folders that may be parts or classes, or a folder that links to one above it.
    """
    for place in filter(None, (source, test)):
        if place.exists() and not place.is_dir():
            raise DataError(f"{place} is a file; give the folder that contains the class folders")
        check_place(place)
    if test is not None:
        parts_of(source, None, None, no_parts, elsewhere=test)
        parts = Parts({"train/": source}, {"test/": test})
    else:
        parts = parts_of(source, train, held_out, no_parts)
    return _found(source, parts, test)


def evaluated_folder(source: Path, fewest: int = 1) -> Found:
    """Images in class folders that are evaluated, `fewest` classes or more; otherwise as `find_folder`."""
    if source.exists() and not source.is_dir():
        raise DataError(f"{source} is neither a folder of class folders nor an .npz file")
    check_place(source)
    return _found(source, parts_of(source, None, None, no_parts=False), fewest=fewest)


def _found(source: Path, parts: Parts, test: Path | None = None, fewest: int = 2) -> Found:
    listing = _Listing(parts, fewest)
    order, labels = listing.order()
    names = tuple(listing.entries[k][0] for k in order)
    files = [listing.root[k] for k in order]

    def pictures(start: int) -> Iterator[Path]:
        for name, (prefix, root) in zip(names[start:], files[start:], strict=True):
            yield root / name[len(prefix) :]

    notes, passed = tuple(listing.notes), listing.passed.notes()
    images = Source(
        *(listing.class_names, labels, listing.held_out[order], pictures, names),
        notes=notes,
        strict_notes=passed,
        fewest_classes=fewest,
    )
    place = str(source.resolve()) + (f" and {test.resolve()}" if test else "")
    mark = fingerprint(listing.entries)
    return Found(place, source.resolve().name, mark, parts.roots, lambda: images, options=parts.options)


IMPORTERS = (Importer("folder", "folder", "your own images, one sub-folder per class", find_folder),)


@dataclass(eq=False)
class _Listing:
    """All images of the parts, in the order of their folders' names."""

    parts: Parts
    fewest: int
    """Fewer classes are an error."""
    entries: list[Entry] = field(default_factory=list)
    """Names start with the part's prefix."""
    root: list[tuple[str, Path]] = field(default_factory=list)
    """Prefix and folder of each entry's part."""
    classes: list[str] = field(default_factory=list)
    """Class of each entry."""
    passed: PassedOver = field(default_factory=PassedOver)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.passed.add(self.parts.beside)
        folders = {prefix: self._class_folders(prefix, root) for prefix, root in self.parts.all.items()}
        train, test = (
            {canonical(path.name) for prefix in side for path in folders[prefix]}
            for side in (self.parts.train, self.parts.held_out)
        )
        self.class_names = in_order(train)
        _check_same(self.parts, train, test)
        for prefix, root in self.parts.all.items():
            for path in folders[prefix]:
                self._add(prefix, root, path)
        self.held_out = np.array([prefix in self.parts.held_out for prefix, _ in self.root], np.bool_)

    def order(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the entries in the order of the store (training first, by class), and their labels int64."""
        label = {name: k for k, name in enumerate(self.class_names)}
        labels = np.array([label[name] for name in self.classes], np.int64)
        order = np.lexsort((labels, self.held_out))
        return order, labels[order]

    def _class_folders(self, prefix: str, root: Path) -> list[Path]:
        links = PassedOver()
        folders = _class_folders(root, links, self.fewest)
        shown = prefix if self.parts.many else ""
        self.passed.dangling += [f"{shown}{name}/" for name in links.dangling]
        self.passed.loose += [shown + name for name in sorted(images_in(root))]
        seen: dict[str, str] = {}
        for path in folders:
            other = seen.setdefault(canonical(path.name), path.name)
            if other != path.name:
                self.notes.append(
                    f"{root} has the folder '{path.name}' twice, in two Unicode forms; they were taken for one class"
                )
        return folders

    def _add(self, prefix: str, root: Path, folder: Path) -> None:
        passed = PassedOver()
        shown = prefix if self.parts.many else ""
        entries = images_below(folder, f"{shown}{folder.name}/", passed)
        if not entries:
            reasons = "; ".join(passed.notes())
            raise DataError(
                f"class '{folder.name}' has no {SUPPORTED_TEXT.replace(' and ', ' or ')} images in {folder}"
                f"{f' ({reasons})' if reasons else ''}; add some or remove it"
            )
        self.passed.add(passed)
        self.entries += sorted(entries)
        self.root += [(shown, root)] * len(entries)
        self.classes += [canonical(folder.name)] * len(entries)


def _class_folders(root: Path, passed: PassedOver, fewest: int) -> list[Path]:
    folders = subfolders(root, passed)
    for path in folders:
        if not path.name.isprintable():
            raise DataError(f"{root}: folder {path.name!r} is not a printable class name; rename it")
    if len({canonical(path.name) for path in folders}) >= fewest:
        return folders
    if images_in(root, 1):
        raise DataError(f"{root} contains images directly; move them into one sub-folder per class")
    lost = f" ({'; '.join(passed.notes())})" if passed.notes() else ""
    if not folders:
        kinds = SUPPORTED_TEXT.replace(" and ", " or ")
        raise DataError(f"{root} contains no images; it needs one sub-folder of {kinds} files per class{lost}")
    hint = f"; did you mean {folders[0]}?" if subfolders(folders[0]) else ""
    raise DataError(f"{root} has only the class '{folders[0].name}', but at least two are needed{lost}{hint}")


def _check_same(parts: Parts, train: set[str], test: set[str]) -> None:
    if not parts.held_out:
        return
    gaps = [(parts.held_out, sorted(train - test)), (parts.train, sorted(test - train))]
    if lacking := [
        f"{' and '.join(map(str, side.values()))} lack{'s' * (len(side) == 1)} {some(names)}"
        for side, names in gaps
        if names
    ]:
        raise DataError(f"training and test images must have the same classes: {'; '.join(lacking)}{parts.hint}")
