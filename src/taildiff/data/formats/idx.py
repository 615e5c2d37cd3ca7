"""IDX files, gzipped or not: the format of MNIST, Fashion-MNIST, KMNIST and EMNIST.

A file is `00 00 type dims`, then each dimension as a big-endian uint32, then the values; type 08 is uint8. A dataset is
four files, named like `train-images-idx3-ubyte.gz`. The names of EMNIST's files start with its own, and its images are
transposed.
"""

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from taildiff.data.formats.importer import Importer, Names
from taildiff.data.images import MOST_PIXELS
from taildiff.data.source import Found, Source, check_place, classes_by_value, fingerprint_of, pictures_of
from taildiff.errors import DataError
from taildiff.io.paths import reason, regular

_NAME = re.compile(r"(?P<lead>.*?)(?P<part>train|t10k|test)[-.](?P<what>images|labels)[-.]idx[13][-.]ubyte(\.gz)?")
_LAYOUT = "train-images-idx3-ubyte, train-labels-idx1-ubyte and the same two for t10k or test, each may end in .gz"
_DAMAGE = (OSError, EOFError, zlib.error)
_MOST_LABELS = 2**28
_BLOCK, _BLOCK_BYTES = 256, 2**25  # of images read at once


@dataclass(frozen=True)
class _Part:
    images: Path
    labels: Path
    test: bool


def find_idx(place: Path, names: Names = None) -> Found:
    """Images in a folder of IDX files; `place` is the file of training images if the folder has several datasets.

    `names` is a file of class names, one per line, by label. `DataError`: files missing, malformed or inconsistent.
    """
    check_place(place)
    folder = place if place.is_dir() else place.parent
    parts = _parts(place)
    files = [path for part in parts for path in (part.images, part.labels)] + ([names] if names else [])
    shapes = {part.images: _shape(part.images, 3) for part in parts}
    sizes = {shape[1:] for shape in shapes.values()}
    if len(sizes) > 1:
        raise DataError(f"{folder}: training and test images have different sizes: {sorted(sizes)}")
    return Found(
        source=str(place.resolve()),
        name=_title(place, parts[0].images),
        fingerprint=fingerprint_of([path for path in files if path.exists()]),
        roots=(folder,),
        read=lambda: _read(folder, parts, names),
        size=min(sizes.pop()),
        options="names=" + str(names.resolve()) if names else "",
    )


def _parts(place: Path) -> list[_Part]:
    folder = place if place.is_dir() else place.parent
    matches = {match: path for path in sorted(folder.iterdir()) if (match := _NAME.fullmatch(path.name))}
    leads = sorted({match["lead"] for match in matches})
    if place.is_file():
        match = _NAME.fullmatch(place.name)
        if match is None:
            raise DataError(f"{place} is not named like an IDX file; expected: {_LAYOUT}")
        leads = [match["lead"]]
    if len(leads) > 1:
        listed = ", ".join(f"'{lead}'" for lead in leads)
        raise DataError(f"{folder} contains several datasets ({listed}); give the file of training images of one")
    files: dict[tuple[bool, str], Path] = {}
    for match, path in matches.items():
        if match["lead"] == (leads or [""])[0]:
            files.setdefault((match["part"] != "train", match["what"]), path)  # x before x.gz
    for key in ((False, "images"), (False, "labels"), *([(True, "labels")] if (True, "images") in files else [])):
        if key not in files:
            part = "test" if key[0] else "training"
            raise DataError(f"{folder} has no file of {part} {key[1]}; expected: {_LAYOUT}")
    parts = [_Part(files[False, "images"], files[False, "labels"], False)]
    if (True, "images") in files:
        parts.append(_Part(files[True, "images"], files[True, "labels"], True))
    return parts


def _title(place: Path, images: Path) -> str:
    match = _NAME.fullmatch(images.name)
    lead = match["lead"].strip("-._") if match else ""
    return lead or (place if place.is_dir() else place.parent).resolve().name


def _read(folder: Path, parts: list[_Part], names: Path | None) -> Source:
    columns = [_labels(part) for part in parts]
    values = np.concatenate(columns).astype(np.int64)
    counts = [len(column) for column in columns]
    test = np.repeat([part.test for part in parts], counts)
    class_names, labels = classes_by_value(values, names)
    transposed = "emnist" in parts[0].images.name.lower()
    pictures = pictures_of(counts, lambda k, start: _images(parts[k].images, start, transposed))
    note = ("EMNIST stores transposed images; they were put upright",) if transposed else ()
    return Source(class_names, labels, test, pictures, channels=1, notes=note)


def _labels(part: _Part) -> np.ndarray:
    """uint8 (n,), one per image."""
    (count,) = _shape(part.labels, 1)
    images = _shape(part.images, 3)[0]
    if count != images:
        raise DataError(f"{part.labels} has {count:,} labels, {part.images.name} {images:,} images")
    if count > _MOST_LABELS:
        raise DataError(f"{part.labels} claims to hold {count:,} labels; it is damaged")
    with _opened(part.labels) as file:
        file.read(8)
        return np.frombuffer(_exactly(file, count, part.labels, last=True), np.uint8)


def _images(path: Path, start: int, transposed: bool) -> Iterator[np.ndarray]:
    count, height, width = _shape(path, 3)
    with _opened(path) as file:
        try:
            file.seek(16 + start * height * width)
        except _DAMAGE as error:
            raise _damaged(path, error) from None
        at_once = max(1, min(_BLOCK, _BLOCK_BYTES // (height * width)))
        for first in range(start, count, at_once):
            n = min(at_once, count - first)
            block = np.frombuffer(_exactly(file, n * height * width, path, first + n == count), np.uint8)
            images = block.reshape(n, height, width)
            yield from images.transpose(0, 2, 1) if transposed else images


def _shape(path: Path, dims: int) -> tuple[int, ...]:
    with _opened(path) as file:
        head = _exactly(file, 4 + 4 * dims, path)
    if head[:2] != b"\0\0":
        raise DataError(f"{path} is not an IDX file (it starts with {head[:4].hex(' ')})")
    if head[2] != 8:
        raise DataError(f"{path} has values of IDX type {head[2]:02x}; convert them to 08 (uint8)")
    if head[3] != dims:
        raise DataError(f"{path} has {head[3]} dimensions instead of {dims}")
    shape = struct.unpack(f">{dims}I", head[4:])
    if 0 in shape or math.prod(shape[1:]) > MOST_PIXELS:
        raise DataError(f"{path} claims the shape {shape}; it is damaged")
    return shape


def _opened(path: Path) -> BinaryIO:
    try:
        return cast(BinaryIO, gzip.open(regular(path))) if path.suffix == ".gz" else regular(path).open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}") from None


def _exactly(file: BinaryIO, size: int, path: Path, last: bool = False) -> bytes:
    """The next `size` bytes; with `last`, they must be the end of the file."""
    try:
        data = file.read(size)
        too_long = last and len(file.read(1)) > 0
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    if len(data) < size:
        raise DataError(f"{path} is cut off; download it again")
    if too_long:
        raise DataError(f"{path} is longer than its header says; download it again")
    return data


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is damaged ({error}); download it again")


IMPORTERS = (Importer("mnist", "folder of IDX files", "MNIST, Fashion-MNIST, KMNIST or EMNIST as published", find_idx),)
