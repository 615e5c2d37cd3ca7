"""Images and labels in one `.npz`, under the names that are in use.

    images (n, H, W[, 1 or 3]) uint8, labels (n,); if wanted test (n,) bool and class_names (C,)
    x_train, y_train, x_test, y_test                               (Keras)
    train_images, train_labels, val_images, …, test_images, …      (MedMNIST; val is for training)

The images are read in a stream: an archive that unpacks to more than it should costs no memory.
"""

import lzma
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from taildiff.data.formats.importer import Importer, Names
from taildiff.data.source import Found, Source, check_place, classes_by_value, fingerprint_of, read_class_names
from taildiff.errors import DataError
from taildiff.io.npz import NPZ_DAMAGE

_LAYOUTS = (
    (("images", "labels", False),),
    (("x_train", "y_train", False), ("x_test", "y_test", True)),
    (
        ("train_images", "train_labels", False),
        ("val_images", "val_labels", False),
        ("test_images", "test_labels", True),
    ),
)
_DAMAGE = (*NPZ_DAMAGE, RuntimeError, MemoryError, SyntaxError, TypeError, OverflowError, struct.error, lzma.LZMAError)
_MOST_LABELS = 2**28
_MOST_TIMES, _FREE_BYTES = 300, 2**28  # how much more than its file an archive may unpack to, beyond what is no harm
_BLOCK_BYTES = 2**22


@dataclass(frozen=True)
class _Header:
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool


def find_npz(place: Path, names: Names = None) -> Found:
    """One file; `names`: class names, a line each, by label. `DataError` names an array that is missing or wrong."""
    check_place(place)
    if not place.is_file():
        raise DataError(f"{place} is a folder; give the .npz file")
    parts = _parts(place)
    images = [_header(place, images) for images, _, _ in parts]
    for header in images:
        _check_images(place, header)
    sizes = {header.shape[1:] for header in images}
    if len(sizes) > 1:
        raise DataError(f"{place}: the parts have images of different shapes: {sorted(sizes)}")
    _check_bomb(place, images)
    files = [place, names] if names else [place]
    return Found(
        source=str(place.resolve()),
        name=place.stem,
        fingerprint=fingerprint_of([path for path in files if path.exists()]),
        roots=(place,),
        read=lambda: _read(place, parts, images, names),
        size=min(images[0].shape[1:3]),
        options="names=" + str(names.resolve()) if names else "",
    )


def _parts(place: Path) -> tuple[tuple[str, str, bool], ...]:
    have = _members(place)
    for layout in _LAYOUTS:
        if layout[0][0] in have:
            parts = tuple(part for part in layout if part[0] in have)
            for _, labels, _ in parts:
                if labels not in have:
                    raise DataError(f"{place} has no array `{labels}`; it has {_listed(have)}")
            return parts
    known = " or ".join(f"`{layout[0][0]}` and `{layout[0][1]}`" for layout in _LAYOUTS)
    raise DataError(f"{place} has no arrays {known}; it has {_listed(have)}")


def _listed(have: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(have)[:10]) or "none"


def _members(place: Path) -> set[str]:
    try:
        with zipfile.ZipFile(place) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except _DAMAGE as error:
        raise DataError(f"{place} is not an npz file, or damaged ({error})") from None


def _check_images(place: Path, header: _Header) -> None:
    what = f"{place}: array `{header.name}`"
    if header.dtype != np.uint8:
        raise DataError(f"{what} is {header.dtype}; images must be uint8, 0..255 (scale and convert them yourself)")
    if len(header.shape) not in (3, 4) or header.shape[3:] not in ((), (1,), (3,)) or 0 in header.shape:
        hint = "; channels come last" if len(header.shape) == 4 and header.shape[1] in (1, 3) else ""
        raise DataError(f"{what} has the shape {header.shape}; needed is (n, H, W), (n, H, W, 1) or (n, H, W, 3){hint}")
    if header.fortran:
        raise DataError(f"{what} is stored in Fortran's order; save np.ascontiguousarray of it")


