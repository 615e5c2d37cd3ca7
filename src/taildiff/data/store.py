"""A store: all images of a dataset as one memory-mapped array, written once and read by everything else.

    store.json   what it is            labels.npy   int64 (N,)
    images.npy   uint8 (N, H, W, C)    test.npy     bool (N,), True = held out
    cache/       what others derive from it             names.txt    where each image comes from, if it was a file

The whole source is kept, so that a long tail is a cut of a run and the balanced reference is never lost.
"""

import hashlib
import math
import os
import shutil
import zlib
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from taildiff.data.journal import NAME, Header, Journal, Shard, read_journal
from taildiff.data.store_files import (
    AGAIN,
    SourceMeta,
    StoreMeta,
    is_store,
    read_array,
    read_meta,
    read_names,
    refuse_run,
    write_names,
)
from taildiff.data.swap import lasting_partial, only_one, put_back, replace, sweep
from taildiff.errors import DataError
from taildiff.runs import write_json
from taildiff.spec import DataFacts

__all__ = ["SourceMeta", "Store", "StoreMeta", "StoreWriter", "is_store", "prepared_before", "refuse_run"]


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
        meta = read_meta(root)
        store = cls(
            root=root,
            meta=meta,
            images=read_array(root / "images.npy", np.dtype(np.uint8), meta.shape, mapped=True),
            labels=read_array(root / "labels.npy", np.dtype(np.int64), (meta.count,)),
            test=read_array(root / "test.npy", np.dtype(np.bool_), (meta.count,)),
        )
        classes = len(meta.class_names)
        if store.labels.min() < 0 or store.labels.max() >= classes:
            raise DataError(
                f"{root / 'labels.npy'}: labels {store.labels.min()}..{store.labels.max()}, "
                f"but there are {classes} classes (0..{classes - 1}); {AGAIN}"
            )
        return store

    @cached_property
    def names(self) -> tuple[str, ...] | None:
        """Where each image comes from, relative to the source; None for sources that are no files of images."""
        return read_names(self.root / "names.txt", self.meta.count) if self.meta.names else None

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


class StoreWriter:
    """Writes a store in bounded memory into `.NAME.partial` beside `out`, which `close` renames.

        with StoreWriter(out, name, class_names, (H, W, C), source) as writer:
            writer.append(images, labels, test)     # as often as needed; the order is kept
            store = writer.close(skipped)

    Without `close` nothing is left behind, and what was at `out` stays. One that calls `commit` now and then may be
    killed or stopped by Ctrl-C: `shards` of the next one of the same source and shape says what is done, and `restore`
    takes it over. `DataError` while another process writes the same store.
    """

    def __init__(
        self, out: Path, name: str, class_names: tuple[str, ...], shape: tuple[int, int, int], source: SourceMeta
    ):
        self.out, self.name, self.class_names, self.shape, self.source = out, name, class_names, shape, source
        self.partial = lasting_partial(out)
        self.shards: list[Shard] = []
        self._labels: list[np.ndarray] = []
        self._test: list[np.ndarray] = []
        self._names: list[str] = []
        self._count = self._crc = 0
        self._hash = hashlib.sha256(repr(shape).encode())
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
        """Open images.npy behind the last shard that is whole."""
        header = Header(source=self.source, shape=self.shape)
        found, shards = read_journal(self.partial)
        path = self.partial / "images.npy"
        if found != header or not path.is_file():
            shards = []
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir()
            path.touch()
        self._file: BinaryIO = path.open("r+b")
        undo.callback(_close_quietly, self._file)
        self._header = end = self._write_header()
        for shard in shards:
            data = self._file.read(shard.images * math.prod(self.shape))
            if zlib.crc32(data) != shard.crc:  # the machine stopped before all was on the disk
                break
            self._hash.update(data)
            self.shards.append(shard)
            end += len(data)
        self._file.seek(end)
        self._file.truncate()
        self._journal = Journal(self.partial, header, self.shards)
        undo.callback(self._journal.close)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._resumable = isinstance(error, KeyboardInterrupt) and bool(self.shards)
        self._open.close()
        if isinstance(error, OSError):
            raise DataError(f"cannot write {self.out}: {error}") from error

    def _remove_unless_resumable(self) -> None:
        if not self._resumable:
            shutil.rmtree(self.partial, ignore_errors=True)

    def restore(self, labels: np.ndarray, test: np.ndarray, names: Sequence[str] = ()) -> None:
        """Say what the images of `shards` are; before the first `append`."""
        assert self._count == 0
        assert len(labels) == sum(shard.images for shard in self.shards)
        self._add_columns(labels, test, names)

    def append(self, images: np.ndarray, labels: np.ndarray, test: np.ndarray, names: Sequence[str] = ()) -> None:
        """Add uint8 (n, H, W, C), int (n,) and bool (n,), and where they come from, for all images or none."""
        assert images.dtype == np.uint8
        assert images.shape[1:] == self.shape
        assert len(images) == len(labels)
        data = np.ascontiguousarray(images).tobytes()
        self._file.write(data)
        self._hash.update(data)
        self._crc = zlib.crc32(data, self._crc)
        self._add_columns(labels, test, names)

    def _add_columns(self, labels: np.ndarray, test: np.ndarray, names: Sequence[str]) -> None:
        assert len(labels) == len(test)
        self._labels.append(labels.astype(np.int64))
        self._test.append(test.astype(np.bool_))
        self._names += names
        self._count += len(labels)

    def commit(self, items: int, skipped: tuple[tuple[int, str], ...] = (), animated: int = 0) -> None:
        """Make sure that what was appended since the last time, out of `items` items, survives this process."""
        self._file.flush()
        os.fsync(self._file.fileno())
        images = self._count - sum(shard.images for shard in self.shards)
        shard = Shard(items=items, images=images, crc=self._crc, skipped=skipped, animated=animated)
        self._journal.add(shard)
        self.shards.append(shard)
        self._crc = 0

    def close(self, skipped: tuple[str, ...] = (), notes: tuple[str, ...] = (), keep_names: int = 20) -> Store:
        """Finish, put the store in the place of what was at `out`, and open it."""
        assert self._count
        assert len(self._names) in (0, self._count)
        labels, test = np.concatenate(self._labels), np.concatenate(self._test)
        self._file.seek(0)
        assert self._write_header() == self._header  # numpy pads the header so that the first axis can grow
        _fsync_close(self._file)
        for name, column in (("labels", labels), ("test", test)):
            self._hash.update(column.tobytes())
            with (self.partial / f"{name}.npy").open("wb") as file:
                np.save(file, column)
                _fsync_close(file)
        if self._names:
            write_names(self.partial / "names.txt", self._names)
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
            notes=notes,
            names=bool(self._names),
            hash=self._hash.hexdigest(),
        )
        write_json(self.partial / "store.json", meta.model_dump(mode="json"))
        (self.partial / NAME).unlink()
        replace(self.partial, self.out.absolute())
        return Store.open(self.out)

    def _write_header(self) -> int:
        layout = {"descr": "|u1", "fortran_order": False, "shape": (self._count, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, layout)
        return self._file.tell()


def _close_quietly(file: BinaryIO) -> None:
    with suppress(OSError):  # a full disk says so again when the last bytes are flushed
        file.close()


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
