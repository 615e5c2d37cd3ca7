"""Write files atomically.

What is being written is `.NAME.TOKEN.tmp` beside the target, locked by its writer; one that a killed process left is
removed by the next writer of the same file.
"""

import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from taildiff.io.lock import lock_while_open, remove_abandoned

_TEMPORARY = re.compile(r"\.(.+)\.([0-9a-f]{8}|\d+)\.tmp", re.DOTALL)  # version 0.1 wrote the process's number


def write_atomic(path: Path, data: bytes | Callable[[BinaryIO], None]) -> None:
    """Write a file; a reader, or a crash at any moment, sees either the old content or the whole new one.

    `data` may be a function that writes into an open file, for content larger than memory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_temporary(path.parent, path.name)
    temporary = None
    try:
        temporary, handle = _create(path)
        with os.fdopen(handle, "wb") as file:
            if callable(data):
                data(file)
            else:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)  # while it is locked
    except OSError as error:
        error.filename = str(path)  # on a full disk no file is named, and the temporary one means nothing to users
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    fsync_dir(path.parent)


def _create(path: Path) -> tuple[Path, int]:
    """A new file beside `path`, and its handle, which holds its lock."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        if lock_while_open(handle, temporary):
            return temporary, handle
        os.close(handle)


def remove_temporary(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left of the file `name`, or of any file, in a folder of ours."""
    for path in folder.glob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and name in (None, match[1]):
            remove_abandoned(path)


def write_json(path: Path, values: Any) -> None:
    """Write readable JSON atomically; ValueError for NaN, which JSON does not have."""
    write_atomic(path, (json.dumps(values, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())


def fsync_dir(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
