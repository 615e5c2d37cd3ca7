"""One large array that is written row by row in bounded memory, and that the next process continues after a kill.

.NAME.partial/     beside the target; renamed to the target or removed at the end
FILE.npy         the rows; the header is rewritten at the end (numpy leaves room in it for a longer first axis)
shards.jsonl     {"key": …, "shape": …}, then {"rows": …, "crc": …, "note": …} per shard that has reached the disk
"""

import hashlib
import json
import math
import os
import shutil
import time
import zlib
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TextIO

import numpy as np
from pydantic import Field, ValidationError

from taildiff.errors import DataError
from taildiff.io.atomic import write_atomic
from taildiff.io.lock import locked
from taildiff.io.staging import lock_of, partial, replace, sweep
from taildiff.spec import Spec

SHARDS = "shards.jsonl"
SHARD_SECONDS, SHARD_BYTES = 5.0, 2**25
"""What a kill may cost."""
_ROWS = 1024


class Header(Spec):
    """What is being written; rows that were written under another header are discarded."""

    key: dict[str, str]
    """Everything that decides the rows."""
    shape: tuple[int, ...]
    """Of one row."""


class Shard(Spec):
    """Consecutive rows that have reached the disk."""

    rows: int
    crc: int
    """Of the rows' bytes and the note."""
    note: dict[str, Any] = Field(default_factory=dict)
    """What the writer needs to continue behind this shard."""


def read_shards(folder: Path) -> tuple[Header | None, list[Shard]]:
    """Header and shards as far as they are readable; (None, []) where there is nothing."""
    try:
        lines = (folder / SHARDS).read_text(encoding="utf-8").splitlines()
        header = Header.model_validate_json(lines[0])
    except (OSError, UnicodeDecodeError, ValidationError, IndexError):
        return None, []
    shards: list[Shard] = []
    for line in lines[1:]:
        try:
            shards.append(Shard.model_validate_json(line))
        except ValidationError:  # the process was killed while it wrote this line
            break
    return header, shards


