"""Replace a folder by a finished one, and clean up after a process that was killed while it did so.

A process works in `.NAME.PID.partial` beside the target, or, holding `.NAME.lock`, in `.NAME.partial`, which a later
process may continue; while folders are swapped, the old one is `.NAME.PID.old`.
"""

import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from taildiff.errors import DataError
from taildiff.io.atomic import fsync_dir


def partial(target: Path) -> Path:
    """Where this process prepares `target` without a lock; not made here."""
    return target.absolute().with_name(f".{target.absolute().name}.{os.getpid()}.partial")


def lasting_partial(target: Path) -> Path:
    """Where the process that holds the lock prepares `target`, and a later one continues; not made here."""
    return target.absolute().with_name(f".{target.absolute().name}.partial")


def lock_of(target: Path) -> Path:
    """The lock file that the process working on `target` holds."""
    return target.absolute().with_name(f".{target.absolute().name}.lock")


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
        needed -= (lasting_partial(out) / name).stat().st_size
    with suppress(OSError):
        free = shutil.disk_usage(place).free
        if needed > free:
            raise DataError(f"{out} needs {needed / 1e9:.1f} GB, but {place} has {free / 1e9:.1f} GB left")


def replace(new: Path, target: Path) -> None:
    """Put folder `new` at `target`; the old one is renamed first, since a rename cannot replace a full folder."""
    old = partial(target).with_suffix(".old")
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        put_back(target)
        raise
    fsync_dir(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def put_back(target: Path) -> None:
    """Undo a replacement that was killed between its two renames."""
    if not target.exists():
        for old in _left_over(target, "old"):
            with suppress(OSError):
                old.rename(target)
                return


def sweep(target: Path) -> None:
    """Put back or remove what killed processes left beside `target`."""
    put_back(target)
    for path in [*_left_over(target, "old"), *_left_over(target, "partial")]:
        shutil.rmtree(path, ignore_errors=True)


def _left_over(target: Path, kind: Literal["old", "partial"]) -> list[Path]:
    """Folders beside `target` whose process has ended, newest first."""
    target = target.absolute()
    if not target.parent.is_dir():
        return []
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.{kind}")
    matches = ((path, pattern.fullmatch(path.name)) for path in target.parent.iterdir())
    leftovers = [path for path, match in matches if match and not _runs(int(match.group(1)))]
    return sorted(leftovers, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _runs(process: int) -> bool:
    """Whether another process with this number runs; this process has nothing in progress when it asks."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it runs under another user
        pass
    return True
