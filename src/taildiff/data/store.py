"""A store: all images of a dataset as one memory-mapped array, written once and read by everything else.

    store.json   what it is            labels.npy   int64 (N,)
    images.npy   uint8 (N, H, W, C)    test.npy     bool (N,), True = held out
    cache/       what others derive from it

The whole source is kept, so that a long tail is a cut of a run and the balanced reference is never lost.
"""

import hashlib
import os
import shlex
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, BinaryIO, Self

import numpy as np
from pydantic import Field

from taildiff.data.swap import partial, put_back, replace, sweep
from taildiff.errors import DataError, SpecError
from taildiff.runs import RunDir, write_json
from taildiff.spec import DataFacts, Spec, parse, read_json

FORMAT = 1
Size = Annotated[int, Field(ge=1)]


class SourceMeta(Spec):
    """Where a store comes from; equal for two preparations that would give the same images."""

    source: str
    """A path, or the name of something that ships with a package."""
    options: str = ""
    """Everything else that decides the images, such as their size."""
    fingerprint: str = ""
    """Of the source's files (names, sizes, times); a changed source gives another one."""


class StoreMeta(Spec):
    """store.json."""

    format: int = FORMAT
    name: str
    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    height: Size
    width: Size
    channels: Size
    count: Size
    """Images N."""
    source: SourceMeta
    skipped: int = 0
    """Broken images that were left out."""
    skipped_names: tuple[str, ...] = ()
    """The first of them."""
    hash: str
    """sha256 over shape, images, labels, test column and class names."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return self.count, self.height, self.width, self.channels


@dataclass(frozen=True, eq=False)
class Store:
    """A prepared dataset, opened for reading."""

    root: Path
    meta: StoreMeta
    images: np.ndarray
    """uint8 (N, H, W, C), memory-mapped."""
    labels: np.ndarray
    """int64 (N,), 0..C-1."""
    test: np.ndarray
    """bool (N,); True = held out."""

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open and check a store; `DataError` says what is missing or damaged."""
        root = Path(path)
        put_back(root)
        meta = _read_meta(root)
        store = cls(
            root=root,
            meta=meta,
            images=_read_array(root / "images.npy", np.dtype(np.uint8), meta.shape, mapped=True),
            labels=_read_array(root / "labels.npy", np.dtype(np.int64), (meta.count,)),
            test=_read_array(root / "test.npy", np.dtype(np.bool_), (meta.count,)),
        )
        classes = len(meta.class_names)
        if store.labels.min() < 0 or store.labels.max() >= classes:
            raise DataError(
                f"{root / 'labels.npy'}: labels {store.labels.min()}..{store.labels.max()}, "
                f"but there are {classes} classes (0..{classes - 1}); {_AGAIN}"
            )
        return store

    @property
    def train_index(self) -> np.ndarray:
        """Positions of the images for training, ascending."""
        return np.flatnonzero(~self.test)

    @property
    def test_index(self) -> np.ndarray:
        """Positions of the held-out images, ascending."""
        return np.flatnonzero(self.test)

    @property
    def cache_dir(self) -> Path:
        """Where to keep what is derived from this store; not made here."""
        return self.root / "cache"

    @property
    def facts(self) -> DataFacts:
        """What a model needs to know; counts are of the training images."""
        meta = self.meta
        counts = np.bincount(self.labels[~self.test], minlength=len(meta.class_names))
        return DataFacts(
            height=meta.height,
            width=meta.width,
            channels=meta.channels,
            class_names=meta.class_names,
            counts=tuple(counts.tolist()),
            name=meta.name,
        )


_AGAIN = "prepare it again: taildiff data prepare … --overwrite"


def is_store(path: Path) -> bool:
    """Whether there is a store.json; says nothing about its health."""
    return (path / "store.json").is_file()


def refuse_run(path: Path) -> None:
    """`DataError` where someone names a run in the place of data."""
    run = RunDir(path)
    if run.exists():
        data = shlex.quote(run.info().store.path)
        raise DataError(
            f"{path} is a run, not data. What it was trained on: taildiff data show {data}. "
            f"What came of it: taildiff report {shlex.quote(str(path))}"
        )


def _read_meta(root: Path) -> StoreMeta:
    if not root.exists():
        raise DataError(f"{root} does not exist. Make a store: taildiff data prepare mnist5k --out {root}")
    refuse_run(root)
    if not root.is_dir():
        raise DataError(f"{root} is a file; a store is a folder, such as taildiff data prepare … --out STORE makes")
    if not is_store(root):
        raise DataError(
            f"{root} is not a store (no store.json there). "
            f"From a folder of images: taildiff data prepare folder {root} --out STORE"
        )
    path = root / "store.json"
    try:
        values = read_json(path)
        version = values.get("format") if isinstance(values, dict) else None
        if version != FORMAT:
            raise DataError(f"{path}: format {version!r}, this version reads {FORMAT}; {_AGAIN}")
        return parse(StoreMeta, values, source=str(path))
    except SpecError as error:
        raise DataError(f"{error}; {_AGAIN}") from None