def _check_bomb(place: Path, headers: list[_Header]) -> None:
    unpacked = sum(int(np.prod(header.shape, dtype=object)) for header in headers)
    packed = place.stat().st_size
    if unpacked > _FREE_BYTES + _MOST_TIMES * packed:
        raise DataError(f"{place} has {packed:,} bytes and would unpack to {unpacked:,}: refused as a zip bomb")


def _read(place: Path, parts: tuple[tuple[str, str, bool], ...], images: list[_Header], names: Path | None) -> Source:
    columns = [_labels(place, labels, header.shape[0]) for (_, labels, _), header in zip(parts, images, strict=True)]
    values = np.concatenate(columns)
    test = np.repeat([held_out for _, _, held_out in parts], [len(column) for column in columns])
    have = _members(place)
    if "test" in have:
        test = _small(place, "test")
        if test.dtype != np.bool_ or test.shape != values.shape:
            raise DataError(f"{place}: array `test` must be bool, one value an image; it is {test.dtype} {test.shape}")
    class_names, labels = classes_by_value(values)
    if names is not None:
        class_names, labels = read_class_names(names), values
    elif "class_names" in have:
        given = _small(place, "class_names")
        if given.dtype.kind != "U" or given.ndim != 1:
            raise DataError(f"{place}: array `class_names` must be text, one name a class; it is {given.dtype}")
        class_names, labels = tuple(given.tolist()), values

    def pictures(start: int) -> Iterator[np.ndarray]:
        for header in images:
            yield from _stream(place, header, start)
            start -= header.shape[0]

    return Source(class_names, labels, test, pictures, channels=3 if images[0].shape[3:] == (3,) else 1)


def _labels(place: Path, name: str, count: int) -> np.ndarray:
    """int64 (count,), from (count,) or (count, 1)."""
    values = _small(place, name)
    if values.dtype.kind not in "iu":
        raise DataError(f"{place}: array `{name}` is {values.dtype}; labels must be integers")
    if values.shape not in ((count,), (count, 1)):
        raise DataError(f"{place}: array `{name}` has the shape {values.shape}, but there are {count:,} images")
    return values.reshape(-1).astype(np.int64)


def _small(place: Path, name: str) -> np.ndarray:
    header = _header(place, name)
    if header.dtype.hasobject or header.dtype.itemsize * int(np.prod(header.shape, dtype=object)) > 8 * _MOST_LABELS:
        raise DataError(f"{place}: array `{name}` is {header.dtype} {header.shape}, which is not read")
    try:
        with np.load(place, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except _DAMAGE as error:
        raise DataError(f"{place}: array `{name}` is damaged ({error})") from None


def _header(place: Path, name: str) -> _Header:
    try:
        with zipfile.ZipFile(place) as archive, archive.open(f"{name}.npy") as file:
            return _read_header(file, name)
    except _DAMAGE as error:
        raise DataError(f"{place}: array `{name}` is damaged ({error})") from None


def _read_header(file: IO[bytes], name: str) -> _Header:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return _Header(name, tuple(shape), dtype, fortran and len(shape) > 1)


def _stream(place: Path, header: _Header, start: int) -> Iterator[np.ndarray]:
    count, shape = header.shape[0], header.shape[1:]
    each = int(np.prod(shape))
    step = max(1, _BLOCK_BYTES // each)
    try:
        with zipfile.ZipFile(place) as archive, archive.open(f"{header.name}.npy") as file:
            _read_header(file, header.name)
            for first in range(0, count, step):
                n = min(step, count - first)
                data = file.read(n * each)
                if len(data) < n * each:
                    raise EOFError("cut off")
                yield from np.frombuffer(data, np.uint8).reshape(n, *shape)[max(start - first, 0) :]
            if file.read(1):
                raise ValueError("longer than its header says")
    except _DAMAGE as error:
        raise DataError(f"{place}: array `{header.name}` is damaged ({error})") from None


IMPORTERS = (
    Importer("npz", ".npz file", "images and labels as arrays, named as by Keras or MedMNIST or plainly", find_npz),
)
