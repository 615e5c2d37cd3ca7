"""List the image files of a folder, class by class, without opening them."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taildiff.data.images import SUFFIXES
from taildiff.data.source import Found, Source, check_place, fingerprint
from taildiff.errors import DataError

OTHER_IMAGES = (".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jfif", ".jp2", ".ppm", ".pgm", ".dcm")
"""Suffixes of image formats that are not supported; they are skipped with a note."""
Entry = tuple[str, int, int]
"""Path, bytes and time (ns) of a file."""


@dataclass(frozen=True, eq=False)
class Listing:
    """All image files of a source, sorted by split (train first), class and file name."""

    source: str
    """Absolute path, kept in the store."""
    name: str
    """Title of the dataset."""
    roots: tuple[Path, ...]
    """Folder of the training images and, if any, that of the held-out ones."""
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    """Relative to the source, with forward slashes."""
    labels: np.ndarray
    """int64 (n,)."""
    test: np.ndarray
    """bool (n,)."""
    status: tuple[tuple[int, int], ...]
    """Bytes and time (ns) of each."""
    others: Counter[str]
    """Unsupported images, by suffix."""

    def pictures(self, start: int) -> Iterator[Path]:
        """Paths from this position on."""
        for position in range(start, len(self.names)):
            name, root = self.names[position], self.roots[int(self.test[position])]
            yield root / (name.split("/", 1)[1] if len(self.roots) > 1 else name)

    def found(self) -> Found:
        """The listing as the result of an importer."""
        source = Source(
            self.class_names,
            self.labels,
            self.test,
            self.pictures,
            self.names,
            strict_notes=skipped_note(self.others),
        )
        mark = fingerprint((name, *status) for name, status in zip(self.names, self.status, strict=True))
        return Found(self.source, self.name, mark, self.roots, lambda: source)


def scan(source: Path, test: Path | None = None) -> Listing:
    """List a folder of class folders, or of `train/` and `test/`; `test` is a folder of held-out images elsewhere.

    Images at any depth belong to the class of the top-level folder. Hidden files and folders, `__MACOSX` and other
    files are skipped. `DataError`: no folder, no images, fewer than two classes, an empty class, a test split with
    other classes, or a folder that links to one above it.
    """
    for place in filter(None, (source, test)):
        if not place.is_dir():
            problem = (
                "is a file; give the folder that contains the class folders" if place.exists() else "does not exist"
            )
            raise DataError(f"{place} {problem}")
        check_place(place)
    train, held_out = source, test
    parts = {path.name for path in _subfolders(source)}
    if test is None and {"train", "test"} <= parts and _are_parts(source):
        train, held_out = source / "train", source / "test"
    class_names = _class_names(train)
    if held_out:
        _check_same(train, class_names, held_out)
    where = str(source.resolve()) + (f" and {test.resolve()}" if test else "")
    roots = (train, held_out) if held_out else (train,)
    others: Counter[str] = Counter()
    columns = [_part(root, class_names, others) for root in roots]
    prefixes = ("train/", "test/") if held_out else ("",)
    sizes = [len(labels) for _, labels in columns]
    return Listing(
        source=where,
        name=source.resolve().name,
        roots=roots,
        class_names=class_names,
        names=tuple(f"{lead}{name}" for lead, (rows, _) in zip(prefixes, columns, strict=True) for name, _, _ in rows),
        labels=np.concatenate([labels for _, labels in columns]),
        test=np.repeat(np.arange(len(sizes)) > 0, sizes),
        status=tuple((size, time_ns) for rows, _ in columns for _, size, time_ns in rows),
        others=others,
    )


def _are_parts(source: Path) -> bool:
    """Whether `train` and `test` hold class folders; if they hold images, they are classes themselves."""
    return all(_subfolders(source / part) and not _has_images(source / part) for part in ("train", "test"))


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


def _part(root: Path, class_names: tuple[str, ...], others: Counter[str]) -> tuple[list[Entry], np.ndarray]:
    """Entries with names relative to `root`, and their labels; unsupported images are counted in `others`."""
    rows: list[Entry] = []
    counts: list[int] = []
    for name in class_names:
        unsupported: Counter[str] = Counter()
        entries = images_below(root / name, f"{name}/", unsupported)
        if not entries:
            only = f", only {_counted(unsupported)}" if unsupported else ""
            raise DataError(
                f"class '{name}' has no JPEG, PNG or WebP images in {root / name}{only}; add some or remove it"
            )
        others += unsupported
        rows += sorted(entries)
        counts.append(len(entries))
    return rows, np.repeat(np.arange(len(class_names)), counts)


def images_below(folder: Path, prefix: str, others: Counter[str]) -> list[Entry]:
    """All image files below a folder, unsorted; unsupported images are counted in `others`, by suffix."""
    entries: list[Entry] = []
    for entry in _walk(folder, prefix, ()):
        if isinstance(entry, tuple):
            entries.append(entry)
        elif entry:
            others[entry] += 1
    return entries


def skipped_note(others: Counter[str]) -> tuple[str, ...]:
    """The note on unsupported images that were skipped, if there are any."""
    return (f"skipped {_counted(others)}: only JPEG, PNG and WebP are supported; convert them",) if others else ()


def _counted(others: Counter[str]) -> str:
    return ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(others.items()))


def _walk(folder: Path | str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[Entry | str]:
    """Image files; for an unsupported image its suffix, for any other file an empty string."""
    status = Path(folder).stat()
    if (here := (status.st_dev, status.st_ino)) in above:
        raise DataError(f"{folder} is a link to a folder above it; remove the link")
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name == "__MACOSX":
                continue
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{name}/", (*above, here))
                continue
            if not name.lower().endswith(SUFFIXES) or not entry.is_file():
                suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 (called for each of a million files)
                yield suffix if suffix in OTHER_IMAGES else ""
                continue
            if "\n" in name or "\n" in prefix:
                raise DataError(f"{entry.path!r} has a line break in its name; rename it")
            status = entry.stat()
            yield f"{prefix}{name}", status.st_size, status.st_mtime_ns


def _subfolders(root: Path) -> list[Path]:
    return sorted(
        path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".") and path.name != "__MACOSX"
    )


def _has_images(root: Path) -> bool:
    return any(
        not path.name.startswith(".") and path.name.lower().endswith(SUFFIXES) and path.is_file()
        for path in root.iterdir()
    )


def some(names: list[str]) -> str:
    """The first five names, and how many more there are."""
    shown = ", ".join(f"'{name}'" for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def does_not(names: list[str]) -> str:
    """The auxiliary verb for `some(names)`."""
    return "does not" if len(names) == 1 else "do not"
