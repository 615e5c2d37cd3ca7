"""A folder whose one large array is written in bounded memory, and that a killed process leaves for the next one.

All is written into `.NAME.partial` beside the target, which is renamed at the end. The array is a `.npy` file whose
header is written twice: numpy leaves room in it for the first axis to grow. The journal has a checksum a shard, so that
what a power cut left half written is found.
"""

import hashlib
import math
import os
import shutil
import zlib
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from taildiff.errors import DataError
from taildiff.io.shard_log import NAME, Header, Journal, Shard, read_journal
from taildiff.io.staging import lasting_partial, only_one, replace, sweep


class Growing:
    """Writes `out` with its large array `file` of rows of `header.shape`.

        with Growing(out, "images.npy", np.dtype(np.uint8), header) as growing:
            growing.append(rows)                # as often as needed, with `commit` now and then
            growing.finish()                    # now growing.hash is over shape and rows; write the rest into `partial`
            growing.publish()

    Without `publish` what was at `out` stays, and of the new nothing is left, unless there are committed shards and the
    error is of a kind in `kept_after`. `DataError` while another process writes at `out`, and when the disk is full.
    """

    def __init__(
        self,
        out: Path,
        file: str,
        dtype: np.dtype,
        header: Header,
        kept_after: type[BaseException] = KeyboardInterrupt,
    ):
        self.out, self.header, self.partial = out, header, lasting_partial(out)
        self.shards: list[Shard] = []
        """Done, by this process or earlier ones of the same header."""
        self.rows = 0
        self.hash = hashlib.sha256(repr(header.shape).encode())
        self._path, self._dtype, self._kept_after = self.partial / file, dtype, kept_after
        self._crc = 0
        self._open = ExitStack()
        self._resumable = False

    def __enter__(self) -> Self:
        try:
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as undo:
                undo.enter_context(only_one(self.out))
                sweep(self.out)
                undo.callback(self._remove_unless_resumable)
                self._begin(undo)
                self._open = undo.pop_all()
        except OSError as error:
            raise DataError(f"cannot write beside {self.out}: {error}") from None
        return self

    def _begin(self, undo: ExitStack) -> None:
        """Open the array behind the last shard that is whole."""
        found, shards = read_journal(self.partial)
        if found != self.header or not self._path.is_file():
            shards = []
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir()
            self._path.touch()
        for other in set(self.partial.iterdir()) - {self._path, self.partial / NAME}:
            other.unlink()  # such as temporary files
        self._file: BinaryIO = self._path.open("r+b")
        undo.callback(_close_quietly, self._file)
        self._start = end = self._write_header()
        for shard in shards:
            data = self._file.read(shard.images * math.prod(self.header.shape) * self._dtype.itemsize)
            if zlib.crc32(data) != shard.crc:  # the machine stopped before all was on the disk
                break
            self.hash.update(data)
            self.shards.append(shard)
            self.rows += shard.images
            end += len(data)
        self._file.seek(end)
        self._file.truncate()
        self._journal = Journal(self.partial, self.header, self.shards)
        undo.callback(self._journal.close)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._resumable = isinstance(error, self._kept_after) and bool(self.shards)
        self._open.close()
        if isinstance(error, OSError):
            raise DataError(f"cannot write {self.out}: {error}") from error

    def _remove_unless_resumable(self) -> None:
        if not self._resumable:
            shutil.rmtree(self.partial, ignore_errors=True)

    @property
    def pending(self) -> int:
        """Rows that were appended and not committed."""
        return self.rows - sum(shard.images for shard in self.shards)

    def append(self, rows: np.ndarray) -> None:
        """Add (n, *shape)."""
        assert rows.dtype == self._dtype
        assert rows.shape[1:] == self.header.shape
        data = np.ascontiguousarray(rows).tobytes()
        self._file.write(data)
        self.hash.update(data)
        self._crc = zlib.crc32(data, self._crc)
        self.rows += len(rows)

    def commit(self, items: int, skipped: tuple[tuple[int, str], ...] = (), animated: int = 0) -> None:
        """Make sure that the pending rows, out of `items` items, survive this process."""
        self._file.flush()
        os.fsync(self._file.fileno())
        shard = Shard(items=items, images=self.pending, crc=self._crc, skipped=skipped, animated=animated)
        self._journal.add(shard)
        self.shards.append(shard)
        self._crc = 0

    def finish(self) -> None:
        """Close the array, on the disk."""
        self._file.seek(0)
        assert self._write_header() == self._start  # numpy pads the header so that the first axis can grow
        _fsync_close(self._file)

    def add_array(self, name: str, array: np.ndarray) -> None:
        """Another `.npy` file beside it, which goes into the hash too."""
        self.hash.update(array.tobytes())
        with (self.partial / name).open("wb") as file:
            np.save(file, array)
            _fsync_close(file)

    def publish(self) -> None:
        """Put the folder in the place of what was at `out`; until then the journal keeps what was done."""
        replace(self.partial, self.out.absolute())
        forget_journal(self.out)

    def _write_header(self) -> int:
        shape = (self.rows, *self.header.shape)
        layout = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, layout)
        return self._file.tell()


def forget_journal(out: Path) -> None:
    """Remove what a process left that was killed behind the renaming, before it could itself."""
    with suppress(OSError):  # not there, or not ours to change
        (out / NAME).unlink()


def _close_quietly(file: BinaryIO) -> None:
    with suppress(OSError):  # a full disk says so again when the last bytes are flushed
        file.close()


def _fsync_close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
