"""One process trains a run: a lock that the system gives back when its holder ends, in whatever way.

The lock is flock's, on `RunDir.lock`, which also says who holds it. Readers (sample, evaluate, report) take no lock.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taildiff.errors import RunError
from taildiff.log import log
from taildiff.run.layout import RunDir

try:
    import fcntl
except ImportError:  # no flock on Windows
    fcntl = None


@contextmanager
def locked(run: RunDir) -> Iterator[None]:
    """Hold the run; `RunError` names the process that has it. A warning is logged where locks do not work.

    A run's folder that was made for the lock alone is gone afterwards.
    """
    made = [folder for folder in (run.root, *run.root.parents) if not folder.exists()]
    run.root.mkdir(parents=True, exist_ok=True)
    try:
        handle = _acquire(run)
    except OSError:
        _remove_empty(made)
        raise
    try:
        yield
    finally:
        if handle is not None:
            run.lock.unlink(missing_ok=True)  # before the lock goes: `_acquire` asks whether its file still counts
            os.close(handle)
        _remove_empty(made)


def _acquire(run: RunDir) -> int | None:
    """The open file that the lock hangs on; it is never inherited by programs that are started."""
    while fcntl is not None:
        try:
            handle = os.open(run.lock, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # a holder that ends just now takes the empty folder that it made with it
            run.root.mkdir(parents=True, exist_ok=True)
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same_file(handle, run.lock):
                _sign(handle)
                return handle
            os.close(handle)  # its last holder removed it in between
        except BlockingIOError:
            os.close(handle)
            raise RunError(
                f"{run.root} is being trained by {_holder(run.lock)}: wait until it ends, or use another --out"
            ) from None
        except OSError:
            os.close(handle)
            run.lock.unlink(missing_ok=True)
            break
    log.warning(f"{run.root} cannot be locked here: make sure that no other process trains it")
    return None


def _sign(handle: int) -> None:
    with suppress(OSError):  # on a full disk the lock holds all the same, it only cannot say who has it
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
    except (OSError, ValueError, LookupError, TypeError):  # it is being written, or was removed just now
        return "another process"


def _remove_empty(folders: list[Path]) -> None:
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()
