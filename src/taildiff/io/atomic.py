"""Files that a reader, or a crash at any moment, sees either old or whole."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write_atomic(path: Path, data: bytes | Callable[[BinaryIO], None]) -> None:
    """Write a file so that a reader, or a crash at any moment, sees either the old content or the whole new one.

    `data` may be a function that writes into an open file: what does not fit into memory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            if callable(data):
                data(file)
            else:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # a full disk names no file, and nobody knows the temporary one
        raise
    finally:
        temporary.unlink(missing_ok=True)
    fsync_dir(path.parent)


def write_json(path: Path, values: Any) -> None:
    """`write_atomic` of readable JSON; NaN is refused, since JSON has none."""
    write_atomic(path, (json.dumps(values, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())


def fsync_dir(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
