"""Arrays from npz files of any origin: no pickles, no arrays of another size than announced, no zip bombs.

Small arrays are read into memory; large ones are extracted to an unnamed temporary file (in `TMPDIR`) and mapped.
"""

import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy

from taildiff.errors import DataError
from taildiff.io.paths import reason, regular

LARGEST = 2**33
"""Bytes of an array that `read_arrays` reads; a hundred thousand colour images of 160 pixels are fewer."""
MOST_TIMES, HARMLESS = 300, 2**28
"""What unpacks to more than `HARMLESS` bytes may have `MOST_TIMES` its packed size."""
_BLOCK = 2**22


class NpzError(ValueError):
    """What is wrong with a file."""


@dataclass(frozen=True)
class ArrayHeader:
    """What an npz file says about one of its arrays."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    """C or F, as numpy calls them."""
    nbytes: int

    def put_into(self, values: Any) -> np.ndarray[Any, Any]:
        """The bytes (nbytes,) as an array of this shape, without a copy."""
        return values.view(self.dtype).reshape(self.shape, order=self.order)


def array_names(path: Path) -> list[str]:
    """The names of the arrays, in order; `NpzError` for a damaged file, FileNotFoundError if there is none."""
    with _archive(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def read_header(path: Path, name: str) -> ArrayHeader:
    """What the file says about an array; `NpzError` also for a zip bomb."""
    with _archive(path) as archive, archive.open(f"{name}.npy") as file:
        return _read_header(file, archive.getinfo(f"{name}.npy"), bombs=False)


def read_arrays(path: Path, names: tuple[str, ...], largest: int | None = LARGEST) -> tuple[np.ndarray[Any, Any], ...]:
    """The named arrays, of at most `largest` bytes each; `NpzError` or FileNotFoundError otherwise."""
    with _archive(path) as archive:
        return tuple(_read(archive, archive.getinfo(f"{name}.npy"), largest) for name in names)


def map_array(path: Path, name: str) -> np.ndarray[Any, Any]:
    """An array, extracted and memory-mapped; as `read_header`, and `DataError` where it does not fit on the disk."""
    with _archive(path) as archive, archive.open(f"{name}.npy") as file:
        header = _read_header(file, archive.getinfo(f"{name}.npy"), bombs=False)
        if not header.nbytes:
            return header.put_into(np.empty(0, np.uint8))
        with _temporary_file(header.nbytes, f"{path}: array `{name}`") as values:
            shutil.copyfileobj(file, values, _BLOCK)  # reads to the end, where the archive's checksum is compared
            values.flush()
            return header.put_into(np.asarray(np.memmap(values, np.uint8, "r", shape=(header.nbytes,))))


def row_blocks(path: Path, name: str) -> Iterator[np.ndarray[Any, Any]]:
    """Consecutive rows (first axis) of an array, some `_BLOCK` bytes of them at a time; raises as `map_array`."""
    header = read_header(path, name)
    count, *row = header.shape
    row_bytes = math.prod(row) * header.dtype.itemsize
    at_once = max(1, _BLOCK // max(row_bytes, 1))
    if header.order == "F":  # rows lie scattered
        array = map_array(path, name)
        yield from (array[start : start + at_once] for start in range(0, count, at_once))
        return
    with _archive(path) as archive, archive.open(f"{name}.npy") as file:
        _read_header(file, archive.getinfo(f"{name}.npy"), bombs=False)
        for start in range(0, count, at_once):
            n = min(at_once, count - start)
            if len(data := file.read(n * row_bytes)) < n * row_bytes:
                raise NpzError(f"{name} is cut off")
            yield np.frombuffer(data, header.dtype).reshape(n, *row)
        file.read(1)  # the end, where the archive's checksum is compared


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            yield archive
    except (FileNotFoundError, NpzError, DataError):
        raise
    except KeyError as error:
        raise NpzError(str(error.args[0])) from None
    except Exception as error:  # a damaged archive raises a dozen types (zlib, struct, NotImplementedError, …)
        raise NpzError(reason(error)[:200]) from None


def _read_header(file: IO[bytes], info: zipfile.ZipInfo, bombs: bool = True) -> ArrayHeader:
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(npy.read_magic(file))
    if read is None:
        raise NpzError(f"{info.filename} has a header of an unknown version")
    shape, fortran, dtype = read(file)
    nbytes = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or min(shape, default=0) < 0 or nbytes != info.file_size - file.tell():
        raise NpzError(f"{info.filename} announces {dtype} {shape}, which is not what it holds")
    if not bombs and nbytes > HARMLESS + MOST_TIMES * info.compress_size:
        raise NpzError(f"{info.filename} has {info.compress_size:,} bytes and would unpack to {nbytes:,}: a zip bomb")
    return ArrayHeader(shape, dtype, "F" if fortran else "C", nbytes)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, largest: int | None) -> np.ndarray[Any, Any]:
    with archive.open(info) as file:
        header = _read_header(file, info)
        if largest is not None and header.nbytes > largest:
            raise NpzError(f"{info.filename} would take {header.nbytes:,} bytes, more than {largest:,}")
        values, done = np.empty(header.nbytes, np.uint8), 0
        while block := file.read(_BLOCK):  # to the end, where the archive's checksum is compared
            values[done : done + len(block)] = np.frombuffer(block, np.uint8)
            done += len(block)
    if done != header.nbytes:
        raise NpzError(f"{info.filename} holds {done:,} bytes, not {header.nbytes:,}")
    return header.put_into(values)


@contextmanager
def _temporary_file(needed: int, what: str) -> Iterator[IO[bytes]]:
    """An unnamed file, which vanishes with its last mapping; `DataError` where `needed` bytes do not fit."""
    folder = tempfile.gettempdir()
    if (free := shutil.disk_usage(folder).free) < needed:
        raise DataError(
            f"{what} needs {needed / 1e9:.1f} GB in {folder}, which has {free / 1e9:.1f} GB left; "
            "set TMPDIR to a folder on a larger disk"
        )
    try:
        with tempfile.TemporaryFile() as file:
            yield file
    except OSError as error:
        raise DataError(f"{what} cannot be extracted to {folder}: {error}") from None
