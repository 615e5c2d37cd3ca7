"""Arrays from an npz file that somebody else may have written: no pickles, no more memory than the file announces."""

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

LARGEST = 2**33
"""Bytes of an array that are read; a hundred thousand colour images of 160 pixels are less."""


def read_arrays(path: Path, names: tuple[str, ...], largest: int = LARGEST) -> tuple[np.ndarray[Any, Any], ...]:
    """The named arrays; ValueError says what is wrong with the file, FileNotFoundError when there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(_read(archive, archive.getinfo(f"{name}.npy"), largest) for name in names)
    except (FileNotFoundError, _AnswerError):
        raise
    except KeyError as error:
        raise ValueError(str(error.args[0])) from None
    except Exception as error:  # a damaged archive raises a dozen types (zlib, struct, NotImplementedError, …)
        raise ValueError((str(error) or type(error).__name__)[:200]) from None


class _AnswerError(ValueError):
    """Said in our own words."""


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, largest: int) -> np.ndarray[Any, Any]:
    with archive.open(info) as file:
        header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(npy.read_magic(file))
        if header is None:
            raise _AnswerError(f"{info.filename} has a header of another version")
        shape, fortran, dtype = header(file)
        announced = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if dtype.hasobject or min(shape, default=0) < 0 or announced != info.file_size - file.tell():
            raise _AnswerError(f"{info.filename} announces {dtype} {shape}, which is not what it holds")
        if announced > largest:
            raise _AnswerError(f"{info.filename} would take {announced:,} bytes, more than {largest:,}")
        data = file.read(announced + 1)  # one more, so that the archive's checksum is looked at
        if len(data) != announced:
            raise _AnswerError(f"{info.filename} holds {len(data):,} bytes, not {announced:,}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C").copy()


NPZ_DAMAGE = (
    *(OSError, ValueError, KeyError, EOFError, MemoryError, OverflowError, NotImplementedError, RuntimeError),
    *(SyntaxError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What numpy raises for an npz that is cut off, has flipped bits or lacks an array."""
