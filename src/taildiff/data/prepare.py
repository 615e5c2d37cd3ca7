"""Prepare a store from a source of images in any format: decoded by threads, written shard by shard."""

import itertools
import os
import warnings
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from taildiff.data.holdout import HoldOut
from taildiff.data.images import BrokenImageError, Decoded, any_size, decode_frame, from_array, is_colour
from taildiff.data.source import Found, Raw, Source, check_classes
from taildiff.data.store import SourceMeta, Store, StoreWriter, prepared_before, rows_key
from taildiff.data.white import value_notes
from taildiff.errors import DataError
from taildiff.io.resumable_array import read_shards, remove_log
from taildiff.io.staging import check_space, keep_apart, one_writer, partial, sweep
from taildiff.log import Progress, silent

_CHUNK = 64  # images per task: large enough to make the pool cheap, small enough for a smooth progress bar


def prepare(
    found: Found,
    out: Path,
    size: int | None = None,
    strict: bool = False,
    workers: int | None = None,
    progress: Progress = silent,
    overwrite: bool = False,
    white: int | None = None,
    hold_out: HoldOut | None = None,
) -> Store:
    """A store of every image of a source, centre-cropped to a square and resized to `size` (default: the source's).

    One channel if all headers say grey, else three. Broken images are left out and named in the store's metadata; with
    `strict` the first one is a `DataError`, as is anything that leaves a class without images. The result does not
    depend on `workers` (threads; default: one per core). An interrupted preparation is resumed; one by another process
    is waited for.

    `white` is the pixel value that becomes 255, for images whose bits can hold it: 4095 for 12 bits in a file of 16.
    `hold_out` sets the test column of a source that holds out nothing itself.
    """
    size = found.size if size is None else size
    with one_writer(out):
        sweep(out)
        todo = plan(found, out, size, strict, overwrite, white, hold_out)
        if isinstance(todo, Store):
            remove_log(out)
            return todo
        source, shape = todo.source, (size, size, todo.channels)
        with _reading(), StoreWriter(out, found.name, source.class_names, shape, todo.origin, held=True) as writer:
            return _Work(source, writer, strict, white, hold_out).run(workers or os.cpu_count() or 1, progress)


@dataclass(frozen=True, eq=False)
class Plan:
    """A store to write."""

    origin: SourceMeta
    source: Source
    channels: int


def plan(
    found: Found,
    out: Path,
    size: int,
    strict: bool = False,
    overwrite: bool = False,
    white: int | None = None,
    hold_out: HoldOut | None = None,
) -> Store | Plan:
    """What `prepare` would write, or the store that it has written before.

    Raises what `prepare` would raise before it decodes an image; writes nothing.
    """
    check_size(size)
    if white is not None and white < 1:
        raise DataError(f"--white {white} must be at least 1: the pixel value that is white")
    keep_apart(out, found.roots)
    chosen = (f"size={size}", f"white={white}" if white else "", found.options, hold_out.options if hold_out else "")
    options = " ".join(filter(None, chosen))
    origin = SourceMeta(source=found.source, options=options, fingerprint=found.fingerprint)
    store = prepared_before(out, origin, overwrite)
    if store and strict and store.meta.skipped:
        raise DataError(
            f"{out} was prepared without {store.meta.skipped} broken images; repair them, or leave out --strict"
        )
    if store and not strict:
        return store
    source = found.read()
    if strict:
        _refuse_losses(found, source)
    if store:
        return store
    _check_hold_out(found, source, hold_out)
    check_classes(found.source, source.class_names, source.labels, source.test, source.fewest_classes)
    with _reading():
        channels = _channels(source, out, origin)
    check_space(out, "images.npy", len(source.labels) * size * size * channels)
    return Plan(origin, source, channels)


@contextmanager
def _reading() -> Iterator[None]:
    """Read images of any size, without Pillow's remarks on odd files; it raises what matters."""
    with warnings.catch_warnings(), any_size():
        warnings.simplefilter("ignore")
        yield


def _check_hold_out(found: Found, source: Source, hold_out: HoldOut | None) -> None:
    """`DataError` for a source that already has held-out images."""
    if hold_out and source.test.any():
        raise DataError(
            f"{found.source} already holds out {int(source.test.sum()):,} images; prepare it without --hold-out"
        )


def _refuse_losses(found: Found, source: Source) -> None:
    if source.strict_notes:
        raise DataError(f"{found.source}: {'. '.join(source.strict_notes)}, or prepare without --strict")