def _read_array(path: Path, dtype: np.dtype, shape: tuple[int, ...], mapped: bool = False) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {_AGAIN}") from None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is damaged or cut off ({error}); {_AGAIN}") from None
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
        raise DataError(f"{path} holds {found}, store.json says {dtype} {shape}; {_AGAIN}")
    return array


class StoreWriter:
    """Writes a store in bounded memory into a temporary folder beside `out`, which `close` renames.

        with StoreWriter(out, name, class_names, (H, W, C), source) as writer:
            writer.append(images, labels, test)     # as often as needed; the order is kept
            store = writer.close(skipped)

    Without `close` (an error, Ctrl-C) nothing is left behind, and what was at `out` stays.
    """

    def __init__(
        self, out: Path, name: str, class_names: tuple[str, ...], shape: tuple[int, int, int], source: SourceMeta
    ):
        self.out, self.name, self.class_names, self.shape, self.source = out, name, class_names, shape, source
        self.partial = partial(out)
        self._labels: list[np.ndarray] = []
        self._test: list[np.ndarray] = []
        self._count = 0
        self._hash = hashlib.sha256(repr(shape).encode())

    def __enter__(self) -> Self:
        try:
            sweep(self.out)
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)
            self._file: BinaryIO = (self.partial / "images.npy").open("wb")
        except OSError as error:
            raise DataError(f"cannot write beside {self.out}: {error}") from None
        self._header = self._write_header()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(OSError):  # a full disk says so again when the last bytes are flushed
            self._file.close()
        shutil.rmtree(self.partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise DataError(f"cannot write {self.out}: {error}") from error

    def append(self, images: np.ndarray, labels: np.ndarray, test: np.ndarray) -> None:
        """Add uint8 (n, H, W, C), int (n,) and bool (n,)."""
        assert images.dtype == np.uint8
        assert images.shape[1:] == self.shape
        assert len(images) == len(labels) == len(test)
        data = np.ascontiguousarray(images).tobytes()
        self._file.write(data)
        self._hash.update(data)
        self._labels.append(labels.astype(np.int64))
        self._test.append(test.astype(np.bool_))
        self._count += len(images)

    def close(self, skipped: tuple[str, ...] = (), keep_names: int = 20) -> Store:
        """Finish, put the store in the place of what was at `out`, and open it."""
        assert self._count
        labels, test = np.concatenate(self._labels), np.concatenate(self._test)
        self._file.seek(0)
        assert self._write_header() == self._header  # numpy pads the header so that the first axis can grow
        _fsync_close(self._file)
        for name, column in (("labels", labels), ("test", test)):
            self._hash.update(column.tobytes())
            with (self.partial / f"{name}.npy").open("wb") as file:
                np.save(file, column)
                _fsync_close(file)
        self._hash.update("\0".join(self.class_names).encode())
        height, width, channels = self.shape
        meta = StoreMeta(
            name=self.name,
            class_names=self.class_names,
            height=height,
            width=width,
            channels=channels,
            count=self._count,
            source=self.source,
            skipped=len(skipped),
            skipped_names=skipped[:keep_names],
            hash=self._hash.hexdigest(),
        )
        write_json(self.partial / "store.json", meta.model_dump(mode="json"))
        replace(self.partial, self.out.absolute())
        return Store.open(self.out)

    def _write_header(self) -> int:
        layout = {"descr": "|u1", "fortran_order": False, "shape": (self._count, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, layout)
        return self._file.tell()


def _fsync_close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


def prepared_before(out: Path, source: SourceMeta, overwrite: bool) -> Store | None:
    """The store at `out` if it already is what would be made; None if it is to be made; else `DataError`.

    With `overwrite` an existing store is to be made anew, but nothing that is not a store is ever replaced.
    """
    put_back(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not is_store(out):
        raise DataError(f"{out} exists and is not a store, so it is left alone; choose another --out")
    if overwrite:
        return None
    store = Store.open(out)
    have = store.meta.source
    if have == source:
        return store
    if (have.source, have.options) == (source.source, source.options):
        raise DataError(f"{out} is an older state of {source.source}, which has changed since; give --overwrite")
    raise DataError(
        f"{out} already holds {have.source} ({have.options}), not {source.source} ({source.options}); "
        "choose another --out, or give --overwrite"
    )
