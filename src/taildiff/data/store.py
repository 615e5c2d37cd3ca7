"""A store: all images of a dataset as one memory-mapped array, written once and read by everything else.

    store.json   metadata              labels.npy   int64 (N,)
    images.npy   uint8 (N, H, W, C)    test.npy     bool (N,), True = held out
    cache/       derived files         names.txt    where each image comes from, if it was a file

The whole source is kept: the long tail is cut by the run, so that the balanced reference is never lost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import numpy as np

from taildiff.data.store_files import (
    STORE,
    Kind,
    SourceMeta,
    StoreMeta,
    check_recorded,
    is_store,
    read_array,
    read_meta,
    read_names,
    refuse_run,
    write_names,
)
from taildiff.errors import DataError, TaildiffError
from taildiff.io.atomic import write_json
from taildiff.io.resumable_array import Header, ResumableArray
from taildiff.io.staging import put_back
from taildiff.spec import DataFacts
from taildiff.text import one_line

__all__ = ["Columns", "SourceMeta", "Store", "StoreMeta", "StoreWriter", "is_store", "prepared_before", "refuse_run"]


@dataclass(frozen=True, eq=False, repr=False)
class Columns:
    """The columns that a store and its latents share: everything that splits, class laws and groups need."""

    kind: ClassVar[Kind] = STORE
    root: Path
    meta: StoreMeta
    """Of the images; latents keep the one of their store, so that both give the same splits."""
    labels: np.ndarray
    """int64 (N,), 0..C-1."""
    test: np.ndarray
    """bool (N,); True = held out."""

    def __repr__(self) -> str:
        meta, held_out = self.meta, int(self.test.sum())
        counts = f"{meta.count - held_out:,} training and {held_out:,} held-out images"
        kind = f"{meta.height}x{meta.width}, {'grey' if meta.channels == 1 else 'colour'}"
        what = f"{one_line(meta.name)}: {counts} of {len(meta.class_names)} classes, {kind}"
        return f"{type(self).__name__}({what}, at {one_line(self.root)})"

    @classmethod
    def open(cls, path: Path | str, recorded: str | None = None) -> Self:
        """Open and check the folder; `DataError` where something is wrong, or its hash is not `recorded`."""
        raise NotImplementedError

    @classmethod
    def at_recorded(cls, path: str, hash: str) -> Self:
        """The data at a path that a file such as run.json records; `DataError` unless they have the recorded hash.

        The file may come from another machine, so its path is only a hint: nothing but store.json or latents.json is
        read there before the hash agrees.
        """
        try:
            return cls.open(path, hash)
        except (TaildiffError, OSError) as error:  # another run, a path that is too long, a folder of somebody else
            raise DataError(str(error)) from None

    @cached_property
    def names(self) -> tuple[str, ...] | None:
        """Where each image comes from, relative to the source; None for sources that are not image files."""
        return read_names(self.root / "names.txt", self.meta.count, self.kind) if self.meta.names else None

    @property
    def train_index(self) -> np.ndarray:
        """Positions of the images for training, ascending."""
        return np.flatnonzero(~self.test)

    @property
    def test_index(self) -> np.ndarray:
        """Positions of the held-out images, ascending."""
        return np.flatnonzero(self.test)

    @property
    def facts(self) -> DataFacts:
        """What a model needs to know about the data; counts are of the training images."""
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


def read_columns(root: Path, meta: StoreMeta, kind: Kind = STORE) -> tuple[np.ndarray, np.ndarray]:
    """`labels` and `test` of `Columns`, checked; `DataError` names the file."""
    labels = read_array(root / "labels.npy", np.dtype(np.int64), (meta.count,), kind=kind)
    test = read_array(root / "test.npy", np.dtype(np.bool_), (meta.count,), kind=kind)
    classes = len(meta.class_names)
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{root / 'labels.npy'}: labels {labels.min()}..{labels.max()}, "
            f"but there are {classes} classes (0..{classes - 1}); {kind.again}"
        )
    return labels, test


@dataclass(frozen=True, eq=False, repr=False)
class Store(Columns):
    """A prepared dataset, opened for reading."""

    images: np.ndarray
    """uint8 (N, H, W, C), memory-mapped."""

    @classmethod
    def open(cls, path: Path | str, recorded: str | None = None) -> Self:
        """Open and check a store; `DataError` says what is missing or damaged, or that its hash is not `recorded`."""
        root = Path(path)
        meta = read_meta(root)
        check_recorded(root, cls.kind, meta.hash, recorded)
        images = read_array(root / "images.npy", np.dtype(np.uint8), meta.shape, mapped=True)
        labels, test = read_columns(root, meta)
        return cls(root=root, meta=meta, images=images, labels=labels, test=test)

    @property
    def cache_dir(self) -> Path:
        """The folder for files derived from this store; not made here."""
        return self.root / "cache"


class StoreWriter:
    """Writes a store in bounded memory into `.NAME.partial` beside `out`, which `close` renames.

        with StoreWriter(out, name, class_names, (H, W, C), source) as writer:
            writer.append(images, labels, test)     # as often as needed, in order
            store = writer.close(skipped)

    Without `close` nothing is left behind, and whatever is at `out` stays. After `writer.array.commit` the process may
    be killed or stopped by Ctrl-C: the next writer of the same source and shape finds the rows in `array.shards` and
    takes them over by `restore`. `DataError` while another process writes the same store.
    """

    def __init__(
        self,
        out: Path,
        name: str,
        class_names: tuple[str, ...],
        shape: tuple[int, int, int],
        source: SourceMeta,
        held: bool = False,
    ):
        """With `held`, the caller holds the lock of `out`."""
        self.name, self.class_names, self.shape, self.source = name, class_names, shape, source
        header = Header(key=rows_key(source, class_names), shape=shape)
        self.array = ResumableArray(out, "images.npy", np.dtype(np.uint8), header, held=held)
        self._labels: list[np.ndarray] = []
        self._test: list[np.ndarray] = []
        self._names: list[str] = []

    def __enter__(self) -> Self:
        self.array.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.array.__exit__(kind, error, tb)

    def restore(self, labels: np.ndarray, test: np.ndarray, names: Sequence[str] = ()) -> None:
        """Give the columns of the images in `array.shards`; before the first `append`."""
        assert not self._labels
        assert len(labels) == self.array.rows
        self._add_columns(labels, test, names)

    def append(self, images: np.ndarray, labels: np.ndarray, test: np.ndarray, names: Sequence[str] = ()) -> None:
        """Add uint8 (n, H, W, C), int (n,) and bool (n,), and for all images or none where they come from."""
        assert len(images) == len(labels)
        self.array.append(images)
        self._add_columns(labels, test, names)

    def _add_columns(self, labels: np.ndarray, test: np.ndarray, names: Sequence[str]) -> None:
        assert len(labels) == len(test)
        self._labels.append(labels.astype(np.int64))
        self._test.append(test.astype(np.bool_))
        self._names += names

    def close(
        self,
        skipped: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        keep_names: int = 20,
        hold_out: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    ) -> Store:
        """Finish the store, put it at `out`, and open it.

        `hold_out` decides the test column, bool (N,), from all images (N, H, W, C) and labels (N,).
        """
        array, count = self.array, self.array.rows
        assert count
        assert len(self._names) in (0, count)
        images, labels = array.finish(), np.concatenate(self._labels)
        array.add_array("labels.npy", labels)
        array.add_array("test.npy", hold_out(images, labels) if hold_out else np.concatenate(self._test))
        if self._names:
            write_names(array.partial / "names.txt", self._names)
        array.hash.update("\0".join(self.class_names).encode())
        height, width, channels = self.shape
        meta = StoreMeta(
            name=self.name,
            class_names=self.class_names,
            height=height,
            width=width,
            channels=channels,
            count=count,
            source=self.source,
            skipped=len(skipped),
            skipped_names=skipped[:keep_names],
            notes=notes,
            names=bool(self._names),
            hash=array.hash.hexdigest(),
        )
        write_json(array.partial / "store.json", meta.model_dump(mode="json"))
        array.publish()
        return Store.open(array.out)


def rows_key(source: SourceMeta, class_names: Sequence[str]) -> dict[str, str]:
    """What decides the rows of a store; an interrupted preparation with another order of classes is not resumed."""
    return source.model_dump() | {"classes": "\0".join(class_names)}


def prepared_before(out: Path, source: SourceMeta, overwrite: bool) -> Store | None:
    """The store at `out` if it equals the one to be made; None if it must be made; `DataError` for anything else.

    `overwrite` replaces a store, but never anything else.
    """
    put_back(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not is_store(out):
        raise DataError(f"{out} exists and is not a store; choose another --out")
    if overwrite:
        return None
    store = Store.open(out)
    have = store.meta.source
    if have == source:
        return store
    if (have.source, have.options) == (source.source, source.options):
        raise DataError(f"{out} was prepared before {source.source} changed; give --overwrite to prepare it again")
    raise DataError(
        f"{out} already holds {have.source} ({have.options}), not {source.source} ({source.options}); "
        "choose another --out, or give --overwrite to replace it"
    )
