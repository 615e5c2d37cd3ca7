"""Images of each class on disk: OUT with a folder per class and nothing else, or one npz.

So `datasets`, torchvision and the like read OUT with its labels. A grid and notes are in OUT-info beside it.
"""

import os
import re
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

import numpy as np

from taildiff.errors import InputError
from taildiff.io.atomic import write_atomic
from taildiff.io.lock import check_free, locked
from taildiff.io.staging import clear, lock_of, partial, sweep
from taildiff.log import log

GRID, NOTES = "grid.png", "notes.txt"
"""The files in OUT-info; notes only if there are any."""
FileFormat = Literal["png", "npz"]
_COLUMNS, _ROWS = 16, 40  # of the grid
_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices on Windows
_MOST_BYTES = 200  # file systems allow 255; a number may follow


def check_new(out: Path, format: FileFormat) -> None:
    """`InputError` when `out` exists; an empty folder is fine for PNG files, and so is their OUT-info of before."""
    if out.exists() and (format == "npz" or not out.is_dir() or any(out.iterdir())):
        clear(out)
        raise InputError(f"{out} exists already; choose a new output folder or file")
    if format == "png" and (info := info_of(out)).exists() and not info.is_dir():
        raise InputError(f"{info} is a file, but the grid of {out} goes into a folder of that name; choose another out")


def info_of(out: Path) -> Path:
    """OUT-info, the folder of the grid and notes on the images in OUT."""
    place = Path(os.path.abspath(out))  # noqa: PTH100 (keeps links, removes ..)
    return place.with_name(f"{place.name}-info")


@contextmanager
def claimed(out: Path, format: FileFormat) -> Iterator[None]:
    """Hold the lock of `out` while images are sampled into it.

    `InputError` where it exists or another process samples into it, `OSError` where it cannot be written.
    """
    with ExitStack() as stack:
        with _named(out):
            stack.enter_context(locked(lock_of(out), lambda holder: _busy(out, holder)))
            sweep(out)
        check_new(out, format)  # what it wrote meanwhile stays
        yield


def check_unclaimed(out: Path) -> None:
    """`InputError` where another process samples into `out`."""
    check_free(lock_of(out), lambda holder: _busy(out, holder))


def _busy(out: Path, holder: str) -> InputError:
    return InputError(f"{out} is being written by {holder}; wait until it ends, or choose another --out")


@contextmanager
def _named(out: Path) -> Iterator[None]:
    """Errors of the system with the path that the user gave."""
    try:
        yield
    except OSError as error:
        error.filename = str(out)
        raise


def write_images(
    out: Path, images: np.ndarray, labels: np.ndarray, names: Sequence[str], format: FileFormat = "png"
) -> None:
    """Write OUT/<class>/<n>.png, or one npz with images, labels and class_names; all or nothing, in `claimed`.

    `images` (N, H, W, C) hold equally many per class, class after class. With PNG files, OUT-info gets a grid.
    """
    with _beside(out) as temporary:
        if format == "npz":
            np.savez_compressed(temporary / "images.npz", images=images, labels=labels, class_names=np.array(names))
            check_new(out, format)
            (temporary / "images.npz").rename(out.resolve())
        else:
            _write_pngs(temporary, images, labels, names)
            _write_info(info_of(out), images, labels, names)
            check_new(out, format)
            temporary.rename(out.resolve())  # a link to an empty folder stays a link


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder among the temporary ones beside `out`, removed afterwards unless it was renamed."""
    place = partial(out.resolve())
    temporary = place / "finished"
    try:
        with _named(out):
            temporary.mkdir(parents=True)
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # sampled images are in it
            place.rmdir()


def _write_pngs(folder: Path, images: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    from taildiff.io.png import png

    per_class = int((labels == labels[0]).sum())
    folders = folder_names(names)
    for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        if i % per_class == 0:
            (folder / folders[label]).mkdir()
        (folder / folders[label] / f"{i % per_class:05d}.png").write_bytes(png(image))


def _write_info(info: Path, images: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    from taildiff.io.png import grid, png

    by_class = images.reshape(-1, int((labels == labels[0]).sum()), *images.shape[1:])
    shown = by_class[:_ROWS, :_COLUMNS]
    info.mkdir(parents=True, exist_ok=True)
    write_atomic(info / GRID, png(grid(shown.reshape(-1, *images.shape[1:]), columns=shown.shape[1])))
    places = folder_names(names)
    sampled = list(dict.fromkeys(labels.tolist()))
    notes = [f"class {names[k]!r} is in the folder {places[k]}" for k in sampled if places[k] != names[k]]
    if shown.shape != by_class.shape:
        notes.append(f"{GRID} shows {shown.shape[1]} images of {len(shown)} classes; the folders hold all of them")
    (info / NOTES).unlink(missing_ok=True)
    if notes:
        write_atomic(info / NOTES, ("\n".join(notes) + "\n").encode("utf-8", "replace"))
    for note in notes:
        log.info(note)


def folder_names(classes: Sequence[str]) -> tuple[str, ...]:
    """A distinct name per class that is a single path component on every system; most classes keep their own.

    Names that differ only in case count as equal, as some file systems treat them. A changed name gets a number where
    it would collide: ("a/b", "a_b") gives ("a_b-2", "a_b").
    """
    taken: set[str] = set()
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
