"""Replace a folder by a finished one, and clean up after a process that was killed while it did so.

The process that writes NAME holds `.NAME.lock` beside it. It works in `.NAME.partial`, which a later process may
continue, and renames the old folder to `.NAME.replaced` while folders are swapped. The system releases the lock of a
process that ends, so for the next holder these folders are left over.
"""

import os
import re
import shutil
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Literal

from taildiff.errors import DataError
from taildiff.io.atomic import fsync_dir
from taildiff.io.lock import BusyError, locked, waiting

_SWAP_SECONDS = 5.0
"""How long a swap by another process may take, which is two renames."""


def partial(target: Path) -> Path:
    """Where the process that holds the lock prepares `target`, and a later one continues; not made here."""
    return _beside(target, "partial")


def lock_of(target: Path) -> Path:
    """The lock file that the process working on `target` holds."""
    return _beside(target, "lock")


def _beside(target: Path, kind: Literal["partial", "lock", "replaced"]) -> Path:
    return target.absolute().with_name(f".{target.absolute().name}.{kind}")


def one_writer(target: Path) -> AbstractContextManager[None]:
    """Hold the lock of `target`, after waiting for a process that writes it."""
    return waiting(lock_of(target), f"is writing {target}")


def keep_apart(out: Path, places: Iterable[Path]) -> None:
    """`DataError` where the output and one of its sources would contain each other."""
    for place in places:
        inside, target = place.resolve(), out.resolve()
        if inside == target or inside in target.parents or target in inside.parents:
            raise DataError(f"{out} and {place} must not contain each other; choose another --out")


def check_space(out: Path, name: str, needed: int) -> None:
    """`DataError` where file `name` of `out` will not fit, minus the part that an interrupted process wrote."""
    place = next(parent for parent in out.absolute().parents if parent.exists())
    with suppress(OSError):
        needed -= (partial(out) / name).stat().st_size
    with suppress(OSError):
        free = shutil.disk_usage(place).free
        if needed > free:
            raise DataError(f"{out} needs {needed / 1e9:.1f} GB, but {place} has {free / 1e9:.1f} GB left")


def replace(new: Path, target: Path) -> None:
    """Put folder `new` at `target`, whose lock is held; the old one is renamed first: no rename replaces a folder."""
    old = _beside(target, "replaced")
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        with suppress(OSError):
            old.rename(target)
        raise
    fsync_dir(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def put_back(target: Path) -> None:
    """Undo a replacement that was killed between its two renames, or wait for the second one; for readers."""
    until = time.monotonic() + _SWAP_SECONDS
    while not os.path.lexists(target) and _left_over(target, "replaced") and time.monotonic() < until:
        try:
            with locked(lock_of(target), BusyError):
                _undo_swap(target)
            return
        except BusyError:
            time.sleep(0.01)
        except OSError:  # a folder that we cannot write
            return


def _undo_swap(target: Path) -> None:
    if not target.exists():
        for old in _left_over(target, "replaced")[:1]:
            old.rename(target)


def sweep(target: Path) -> None:
    """Put back or remove what killed processes left beside `target`, whose lock is held; `partial` stays."""
    _undo_swap(target)
    for path in [*_left_over(target, "replaced"), *_left_over(target, "partial")]:
        if path != partial(target):
            shutil.rmtree(path, ignore_errors=True)


def clear(target: Path) -> None:
    """Remove everything that a killed process left beside a finished target, unless some process writes it now."""
    if lock_of(target).exists() or partial(target).exists():
        with suppress(OSError, BusyError), locked(lock_of(target), BusyError):
            sweep(target)
            shutil.rmtree(partial(target), ignore_errors=True)


def _left_over(target: Path, kind: Literal["replaced", "partial"]) -> list[Path]:
    """Folders beside `target`, newest first; in version 0.1 their names held the number of their process."""
    target, before = target.absolute(), "old" if kind == "replaced" else kind
    pattern = re.compile(rf"\.{re.escape(target.name)}\.({kind}|\d+\.{before})")
    try:
        found = [path for path in target.parent.iterdir() if pattern.fullmatch(path.name)]
        return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    except OSError:  # no such folder, or another process was faster
        return []
