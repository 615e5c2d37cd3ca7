"""CIFAR-10 and CIFAR-100 as published: the python or the binary version, as a folder or as the .tar.gz.

python   pickled dicts: `data` uint8 (n, 3072), red, green, blue planes; `labels`, or `fine_labels` and `coarse_labels`
binary   records of 1 label byte (CIFAR-100: coarse, then fine) and 3,072 pixels; class names in text files
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, Literal, cast

import numpy as np

from taildiff.data.formats.importer import Importer, Option
from taildiff.data.formats.pickles import PickleRefusedError, read_pickle
from taildiff.data.source import Found, Source, check_place, fingerprint_of, pictures_of
from taildiff.errors import DataError
from taildiff.io.paths import reason, regular, whole

Labels = Annotated[Literal["fine", "coarse"], Option("The 100 fine classes, or the 20 coarse ones.", "fine|coarse")]
_PIXELS = 3 * 32 * 32
_MOST_BYTES = 2**28  # per file; the largest published one has 160 MB
_MOST_UNPACKED = 2**30  # per archive; the largest published one has 187 MB
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


@dataclass(frozen=True)
class _Version:
    """One of the four published packages."""

    train: tuple[str, ...]
    test: str
    names: tuple[str, ...]
    """Files of class names: one for the python versions, text files for the binary ones."""
    python: bool
    folder: str

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, self.test, *self.names)


_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))
_BINS = tuple(f"{name}.bin" for name in _BATCHES)
_CIFAR10 = (
    _Version(_BATCHES, "test_batch", ("batches.meta",), True, "cifar-10-batches-py"),
    _Version(_BINS, "test_batch.bin", ("batches.meta.txt",), False, "cifar-10-batches-bin"),
)
_TEXTS = ("fine_label_names.txt", "coarse_label_names.txt")
_CIFAR100 = (
    _Version(("train",), "test", ("meta",), True, "cifar-100-python"),
    _Version(("train.bin",), "test.bin", _TEXTS, False, "cifar-100-binary"),
)


def find_cifar10(place: Path) -> Found:
    """CIFAR-10 in the folder that the archive unpacks to, in the one that holds it, or in the archive itself."""
    return _find(place, 10, _CIFAR10, "fine")


def find_cifar100(place: Path, labels: Labels = "fine") -> Found:
    """CIFAR-100 in the same places, with its 100 fine classes or its 20 coarse ones."""
    return _find(place, 100, _CIFAR100, labels)


IMPORTERS = (
    Importer("cifar10", "folder or .tar.gz", "CIFAR-10, python or binary version", find_cifar10),
    Importer("cifar100", "folder or .tar.gz", "CIFAR-100, python or binary version", find_cifar100),
)


def _find(place: Path, classes: int, versions: tuple[_Version, ...], labels: str) -> Found:
    check_place(place)
    if place.is_dir():
        folder, version = _folder(place, versions, classes)
        files = [folder / name for name in version.files]
        mark, roots = fingerprint_of(files), (folder,)
    else:
        version = None
        files, mark, roots = [place], fingerprint_of([place]), (place,)

    def read() -> Source:
        if version is not None:
            return _source(place, {path.name: _read_file(path) for path in files}, version, labels)
        content = _unpack(place, {name for version in versions for name in version.files})
        return _source(place, content, _which(place, content, versions, classes), labels)

    return Found(str(place.resolve()), f"cifar{classes}", mark, roots, read, 32, f"labels={labels}")


def _folder(place: Path, versions: tuple[_Version, ...], classes: int) -> tuple[Path, _Version]:
    closest: tuple[int, list[str], Path] = (0, [], place)
    for version in versions:
        for folder in (place, place / version.folder):
            missing = [name for name in version.files if not (folder / name).is_file()]
            if not missing:
                return folder, version
            closest = max(closest, (len(version.files) - len(missing), missing, folder), key=lambda entry: entry[0])
    count, missing, folder = closest
    if count > 1:
        raise DataError(f"{folder} lacks {', '.join(missing)}; unpack the archive again")
    wanted = " or ".join(f"{version.folder} ({', '.join(version.files[:2])} …)" for version in versions)
    raise DataError(f"{place} contains no CIFAR-{classes} (python or binary version); expected: {wanted}")


def _which(place: Path, content: dict[str, bytes], versions: tuple[_Version, ...], classes: int) -> _Version:
    for version in versions:
        if all(name in content for name in version.files):
            return version
    raise DataError(f"{place} is not the archive of CIFAR-{classes}; it lacks files such as {versions[0].files[0]}")


def _read_file(path: Path) -> bytes:
    try:
        return whole(path, _MOST_BYTES).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}") from None


def _decompressed(place: Path) -> IO[bytes]:
    with regular(place).open("rb") as file:
        opener = _OPENERS.get(file.read(2))
    return cast(IO[bytes], opener(place)) if opener else place.open("rb")


@dataclass(frozen=True)
class _Bounded:
    """An archive in reading, up to `_MOST_UNPACKED` bytes, so that a small one cannot fill the memory or take hours."""

    file: IO[bytes]

    def read(self, size: int = -1) -> bytes:
        """At most `_MOST_BYTES` at once."""
        if not 0 <= size <= _MOST_BYTES:
            raise ValueError(f"it announces an entry of {size:,} bytes")
        self._check(self.file.tell() + size)
        return self.file.read(size)

    def seek(self, position: int) -> int:
        """From the beginning."""
        self._check(position)
        return self.file.seek(position)

    def tell(self) -> int:
        """Bytes from the beginning."""
        return self.file.tell()

    def _check(self, position: int) -> None:
        if position > _MOST_UNPACKED:
            raise ValueError(f"it unpacks to more than {_MOST_UNPACKED:,} bytes")


def _unpack(place: Path, wanted: set[str]) -> dict[str, bytes]:
    """The files of an archive by name, in memory; folders are ignored, and nothing is written."""
    content: dict[str, bytes] = {}
    try:
        with _decompressed(place) as file, tarfile.open(fileobj=_Bounded(file), mode="r:") as archive:  # type: ignore
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if name not in wanted or not member.isfile():
                    continue
                if member.size > _MOST_BYTES or name in content:
                    raise DataError(f"{place}: {member.name} is too large or occurs twice; download it again")
                content[name] = cast(IO[bytes], archive.extractfile(member)).read()
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{place} is damaged or not a .tar.gz ({reason(error)}); download it again") from None
    return content


def _source(place: Path, content: dict[str, bytes], version: _Version, labels: str) -> Source:
    coarse = labels == "coarse"
    read = _python if version.python else _binary
    parts = [read(place, name, content[name], coarse) for name in (*version.train, version.test)]
    counts = [len(values) for _, values in parts]
    test = np.repeat(np.arange(len(parts)) == len(parts) - 1, counts)
    names = _names_python(place, content, version, coarse) if version.python else _names_text(content, version, coarse)
    pictures = pictures_of(counts, lambda k, start: parts[k][0][start:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    complete = (sum(counts[:-1]), counts[-1]) == (50_000, 10_000)
    note = () if complete else (f"{sum(counts):,} images; the published CIFAR has 50,000 and 10,000",)
    values = np.concatenate([values for _, values in parts])
    return Source(names, values, test, pictures, channels=3, strict_notes=note)


def _python(place: Path, name: str, data: bytes, coarse: bool) -> tuple[np.ndarray, np.ndarray]:
    batch = _dict(place, name, data)
    pixels = batch.get("data")
    key = "labels" if "labels" in batch else "coarse_labels" if coarse else "fine_labels"
    labels = batch.get(key)
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
        raise DataError(f"{place}: {name} has no `data` with 3,072 uint8 values per image")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise DataError(f"{place}: {name} has no list of `{key}`")
    if len(labels) != len(pixels):
        raise DataError(f"{place}: {name} has {len(pixels):,} images and {len(labels):,} labels")
    return pixels, np.array(labels, np.int64)


def _names_python(place: Path, content: dict[str, bytes], version: _Version, coarse: bool) -> tuple[str, ...]:
    meta = _dict(place, version.names[0], content[version.names[0]])
    key = "label_names" if "label_names" in meta else "coarse_label_names" if coarse else "fine_label_names"
    names = meta.get(key)
    if not isinstance(names, list) or not all(isinstance(name, str | bytes) for name in names):
        raise DataError(f"{place}: {version.names[0]} has no list of `{key}`")
    return tuple(name.decode("latin-1") if isinstance(name, bytes) else name for name in names)


def _dict(place: Path, name: str, data: bytes) -> dict[str, Any]:
    try:
        value = read_pickle(io.BytesIO(data))
    except PickleRefusedError as error:
        raise DataError(f"{place}: {name} is not a file of CIFAR: {error}. Nothing in it was executed") from None
    if not isinstance(value, dict):
        raise DataError(f"{place}: {name} is not a file of CIFAR: it contains no dict")
    return value


def _binary(place: Path, name: str, data: bytes, coarse: bool) -> tuple[np.ndarray, np.ndarray]:
    label_bytes = 1 if "batch" in name else 2  # CIFAR-100 has a coarse and a fine label
    size = label_bytes + _PIXELS
    if not data or len(data) % size:
        raise DataError(f"{place}: {name} has {len(data):,} bytes, not a multiple of {size:,}; download it again")
    table = np.frombuffer(data, np.uint8).reshape(-1, size)
    return table[:, label_bytes:], table[:, 0 if coarse else label_bytes - 1].astype(np.int64)


def _names_text(content: dict[str, bytes], version: _Version, coarse: bool) -> tuple[str, ...]:
    text = content[version.names[-1 if coarse else 0]].decode("latin-1")
    return tuple(line.strip() for line in text.splitlines() if line.strip())
