"""A lock that the system releases when its holder ends, however it ends: flock on a file that names the holder."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taildiff.errors import TaildiffError
from taildiff.log import log

try:
    import fcntl
except ImportError:  # no flock on Windows
    fcntl = None


@contextmanager
def locked(path: Path, busy: Callable[[str], TaildiffError]) -> Iterator[None]:
    """Hold the lock file `path`; raises `busy(holder)` while another process holds it.

    Where the file system has no locks, a warning is logged and the block runs without one. Folders that were made for
    the lock alone are removed afterwards.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = _acquire(path, busy)
    except OSError:
        _remove_empty(missing)
        raise
    try:
        yield
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)  # while it is locked: `_acquire` checks that its file is still at `path`
            os.close(handle)
        _remove_empty(missing)


def _acquire(path: Path, busy: Callable[[str], TaildiffError]) -> int | None:
    """The locked file's handle, which child processes do not inherit; None where locks are not supported."""
    while fcntl is not None:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the previous holder has just removed the empty folder
            path.parent.mkdir(parents=True, exist_ok=True)
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same_file(handle, path):
                _sign(handle)
                return handle
            os.close(handle)  # the previous holder removed the file before we locked it
        except BlockingIOError:
            os.close(handle)
            raise busy(_holder(path)) from None
        except OSError:
            os.close(handle)
            path.unlink(missing_ok=True)
            break
    log.warning("%s cannot be locked on this file system; make sure that no other process writes there", path.parent)
    return None


def _sign(handle: int) -> None:
    with suppress(OSError):  # a full disk: the lock holds, it only cannot name its holder
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode())


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        values = json.loads(path.read_text())
        return f"process {values['process']} on {values['host']}"
    except (OSError, ValueError, LookupError, TypeError):  # being written, or just removed
        return "another process"


def _remove_empty(folders: list[Path]) -> None:
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()
