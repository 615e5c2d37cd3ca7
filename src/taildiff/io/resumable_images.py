"""Images that are being sampled, kept on disk as they are made, so that a stopped evaluation of hours goes on.

.images-g1.5.npy      uint8 (N, H, W, C), memory-mapped          .images-g1.5.json     {"key": …, "done": n}
"""

import errno
import os
import time
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from taildiff.errors import SpecError
from taildiff.io.atomic import write_json
from taildiff.spec import read_json

_SECONDS = 5.0
"""What a kill may cost."""


class Unfinished:
    """The first `done` of N images; `key` names the very images, and those of another key are not taken over."""

    def __init__(self, images: NDArray[np.uint8], array: Path, note: Path, key: str, done: int):
        self.images, self.done = images, done
        self._array, self._note, self._key = array, note, key
        self._said = time.monotonic()

    @classmethod
    def open(cls, finished: Path, key: str, shape: tuple[int, ...]) -> Self:
        """What is kept beside the file that is to hold them in the end, or an empty start."""
        array, note = (finished.with_name(f".{finished.stem}{suffix}") for suffix in (".npy", ".json"))
        array.parent.mkdir(parents=True, exist_ok=True)
        try:
            values = read_json(note)
            np.load(array, mmap_mode="r")  # refuses one that is cut off, which writing would fill up with zeros
            images = np.lib.format.open_memmap(array, mode="r+")
            known = values["key"] == key and images.shape == shape and images.dtype == np.uint8
            if known and 0 <= int(values["done"]) <= len(images):
                return cls(images, array, note, key, int(values["done"]))
        except (SpecError, OSError, ValueError, KeyError, TypeError, SyntaxError):
            pass  # there is nothing, or nothing that can be used
        note.unlink(missing_ok=True)
        images = np.lib.format.open_memmap(array, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(array)
        return cls(images, array, note, key, 0)

    def keep(self, done: int) -> None:
        """The first `done` images are made; they are made sure of now and then."""
        self.done = done
        if time.monotonic() - self._said >= _SECONDS:
            assert isinstance(self.images, np.memmap)
            self.images.flush()
            write_json(self._note, {"key": self._key, "done": done})
            self._said = time.monotonic()

    def remove(self) -> None:
        """The images are somewhere else now."""
        self._note.unlink(missing_ok=True)
        self._array.unlink(missing_ok=True)


def _reserve(path: Path) -> None:
    """Take the file's space now: on a disk that is full, writing to mapped memory kills the process without a word."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return  # a file system that cannot
        path.unlink()
        error.filename = str(path)
        raise
