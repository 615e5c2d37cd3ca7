"""Images of each class on disk: a folder per class with a grid beside them, or one npz."""

import re
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from taildiff.errors import InputError
from taildiff.io.staging import partial, sweep
from taildiff.log import log

GRID = "grid.png"
"""Lies beside the folders of the classes, so no class gets this name."""
FileFormat = Literal["png", "npz"]
_COLUMNS, _ROWS = 16, 40  # of the grid
_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices on Windows
_MOST_BYTES = 200  # file systems allow 255; a number may follow


def check_new(out: Path, format: FileFormat) -> None:
    """`InputError` when `out` exists; an empty folder is fine for PNG files."""
    if out.exists() and (format == "npz" or not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already; choose a new output folder or file")


def check_writable(out: Path) -> None:
    """`OSError` when `out` cannot be written, before any work."""
    with _beside(out):
        pass


def write_images(
    out: Path, images: np.ndarray, labels: np.ndarray, names: Sequence[str], format: FileFormat = "png"
) -> None:
    """Write OUT/<class>/<n>.png and OUT/grid.png, or one npz with images, labels and class_names; all or nothing.

    `images` (N, H, W, C) hold equally many per class, class after class.
    """
    with _beside(out) as temporary:
        if format == "npz":
            np.savez_compressed(temporary / "images.npz", images=images, labels=labels, class_names=np.array(names))
            (temporary / "images.npz").rename(out.resolve())
        else:
            _write_pngs(temporary, images, labels, names)
            temporary.rename(out.resolve())  # a link to an empty folder stays a link


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out`, removed afterwards unless it was renamed."""
    temporary = partial(out.resolve())
    try:
        sweep(out.resolve())
        temporary.mkdir(parents=True)
        yield temporary
    except OSError as error:
        error.filename = str(out)  # the path that the user gave
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_pngs(folder: Path, images: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    from taildiff.io.png import grid, png

    per_class = int((labels == labels[0]).sum())
    folders = folder_names(names)
    for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        if i % per_class == 0:
            (folder / folders[label]).mkdir()
            if folders[label] != names[label]:
                log.info(f"class {names[label]!r} is in the folder {folders[label]}")
        (folder / folders[label] / f"{i % per_class:05d}.png").write_bytes(png(image))
    by_class = images.reshape(-1, per_class, *images.shape[1:])
    shown = by_class[:_ROWS, :_COLUMNS]
    (folder / GRID).write_bytes(png(grid(shown.reshape(-1, *images.shape[1:]), columns=shown.shape[1])))
    if shown.shape != by_class.shape:
        log.info(f"{GRID} shows {shown.shape[1]} images of {len(shown)} classes; the folders hold all of them")


def folder_names(classes: Sequence[str]) -> tuple[str, ...]:
    """A distinct name per class that is a single path component on every system; most classes keep their own.

    Names that differ only in case count as equal, as some file systems treat them. A changed name gets a number where
    it would collide: ("a/b", "a_b") gives ("a_b-2", "a_b").
    """
    taken = {_key(GRID)}
    chosen: dict[int, str] = {}
    safe = [_safe(name) for name in classes]
    for label in sorted(range(len(classes)), key=lambda label: safe[label] != classes[label]):
        name, number = safe[label], 2
        while _key(name) in taken:
            name, number = f"{safe[label]}-{number}", number + 1
        taken.add(_key(name))
        chosen[label] = name
    return tuple(chosen[label] for label in range(len(classes)))


def _safe(name: str) -> str:
    """A path component that is not hidden, not `..`, not a device and not too long."""
    text = _FORBIDDEN.sub("_", name).rstrip(". ")
    text = re.sub(r"^[. ]+", lambda lead: "_" * len(lead[0]), text)
    text = text.encode("utf-8", "replace")[:_MOST_BYTES].decode("utf-8", "ignore")
    if not text:
        return "class"
    return f"{text}_" if _RESERVED.fullmatch(text) else text


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