@dataclass(eq=False)
class _Work:
    """One preparation in progress."""

    source: Source
    writer: StoreWriter
    strict: bool
    white: int | None = None
    hold_out: HoldOut | None = None
    done: int = 0
    """Items decoded, broken ones included."""
    animated: int = 0
    peaks: dict[int, int] = field(default_factory=dict)
    """Bits per channel → the largest value of all such images."""
    skipped: dict[int, str] = field(default_factory=dict)
    """Position → reason."""

    def run(self, workers: int, progress: Progress) -> Store:
        """Decode the remaining items, in order."""
        self._restore()
        total = len(self.source.labels)
        progress("decode", self.done, total)
        (size, _, channels) = self.writer.shape
        with closing(_decode_all(self.source.pictures(self.done), size, channels, self.white, workers)) as chunks:
            for results in chunks:
                self._add(results)
                progress("decode", self.done, total)
                if self.writer.array.due:
                    self._commit()
        if self.done != total:
            raise DataError(f"{self.writer.source.source} holds {self.done:,} images, but {total:,} labels")
        self._check_lost()
        lines = tuple(self._line(position) for position in self.skipped)
        choose = self.hold_out.choose if self.hold_out else None
        return self.writer.close(lines, self._notes(), hold_out=choose)

    def _restore(self) -> None:
        """Continue behind the shards of an earlier process."""
        for shard in self.writer.array.shards:
            self.done, self.animated = shard.note["done"], shard.note["animated"]
            self.skipped |= dict(shard.note["skipped"])
            self.peaks = {int(bits): peak for bits, peak in shard.note["peaks"].items()}
        self.writer.restore(*self._columns([k for k in range(self.done) if k not in self.skipped]))

    def _commit(self) -> None:
        committed = sum(len(shard.note["skipped"]) for shard in self.writer.array.shards)
        skipped = list(itertools.islice(self.skipped.items(), committed, None))
        peaks = {str(bits): peak for bits, peak in self.peaks.items()}
        note = {"done": self.done, "animated": self.animated, "peaks": peaks, "skipped": skipped}
        self.writer.array.commit(note)

    def _add(self, results: list[Decoded | str]) -> None:
        good: list[int] = []
        images: list[np.ndarray] = []
        unscaled: list[int] = []
        for position, result in enumerate(results, self.done):
            if isinstance(result, Decoded):
                good.append(position)
                images.append(result.pixels)
                self.animated += result.animated
                if result.peak is None:
                    unscaled.append(len(images) - 1)
                else:
                    self._seen(result.bits, result.peak)
            else:
                self.skipped[position] = result
        self.done += len(results)
        if self.strict and self.skipped:
            first = self._line(next(iter(self.skipped)))
            raise DataError(f"broken image {first}. Repair or remove it, or prepare without --strict")
        if good:
            stack = np.stack(images)
            if unscaled:  # one maximum for all of them, as one for each would take a fifth of the time
                self._seen(8, int((stack if len(unscaled) == len(stack) else stack[unscaled]).max()))
            self.writer.append(stack, *self._columns(good))

    def _seen(self, bits: int, peak: int) -> None:
        self.peaks[bits] = max(self.peaks.get(bits, 0), peak)

    def _columns(self, positions: list[int]) -> tuple[np.ndarray, np.ndarray, list[str]]:
        source = self.source
        names = [source.names[k] for k in positions] if source.names is not None else []
        return source.labels[positions], source.test[positions], names

    def _check_lost(self) -> None:
        """`DataError` where all images of a class in a part (training, test) are broken."""
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
        ranges = value_notes(self.peaks, self.white)
        return (*self.source.remarks, *self.source.strict_notes, *([moving] if self.animated else []), *ranges)

    def _line(self, position: int) -> str:
        return f"{self.source.line(position)}: {self.skipped[position]}"


def _decode_all(
    pictures: Iterator[Raw], size: int, channels: int, white: int | None, workers: int
) -> Generator[list[Decoded | str], None, None]:
    """Chunks in order, each item an image or the reason why it is broken; only a few chunks are in memory at a time.

    Threads, because Pillow releases the interpreter lock and nothing has to be copied between processes.
    """

    def work(chunk: list[Raw]) -> list[Decoded | str]:
        return [_decode_one(raw, size, channels, white) for raw in chunk]

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


def _decode_one(raw: Raw, size: int, channels: int, white: int | None) -> Decoded | str:
    try:
        if isinstance(raw, np.ndarray):
            return from_array(raw, size, channels, white)
        return decode_frame(raw, size, channels, white)
    except BrokenImageError as error:
        return str(error).encode(errors="replace").decode()


def _channels(source: Source, out: Path, origin: SourceMeta) -> int:
    """1 or 3; an interrupted preparation of the same source has recorded it."""
    if source.channels is not None:
        return source.channels
    earlier, _ = read_shards(partial(out))
    if earlier is not None and earlier.key == rows_key(origin, source.class_names):
        return earlier.shape[2]
    return 3 if any(not isinstance(raw, np.ndarray) and is_colour(raw) for raw in source.pictures(0)) else 1


def check_size(size: int) -> None:
    """`DataError` for a size too small for any network."""
    if size < 4:
        raise DataError(f"size {size}: images need at least 4 pixels per side")
