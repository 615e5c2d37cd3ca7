"""Which image files a folder holds, class by class; nothing is opened here."""

import os
from dataclasses import dataclass
from pathlib import Path

from taildiff.data.images import SUFFIXES
from taildiff.data.store import is_store, refuse_run
from taildiff.errors import DataError


@dataclass(frozen=True, slots=True)
class Item:
    """One image file."""

    path: Path
    name: str
    """Relative to the source, with forward slashes."""
    label: int
    test: bool
    bytes: int
    time_ns: int


@dataclass(frozen=True)
class Listing:
    """All image files of a source, sorted by part (train first), class and file name."""

    source: str
    """Absolute, for the record."""
    name: str
    """For titles."""
    roots: tuple[Path, ...]
    class_names: tuple[str, ...]
    items: tuple[Item, ...]


def scan(source: Path, test: Path | None = None) -> Listing:
    """List a folder of class folders, or one of `train/` and `test/`; `test` names held-out images elsewhere.

    Hidden files, `__MACOSX` and other kinds of files are passed over. `DataError`: no folder, no images, fewer than two
    classes, an empty class, or a test part with other classes.
    """
    for place in filter(None, (source, test)):
        if not place.is_dir():
            problem = "is a file; give the folder of class folders" if place.exists() else "does not exist"
            raise DataError(f"{place} {problem}")
        if is_store(place):
            raise DataError(
                f"{place} is a store already: taildiff train auto-ccua --data {place} --out RUN trains on it"
            )
        refuse_run(place)
    train, held_out = source, test
    parts = {path.name for path in _subfolders(source)}
    if test is None and {"train", "test"} <= parts and _subfolders(source / "train") and _subfolders(source / "test"):
        train, held_out = source / "train", source / "test"
    names = _class_names(train)
    items = _part(train, names, "train/" if held_out else "", False)
    if held_out:
        other = _class_names(held_out)
        if other != names:
            lacking, extra = sorted(set(names) - set(other)), sorted(set(other) - set(names))
            detail = [f"{held_out} lacks {_some(lacking)}"] * bool(lacking) + [f"{train} lacks {_some(extra)}"] * bool(
                extra
            )
            raise DataError(f"the classes for training and testing must be the same: {'; '.join(detail)}")
        items += _part(held_out, names, "test/", True)
    where = str(source.resolve()) + (f" and {test.resolve()}" if test else "")
    roots = (train, held_out) if held_out else (train,)
    return Listing(where, source.resolve().name, roots, names, tuple(items))


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(path.name for path in _subfolders(root))
    for name in names:
        if not name.isprintable():
            raise DataError(f"folder {name!r} in {root}: its name becomes the class name; give it a printable one")
    if len(names) >= 2:
        return names
    if _images(root):
        raise DataError(f"{root} holds images directly; put them into one sub-folder a class")
    if not names:
        raise DataError(f"{root} holds no images: one sub-folder a class is needed, with JPEG, PNG or WebP files")
    below = f"; give {root / names[0]} itself?" if _subfolders(root / names[0]) else ""
    raise DataError(f"{root} has the single class '{names[0]}', but at least two are needed{below}")


def _part(root: Path, class_names: tuple[str, ...], prefix: str, test: bool) -> list[Item]:
    items: list[Item] = []
    for label, name in enumerate(class_names):
        files = _images(root / name)
        if not files:
            others = sum(1 for path in (root / name).iterdir() if not path.name.startswith("."))
            seen = f"; it holds {others} other files or folders" if others else ""
            raise DataError(
                f"class '{name}' has no JPEG, PNG or WebP images directly in {root / name}{seen}; fill or remove it"
            )
        for entry in files:
            status = entry.stat()
            path = Path(entry.path)
            items.append(Item(path, f"{prefix}{name}/{entry.name}", label, test, status.st_size, status.st_mtime_ns))
    return items


def _subfolders(root: Path) -> list[Path]:
    return sorted(
        path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".") and path.name != "__MACOSX"
    )


def _images(root: Path) -> list[os.DirEntry[str]]:
    def is_image(entry: os.DirEntry[str]) -> bool:
        return not entry.name.startswith(".") and entry.name.lower().endswith(SUFFIXES) and entry.is_file()

    with os.scandir(root) as entries:
        return sorted(filter(is_image, entries), key=lambda entry: entry.name)


def _some(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
