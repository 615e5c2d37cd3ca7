"""Exact copies among the images of a store."""

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
    """A number per image (N,), equal for equal pixels; cached in the store's folder, since it reads all images."""
    path = store.cache_dir / f"content-{store.meta.hash[:32]}.npz"
    digests = _read(path, store.meta.count)
    if digests is None:
        digests = _digests(store.images)
        with suppress(OSError):  # an unwritable folder costs time next time and nothing else
            write_atomic(path, lambda file: np.savez(file, digests=digests))
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
