"""Exact copies among images: of a store by their pixels, of files by their bytes."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taildiff.data.store import Store
from taildiff.io.atomic import write_atomic
from taildiff.io.npz import NpzError, read_arrays

_ROWS = 4096


def same_content(store: Store) -> NDArray[np.intp]:
    """A number per image (N,), equal for equal pixels."""
    return _numbered(digests(store))


def same_as(store: Store, other: Store, index: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which images of a store (N,) have the pixels of one of those at `index` of another store."""
    own, others = digests(store), digests(other)[index]
    both = _numbered(np.concatenate([own, others]))
    return np.isin(both[: len(own)], both[len(own) :])


def digests(store: Store) -> NDArray[np.uint64]:
    """Hashes (N, 2) of the pixels; cached in the store's folder, since it reads all images."""
    path = store.cache_dir / f"content-{store.meta.hash[:32]}.npz"
    found = _read(path, store.meta.count)
    if found is None:
        found = _digests(store.images)
        with suppress(OSError):  # an unwritable folder costs time next time and nothing else
            write_atomic(path, lambda file: np.savez(file, digests=found))
    return found


def content_of(images: NDArray[np.uint8]) -> NDArray[np.intp]:
    """A number per image (N,), equal for equal pixels."""
    return _numbered(_digests(images))


def same_files(files: Sequence[Path], limit: int) -> NDArray[np.intp] | None:
    """A number per file (N,), equal for equal bytes; None above `limit` bytes of files that share their size."""
    sizes = [file.stat().st_size for file in files]
    often = Counter(sizes)
    if sum(size for size in sizes if often[size] > 1) > limit:
        return None
    seen: dict[object, int] = {}
    return np.array(
        [
            seen.setdefault(blake2b(file.read_bytes()).digest() if often[size] > 1 else size, len(seen))
            for file, size in zip(files, sizes, strict=True)
        ]
    )


def copies(
    content: NDArray[np.intp],
    labels: NDArray[np.int64],
    test: NDArray[np.bool_],
    class_names: Sequence[str],
    names: Sequence[str] | None,
) -> tuple[str, ...]:
    """Sentences on exact copies within classes, between classes, and between training and held-out images."""
    lines = [
        line
        for part, kind in ((~test, "training"), (test, "held-out"))
        if (line := _within(content[part], labels[part], class_names, kind))
    ]
    pairs = np.unique(np.stack([content, labels]), axis=1)
    shared = np.flatnonzero(np.bincount(pairs[0]) > 1)
    if len(shared):
        mixed = np.flatnonzero(np.isin(content, shared))
        first = mixed[content[mixed] == content[mixed[0]]]
        shown = " = ".join(_name(names, class_names[int(labels[i])], i) for i in first[:3].tolist())
        lines.append(f"Exact copies in different classes: {_images(len(mixed))}, such as {shown}; correct the labels.")
    leaked = np.flatnonzero(test & np.isin(content, content[~test]))
    if len(leaked):
        shown = ", ".join(_name(names, class_names[int(labels[i])], i) for i in leaked[:5].tolist())
        more = f" and {len(leaked) - 5:,} more" if len(leaked) > 5 else ""
        what = "is a copy" if len(leaked) == 1 else "are copies"
        lines.append(f"Leaks: {_images(len(leaked), 'held-out ')} {what} of training images: {shown}{more}.")
    return tuple(lines) or ("No exact copies.",)


def _within(content: NDArray[np.intp], labels: NDArray[np.int64], class_names: Sequence[str], kind: str) -> str:
    counts = np.bincount(labels, minlength=len(class_names))
    different = np.bincount(np.unique(np.stack([content, labels]), axis=1)[1], minlength=len(class_names))
    extra = counts - different
    worst = [int(label) for label in np.argsort(-extra, kind="stable")[:5] if extra[label]]
    if not worst:
        return ""
    shown = ", ".join(f"{class_names[label]} {different[label]:,} different of {counts[label]:,}" for label in worst)
    more = " …" if np.count_nonzero(extra) > 5 else ""
    return f"Exact copies within a class: {_images(int(extra.sum()), f'{kind} ')} ({shown}{more})."


def _images(count: int, kind: str = "") -> str:
    return f"{count:,} {kind}image{'s' * (count != 1)}"


def _name(names: Sequence[str] | None, class_name: str, position: int) -> str:
    return names[position] if names else f"image {position:,} ({class_name})"


def _numbered(digests: NDArray[np.uint64]) -> NDArray[np.intp]:
    return np.unique(digests, axis=0, return_inverse=True)[1].reshape(-1)


def _digests(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    result = np.empty((len(images), 2), dtype=np.uint64)
    for start in range(0, len(images), _ROWS):
        for row, image in enumerate(images[start : start + _ROWS], start):
            result[row] = np.frombuffer(blake2b(image.tobytes(), digest_size=16).digest(), np.uint64)
    return result


def _read(path: Path, count: int) -> NDArray[np.uint64] | None:
    try:
        (digests,) = read_arrays(path, ("digests",), largest=None)
    except (OSError, NpzError):
        return None
    return digests if digests.shape == (count, 2) else None
