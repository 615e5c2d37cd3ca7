"""Putting a finished folder in the place of another, and tidying up after a process that was killed while it did so.

Work is done in `.NAME.PID.partial` beside the target, or in `.NAME.partial` where a later process may go on with it;
for a moment the old folder is `.NAME.PID.old`. Who works in `.NAME.partial` holds a lock on `.NAME.lock`.
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
    """Where this process writes what is to be at `target`; not made here."""
    return target.absolute().with_name(f".{target.absolute().name}.{os.getpid()}.partial")


def lasting_partial(target: Path) -> Path:
    """Where the one process that holds the lock works on `target`, and the next one goes on; not made here."""
    return target.absolute().with_name(f".{target.absolute().name}.partial")


def lock_of(target: Path) -> Path:
    """The lock file that the process working on `target` holds."""
    return target.absolute().with_name(f".{target.absolute().name}.lock")


def keep_apart(out: Path, places: Iterable[Path]) -> None:
    """`DataError` where what is written and what it is made from would contain each other."""
    for place in places:
        inside, target = place.resolve(), out.resolve()
        if inside == target or inside in target.parents or target in inside.parents:
            raise DataError(f"{out} and {place} must not contain each other; choose another --out")


def check_space(out: Path, name: str, needed: int) -> None:
    """`DataError` where file `name` of `out` will not fit; what an earlier, stopped process wrote of it is there."""
    place = next(parent for parent in out.absolute().parents if parent.exists())
    with suppress(OSError):
        needed -= (lasting_partial(out) / name).stat().st_size
    with suppress(OSError):
        free = shutil.disk_usage(place).free
        if needed > free:
            raise DataError(f"{out} needs {needed / 1e9:.1f} GB, but {place} has {free / 1e9:.1f} GB left")


def replace(new: Path, target: Path) -> None:
    """Put folder `new` at `target`; a folder cannot be renamed over a full one, so the old one steps aside first."""
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
    """Undo the first half of a replacement that was killed between its two renames."""
    if not target.exists():
        for old in _left_over(target, "old"):
            with suppress(OSError):
                old.rename(target)
                return


def sweep(target: Path) -> None:
    """Put back, and remove, what killed preparations left beside `target`."""
    put_back(target)
    for path in [*_left_over(target, "old"), *_left_over(target, "partial")]:
        shutil.rmtree(path, ignore_errors=True)


def _left_over(target: Path, kind: Literal["old", "partial"]) -> list[Path]:
    """Folders beside `target` whose process no longer runs, newest first."""
    target = target.absolute()
    if not target.parent.is_dir():
        return []
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.{kind}")
    named = ((path, pattern.fullmatch(path.name)) for path in target.parent.iterdir())
    found = [path for path, match in named if match and not _runs(int(match.group(1)))]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _runs(process: int) -> bool:
    """Whether another process of this number is there; the own one is not in the middle of anything when it asks."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it runs, as another user's
        pass
    return True