class ResumableArray:
    """Writes rows of `header.shape` into `.NAME.partial/FILE` beside `out`.

        with ResumableArray(out, "images.npy", np.dtype(np.uint8), header) as array:
            for rows in …:                      # behind `array.rows`, which earlier processes wrote
                array.append(rows)
                if array.due:
                    array.commit()
            array.finish()                      # now array.hash covers shape and rows; write other files into `partial`
            array.publish()

    Without `publish` whatever is at `out` stays, and `partial` is removed unless there are committed shards and the
    error is of a kind in `kept_after`. `DataError` while another process writes `out`, and when the disk is full.
    """

    def __init__(
        self,
        out: Path,
        file: str,
        dtype: np.dtype,
        header: Header,
        kept_after: type[BaseException] = KeyboardInterrupt,
        held: bool = False,
    ):
        """With `held`, the caller holds the lock of `out`."""
        self.out, self.header, self.partial = out, header, partial(out)
        self.shards: list[Shard] = []
        """Committed by this process or earlier ones."""
        self.rows = 0
        self.hash = hashlib.sha256(repr(header.shape).encode())
        self._path, self._dtype, self._kept_after, self._held = self.partial / file, dtype, kept_after, held
        self._row_bytes = math.prod(header.shape) * dtype.itemsize
        self._crc, self._committed_rows, self._committed_at = 0, 0, time.monotonic()
        self._open, self._keep = ExitStack(), False

    def __enter__(self) -> Self:
        try:
            with ExitStack() as undo:
                if not self._held:
                    undo.enter_context(locked(lock_of(self.out), self._busy))
                sweep(self.out)
                undo.callback(self._remove_unless_kept)
                self._begin(undo)
                self._open = undo.pop_all()
        except OSError as error:
            raise DataError(f"cannot write {self.out}: {error}") from None
        return self

    def _busy(self, holder: str) -> DataError:
        return DataError(f"{self.out} is being written by {holder}; wait until it ends, or choose another place")

    def _begin(self, undo: ExitStack) -> None:
        """Open the array behind the last intact shard."""
        header, shards = read_shards(self.partial)
        if header != self.header or not self._path.is_file():
            shards = []
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)
            self._path.touch()
        for other in set(self.partial.iterdir()) - {self._path, self.partial / SHARDS}:
            shutil.rmtree(other) if other.is_dir() else other.unlink()  # such as temporary files
        self._file: BinaryIO = self._path.open("r+b")
        undo.callback(_close_quietly, self._file)
        self._header_bytes = self._write_header()
        for shard in shards:
            data = self._file.read(shard.rows * self._row_bytes)
            if _crc(shard.note, zlib.crc32(data)) != shard.crc:  # the machine stopped before all was on the disk
                break
            self.hash.update(data)
            self.shards.append(shard)
            self.rows += shard.rows
        self._committed_rows = self.rows
        self._file.seek(self._header_bytes + self.rows * self._row_bytes)
        self._file.truncate()
        lines = [self.header.model_dump_json(), *(shard.model_dump_json() for shard in self.shards)]
        write_atomic(self.partial / SHARDS, "".join(f"{line}\n" for line in lines).encode())
        self._log: TextIO = (self.partial / SHARDS).open("a", encoding="utf-8")
        undo.callback(_close_quietly, self._log)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._keep = isinstance(error, self._kept_after) and bool(self.shards)
        self._open.close()
        if isinstance(error, OSError):
            raise DataError(f"cannot write {self.out}: {error}") from error

    def _remove_unless_kept(self) -> None:
        if not self._keep:
            shutil.rmtree(self.partial, ignore_errors=True)

    def append(self, rows: np.ndarray) -> None:
        """Add (n, *shape)."""
        assert rows.dtype == self._dtype
        assert rows.shape[1:] == self.header.shape
        data = np.ascontiguousarray(rows).tobytes()
        self._file.write(data)
        self.hash.update(data)
        self._crc = zlib.crc32(data, self._crc)
        self.rows += len(rows)

    @property
    def due(self) -> bool:
        """Whether so much would be lost by a kill that it is time to `commit`."""
        uncommitted = (self.rows - self._committed_rows) * self._row_bytes
        return uncommitted >= SHARD_BYTES or time.monotonic() - self._committed_at >= SHARD_SECONDS

    def commit(self, note: dict[str, Any] | None = None) -> None:
        """Put everything appended so far on the disk, with a JSON `note` for the process that continues."""
        _fsync(self._file)
        note = note or {}
        shard = Shard(rows=self.rows - self._committed_rows, crc=_crc(note, self._crc), note=note)
        self._log.write(shard.model_dump_json() + "\n")
        _fsync(self._log)
        self.shards.append(shard)
        self._crc, self._committed_rows, self._committed_at = 0, self.rows, time.monotonic()

    def finish(self) -> np.ndarray:
        """Close the array on the disk; returns it memory-mapped."""
        self._file.seek(0)
        size = self._write_header()
        assert size == self._header_bytes
        _fsync(self._file)
        self._file.close()
        return np.load(self._path, mmap_mode="r")

    def holds(self, rows: np.ndarray) -> bool:
        """Whether these are the rows that were appended, before any `add_array`; False where a file was changed."""
        digest = hashlib.sha256(repr(self.header.shape).encode())
        for start in range(0, len(rows), _ROWS):
            digest.update(rows[start : start + _ROWS].tobytes())
        return digest.digest() == self.hash.digest()

    def add_array(self, name: str, array: np.ndarray) -> None:
        """Write another `.npy` file beside it and include it in the hash."""
        self.hash.update(array.tobytes())
        with (self.partial / name).open("wb") as file:
            np.save(file, array)
            _fsync(file)

    def publish(self) -> None:
        """Replace `out` by the folder; the log of shards is removed last, so that a kill before it loses nothing."""
        replace(self.partial, self.out.absolute())
        remove_log(self.out)

    def _write_header(self) -> int:
        shape = (self.rows, *self.header.shape)
        layout = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, layout)
        return self._file.tell()


def remove_log(out: Path) -> None:
    """Remove the log of shards that a process killed right after renaming left in the published folder."""
    with suppress(OSError):  # missing, or not writable by us
        (out / SHARDS).unlink()


def _crc(note: dict[str, Any], rows_crc: int) -> int:
    return zlib.crc32(json.dumps(note, sort_keys=True).encode(), rows_crc)


def _close_quietly(file: BinaryIO | TextIO) -> None:
    with suppress(OSError):  # a full disk fails again when the last bytes are flushed
        file.close()


def _fsync(file: BinaryIO | TextIO) -> None:
    file.flush()
    os.fsync(file.fileno())
