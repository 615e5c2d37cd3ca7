"""List the image files below a folder, without opening them."""

import os
from collections import Counter
from pathlib import Path

from taildiff.data.images import SUFFIXES
from taildiff.errors import DataError

OTHER_IMAGES = (".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jfif", ".jp2", ".ppm", ".pgm", ".dcm")
"""Suffixes of image formats that are not supported; they are skipped with a note."""
Entry = tuple[str, int, int]
"""Path, bytes and time (ns) of a file."""


def images_below(
    folder: Path | str, prefix: str, others: Counter[str], above: tuple[tuple[int, int], ...] = ()
) -> list[Entry]:
    """All image files below a folder, unsorted; unsupported images are counted in `others`, by suffix.

    `above` identifies the folders on the way to this one, to detect a link that leads back.
    """
    status = Path(folder).stat()
    if (here := (status.st_dev, status.st_ino)) in above:
        raise DataError(f"{folder} is a link to a folder above it; remove the link")
    images: list[Entry] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name == "__MACOSX":
                continue
            if entry.is_dir():
                images += images_below(entry.path, f"{prefix}{name}/", others, (*above, here))
            elif name.lower().endswith(SUFFIXES) and entry.is_file():
                if "\n" in name or "\n" in prefix:
                    raise DataError(f"{entry.path!r} has a line break in its name; rename it")
                status = entry.stat()
                images.append((f"{prefix}{name}", status.st_size, status.st_mtime_ns))
            elif (suffix := os.path.splitext(name)[1].lower()) in OTHER_IMAGES:  # noqa: PTH122 (called a million times)
                others[suffix] += 1
    return images


def skipped_note(others: Counter[str]) -> tuple[str, ...]:
    """The note on unsupported images that were skipped, if there are any."""
    return (f"skipped {counted(others)}: only JPEG, PNG and WebP are supported; convert them",) if others else ()


def counted(others: Counter[str]) -> str:
    """Counts by suffix, such as `2 .gif, 1 .tif`."""
    return ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(others.items()))


def some(names: list[str]) -> str:
    """The first five names, and how many more there are."""
    shown = ", ".join(f"'{name}'" for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def does_not(names: list[str]) -> str:
    """The auxiliary verb for `some(names)`."""
    return "does not" if len(names) == 1 else "do not"
