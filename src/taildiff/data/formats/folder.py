"""A folder of class folders, or of `train/` and `test/` that hold the same class folders."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np

from taildiff.data.formats.importer import Importer, Option
from taildiff.data.images import SUFFIXES
from taildiff.data.listing import Entry, counted, images_below, skipped_note, some
from taildiff.data.source import Found, Source, check_place, fingerprint
from taildiff.errors import DataError

_Test = Annotated[Path | None, Option("Held-out images in another folder with the same classes.", "PLACE")]


def find_folder(source: Path, test: _Test = None) -> Found:
    """Images in class folders, without opening them; `test` is a folder of held-out images elsewhere.

    Images at any depth belong to the class of the top-level folder. Hidden files and folders, `__MACOSX` and other
    files are skipped. `DataError`: no folder, no images, fewer than two classes, an empty class, a test split with
    other classes, or a folder that links to one above it.
    """
    roots = _roots(source, test)
    class_names = _class_names(roots[0])
    if len(roots) > 1:
        _check_same(roots[0], class_names, roots[1])
    others: Counter[str] = Counter()
    splits = [_split(root, class_names, others) for root in roots]
    prefixes = ("train/", "test/") if len(roots) > 1 else ("",)
    entries = [
        (prefix + name, size, time_ns)
        for prefix, (rows, _) in zip(prefixes, splits, strict=True)
        for name, size, time_ns in rows
    ]

    names = tuple(name for name, _, _ in entries)
    labels = np.concatenate([labels for _, labels in splits])
    held_out = np.repeat(np.arange(len(splits)) > 0, [len(rows) for rows, _ in splits])

    def pictures(start: int) -> Iterator[Path]:
        for name, split in zip(names[start:], held_out[start:], strict=True):
            yield roots[int(split)] / name[len(prefixes[int(split)]) :]

    images = Source(class_names, labels, held_out, pictures, names, strict_notes=skipped_note(others))
    place = str(source.resolve()) + (f" and {test.resolve()}" if test else "")
    return Found(place, source.resolve().name, fingerprint(entries), roots, lambda: images)


IMPORTERS = (Importer("folder", "folder", "your own images, one sub-folder per class", find_folder),)


def _roots(source: Path, test: Path | None) -> tuple[Path, ...]:
    """Folder of the training images and, if any, that of the held-out ones."""
    for place in filter(None, (source, test)):
        if place.exists() and not place.is_dir():
            raise DataError(f"{place} is a file; give the folder that contains the class folders")
        check_place(place)
    if test is not None:
        return source, test
    splits = (source / "train", source / "test")  # if they contain images directly, they are classes themselves
    split = all(folder.is_dir() and _subfolders(folder) and not _has_images(folder) for folder in splits)
    return splits if split else (source,)


def _check_same(train: Path, names: tuple[str, ...], held_out: Path) -> None:
    other = _class_names(held_out)
    gaps = [(held_out, sorted({*names} - {*other})), (train, sorted({*other} - {*names}))]
    if lacking := [f"{folder} lacks {some(classes)}" for folder, classes in gaps if classes]:
        raise DataError(f"training and test images must have the same classes: {'; '.join(lacking)}")


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(path.name for path in _subfolders(root))
    for name in names:
        if not name.isprintable():
            raise DataError(f"{root}: folder {name!r} is not a printable class name; rename it")
    if len(names) >= 2:
        return names
    if _has_images(root):
        raise DataError(f"{root} contains images directly; move them into one sub-folder per class")
    if not names:
        raise DataError(f"{root} contains no images; it needs one sub-folder of JPEG, PNG or WebP files per class")
    hint = f"; did you mean {root / names[0]}?" if _subfolders(root / names[0]) else ""
    raise DataError(f"{root} has only the class '{names[0]}', but at least two are needed{hint}")


def _split(root: Path, class_names: tuple[str, ...], others: Counter[str]) -> tuple[list[Entry], np.ndarray]:
    """Entries with names relative to `root`, and their labels; unsupported images are counted in `others`."""
    rows: list[Entry] = []
    counts: list[int] = []
    for name in class_names:
        unsupported: Counter[str] = Counter()
        entries = images_below(root / name, f"{name}/", unsupported)
        if not entries:
            only = f", only {counted(unsupported)}" if unsupported else ""
            raise DataError(
                f"class '{name}' has no JPEG, PNG or WebP images in {root / name}{only}; add some or remove it"
            )
        others += unsupported
        rows += sorted(entries)
        counts.append(len(entries))
    return rows, np.repeat(np.arange(len(class_names)), counts)


def _subfolders(root: Path) -> list[Path]:
    return sorted(
        path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".") and path.name != "__MACOSX"
    )


def _has_images(root: Path) -> bool:
    return any(
        not path.name.startswith(".") and path.name.lower().endswith(SUFFIXES) and path.is_file()
        for path in root.iterdir()
    )
