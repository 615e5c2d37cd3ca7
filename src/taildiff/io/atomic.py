"""Write files atomically."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write_atomic(path: Path, data: bytes | Callable[[BinaryIO], None]) -> None:
    """Write a file; a reader, or a crash at any moment, sees either the old content or the whole new one.

    `data` may be a function that writes into an open file, for content larger than memory.
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
        error.filename = str(path)  # on a full disk no file is named, and the temporary one means nothing to users
        raise
    finally:
        temporary.unlink(missing_ok=True)
    fsync_dir(path.parent)


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
