"""A lock that the system releases when its holder ends, however it ends: flock on a file that names the holder.

So no process is recognised by its number, which containers and other machines have too.
"""

import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from taildiff.errors import TaildiffError
from taildiff.log import log

try:
    import fcntl
except ImportError:  # no flock on Windows
    fcntl = None

POLL_SECONDS = 0.1


class BusyError(TaildiffError):
    """Another process holds the lock; the text names it."""


@contextmanager
def locked(path: Path, busy: Callable[[str], TaildiffError]) -> Iterator[None]:
    """Hold the lock file `path`; raises `busy(holder)` while another process holds it.

    Where the file system has no locks, a warning is logged and the block runs without one. Folders that were made for
    the lock alone are removed afterwards.
    """
    with _held(path, lambda: _acquire(path, busy)):
        yield


def check_free(path: Path, busy: Callable[[str], TaildiffError]) -> None:
    """Raise `busy(holder)` while another process holds the lock file `path`; makes nothing."""
    if fcntl is None:
        return
    with suppress(OSError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy(_holder(path)) from None


@contextmanager
def waiting(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path` as soon as nobody else does; while it waits, the log names that process and `what`.

    Where no lock file can be made (in a folder that cannot be written), the block runs without one: it has to report
    that itself, or needs to write nothing.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(_held(path, lambda: _wait(path, what)))
        yield


def _wait(path: Path, what: str) -> int | None:
    """`_acquire`, when the lock is free; Ctrl-C ends it."""
    told = False
    while True:
        try:
            return _acquire(path, BusyError)
        except BusyError as holder:
            if not told:
                log.info(f"waiting for {holder}, which {what}")
            told = True
            time.sleep(POLL_SECONDS)


@contextmanager
def _held(path: Path, acquire: Callable[[], int | None]) -> Iterator[None]:
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        _make_folder(path.parent)
        handle = acquire()
    except BaseException:
        _remove_empty(missing)
        raise
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):
                path.unlink()  # while it is locked: `_acquire` checks that its file is still at `path`
            os.close(handle)
        _remove_empty(missing)


def _acquire(path: Path, busy: Callable[[str], TaildiffError]) -> int | None:
    """The locked file's handle, which child processes do not inherit; None where locks are not supported."""
    while fcntl is not None:
        try:
            handle = _open(path)
        except FileNotFoundError:  # the previous holder has just removed the empty folder
            _make_folder(path.parent)
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


def _make_folder(folder: Path) -> None:
    """Make a folder, which the previous holder may be removing with its parents."""
    for attempt in range(100):
        try:
            return folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError):
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
            if attempt == 99:
                raise


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY)  # another user's file: it can be locked, not signed


def remove_abandoned(path: Path) -> None:
    """Remove a file that its writer kept locked (`lock_while_open`), unless that process still runs."""
    if fcntl is None:
        return
    with suppress(OSError):  # being written, gone, not ours, or on a file system without locks
        handle = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same_file(handle, path):
                path.unlink()
        finally:
            os.close(handle)


def lock_while_open(handle: int, path: Path) -> bool:
    """Lock a file just created at `path` until its handle is closed; False if `remove_abandoned` was faster."""
    if fcntl is not None:
        with suppress(OSError):  # no locks here: nobody removes it
            fcntl.flock(handle, fcntl.LOCK_EX)
    return _same_file(handle, path)


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
