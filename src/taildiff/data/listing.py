"""Which image files a folder holds, class by class; nothing is opened here."""

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
"""Suffixes of images that are not read; passing over them is worth a word."""
Entry = tuple[str, int, int]
"""Path, bytes, time (ns) of a file."""


@dataclass(frozen=True, eq=False)
class Listing:
    """All image files of a source, sorted by part (train first), class and file name."""

    source: str
    """Absolute, for the record."""
    name: str
    """For titles."""
    roots: tuple[Path, ...]
    """Of the training images, and of the held-out ones if there are any."""
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    """Relative to the source, with forward slashes."""
    labels: np.ndarray
    """int64 (n,)."""
    test: np.ndarray
    """bool (n,)."""
    status: tuple[tuple[int, int], ...]
    """Bytes and time (ns) of each."""
    passed_over: str
    """Images of other kinds, in words; empty if there are none."""

    def pictures(self, start: int) -> Iterator[Path]:
        """Paths from one position on."""
        for position in range(start, len(self.names)):
            name, root = self.names[position], self.roots[int(self.test[position])]
            yield root / (name.split("/", 1)[1] if len(self.roots) > 1 else name)

    def found(self) -> Found:
        """As an importer hands it over."""
        note = (f"passed over {self.passed_over}: only JPEG, PNG and WebP are read; convert them",)
        source = Source(
            self.class_names,
            self.labels,
            self.test,
            self.pictures,
            self.names,
            strict_notes=note if self.passed_over else (),
        )
        mark = fingerprint((name, *status) for name, status in zip(self.names, self.status, strict=True))
        return Found(self.source, self.name, mark, self.roots, lambda: source)


def scan(source: Path, test: Path | None = None) -> Listing:
    """List a folder of class folders, or one of `train/` and `test/`; `test` names held-out images elsewhere.

    Images at any depth belong to the class of the uppermost folder. Hidden files and folders, `__MACOSX` and files of
    other kinds are passed over. `DataError`: no folder, no images, fewer than two classes, an empty class, a test part
    with other classes, or a folder that links to one above it.
    """
    for place in filter(None, (source, test)):
        if not place.is_dir():
            problem = "is a file; give the folder of class folders" if place.exists() else "does not exist"
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
        passed_over=", ".join(f"{count:,} {suffix}" for suffix, count in sorted(others.items())),
    )


def _are_parts(source: Path) -> bool:
    """Whether `train` and `test` hold classes; they are classes themselves when they hold images, as before a split."""
    return all(_subfolders(source / part) and not _has_images(source / part) for part in ("train", "test"))


def _check_same(train: Path, names: tuple[str, ...], held_out: Path) -> None:
    other = _class_names(held_out)
    if other != names:
        lacking, extra = sorted(set(names) - set(other)), sorted(set(other) - set(names))
        detail = [f"{held_out} lacks {some(lacking)}"] * bool(lacking) + [f"{train} lacks {some(extra)}"] * bool(extra)
        raise DataError(f"the classes for training and testing must be the same: {'; '.join(detail)}")


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(path.name for path in _subfolders(root))
    for name in names:
        if not name.isprintable():
            raise DataError(f"folder {name!r} in {root}: its name becomes the class name; give it a printable one")
    if len(names) >= 2:
        return names
    if _has_images(root):
        raise DataError(f"{root} holds images directly; put them into one sub-folder a class")
    if not names:
        raise DataError(f"{root} holds no images: one sub-folder a class is needed, with JPEG, PNG or WebP files")
    below = f"; give {root / names[0]} itself?" if _subfolders(root / names[0]) else ""
    raise DataError(f"{root} has the single class '{names[0]}', but at least two are needed{below}")


def _part(root: Path, class_names: tuple[str, ...], others: Counter[str]) -> tuple[list[Entry], np.ndarray]:
    """Entries with names relative to `root`, and their labels; counts `others` by suffix."""
    rows: list[Entry] = []
    counts: list[int] = []
    for name in class_names:
        seen = 0
        found: list[Entry] = []
        for entry in walk(root / name, f"{name}/", ()):
            seen += 1
            if isinstance(entry, str):
                others.update([entry] if entry else [])
            else:
                found.append(entry)
        if not found:
            held = f"; it holds {seen} other files" if seen else ""
            raise DataError(f"class '{name}' has no JPEG, PNG or WebP images in {root / name}{held}; fill or remove it")
        rows += sorted(found)
        counts.append(len(found))
    return rows, np.repeat(np.arange(len(class_names)), counts)


def walk(folder: Path | str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[Entry | str]:
    """Images below a folder; for other files the suffix if it is an image's, else an empty one."""
    status = Path(folder).stat()
    if (here := (status.st_dev, status.st_ino)) in above:
        raise DataError(f"{folder} is a link to a folder above it; remove the link")
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name == "__MACOSX":
                continue
            if entry.is_dir():
                yield from walk(entry.path, f"{prefix}{name}/", (*above, here))
                continue
            if not name.lower().endswith(SUFFIXES) or not entry.is_file():
                suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 (a name, a hundred thousand times)
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
    """The first of some names."""
    shown = ", ".join(f"'{name}'" for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
