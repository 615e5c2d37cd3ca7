"""List the image files below a folder: the one rule for importers, evaluation and `data show`.

A file is an image if its suffix says so or its first bytes do; nothing else of it is read. Hidden files and folders and
those that storage systems keep for themselves (`@eaDir`, `$RECYCLE.BIN`, `lost+found` …) are never looked at. Whatever
else looks like an image, and links that lead nowhere, are counted in `PassedOver`.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from taildiff.data.kinds import SUFFIXES, SUPPORTED, SUPPORTED_TEXT, file_kind
from taildiff.errors import DataError, first_few
from taildiff.io.paths import kind_of_mode

Entry = tuple[str, int, int]
"""Path, bytes and time (ns) of a file."""
_SYSTEM = {
    *("__macosx", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@synoresource", "#recycle", "#snapshot"),
    *("$recycle.bin", "recycler", "recycled", "system volume information", "lost+found", "__pycache__"),
}
"""Names, in lower case, that NAS devices and operating systems use for thumbnails, deleted files and the like."""


@dataclass(eq=False)
class PassedOver:
    """What a listing did not take."""

    kinds: Counter[str] = field(default_factory=Counter)
    """Files by kind, such as `GIF` or `.mp4`."""
    dangling: list[str] = field(default_factory=list)
    """Links that lead nowhere; in the place of a class folder they end in `/`."""
    loose: list[str] = field(default_factory=list)
    """Images beside the class folders, which belong to no class."""

    def notes(self) -> tuple[str, ...]:
        """A sentence for each group that is not empty; errors with `--strict`."""
        notes: list[str] = []
        if self.kinds:
            notes.append(f"skipped {self.counted()}: only {SUPPORTED_TEXT} are supported; convert or remove them")
        if self.dangling:
            one = len(self.dangling) == 1
            lead = "1 link that leads" if one else f"{len(self.dangling):,} links that lead"
            shown = some(sorted(self.dangling, key=_outer))
            classes = [name for name in self.dangling if name.endswith("/")]
            lost = f" ({some(classes)} may be a whole class each)" if classes else ""
            notes.append(f"skipped {lead} nowhere: {shown}{lost}; restore the files or remove the links")
        if self.loose:
            count = f"{len(self.loose):,} image{'s' * (len(self.loose) > 1)}"
            notes.append(f"skipped {count} outside any class folder: {some(self.loose)}; move or remove them")
        return tuple(notes)

    def counted(self) -> str:
        """Counts by kind, such as `2 GIF, 1 .mp4`; empty if there are none."""
        return ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.kinds.items()))

    def add(self, other: "PassedOver") -> None:
        """Take over the counts of another listing."""
        self.kinds.update(other.kinds)
        self.dangling += other.dangling
        self.loose += other.loose


def is_hidden(name: str) -> bool:
    """Whether files and folders of this name are never looked at."""
    return name.startswith(".") or name.lower() in _SYSTEM


def images_below(
    folder: Path | str, prefix: str, passed: PassedOver, above: tuple[tuple[int, int], ...] = ()
) -> list[Entry]:
    """All image files below a folder, unsorted, their names preceded by `prefix`.

    `above` identifies the folders on the way to this one, to detect a link that leads back.
    """
    status = Path(folder).stat()
    if (here := (status.st_dev, status.st_ino)) in above:
        raise DataError(f"{folder} is a link to a folder above it; remove the link")
    images: list[Entry] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if is_hidden(name):
                continue
            if _is_folder(entry):
                images += images_below(entry.path, f"{prefix}{name}/", passed, (*above, here))
            elif _is_image(entry, prefix, passed):
                if "\n" in name or "\n" in prefix:
                    raise DataError(f"{entry.path!r} has a line break in its name; rename it")
                status = entry.stat()
                images.append((f"{prefix}{name}", status.st_size, status.st_mtime_ns))
    return images


def subfolders(root: Path, passed: PassedOver | None = None) -> list[Path]:
    """The folders in a folder, sorted by name; `passed` takes the links that lead nowhere."""
    folders: list[Path] = []
    with os.scandir(root) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if _is_folder(entry):
                folders.append(root / entry.name)
            elif passed is not None and _is_dangling(entry):
                passed.dangling.append(entry.name)
    return sorted(folders)


def images_in(folder: Path, most: int | None = None) -> list[str]:
    """Names of the image files in a folder itself, unsorted, at most the first `most` found."""
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_hidden(entry.name) and not _is_folder(entry) and _is_image(entry, "", PassedOver()):
                names.append(entry.name)
                if len(names) == most:
                    break
    return names


def holds_images(folder: Path, above: tuple[Path, ...] = ()) -> bool:
    """Whether there is an image in a folder or anywhere below it; stops at the first."""
    if (here := folder.resolve()) in above:
        return False
    return bool(images_in(folder, 1)) or any(holds_images(below, (*above, here)) for below in subfolders(folder))


def _is_image(entry: os.DirEntry[str], prefix: str, passed: PassedOver) -> bool:
    """Whether a visible entry that is no folder is an image; else it is counted."""
    if _is_dangling(entry):
        passed.dangling.append(prefix + entry.name)
        return False
    if not entry.is_file():
        passed.kinds.update(filter(None, [kind_of_mode(entry.stat().st_mode)]))
        return False
    if entry.name.lower().endswith(SUFFIXES):
        return True
    kind = file_kind(entry.path, entry.name)
    if kind in SUPPORTED:
        return True
    if kind is not None:
        passed.kinds[kind] += 1
    return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return not _is_dangling(entry) and entry.is_dir()


def _is_dangling(entry: os.DirEntry[str]) -> bool:
    """Whether it is a link to nothing, or to itself."""
    return entry.is_symlink() and not Path(entry.path).exists()


def _outer(name: str) -> tuple[int, str]:
    """Sorts links that may stand for whole classes first."""
    return not name.endswith("/"), name


def some(names: list[str]) -> str:
    """The first five names, and how many more there are."""
    return first_few([f"'{name}'" for name in names], 5)


def does_not(names: list[str]) -> str:
    """The auxiliary verb for `some(names)`."""
    return "does not" if len(names) == 1 else "do not"
