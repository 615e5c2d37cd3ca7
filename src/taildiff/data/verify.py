"""Compare the arrays of a store or of latents with the hash in store.json or latents.json."""

import hashlib

import numpy as np

from taildiff.data.latents import LatentStore, origin
from taildiff.data.store import Store
from taildiff.errors import DataError

AFFORDABLE = 2**30
"""Bytes of images or moments that are checked before every training and evaluation; takes about a second."""
_CHUNK = 2**24


def content_hash(data: Store | LatentStore, test: np.ndarray | None = None) -> str:
    """The sha256 that the writers record, hexadecimal, perhaps with another test column; reads all, at about 1 GB/s."""
    large = _large(data)
    digest = hashlib.sha256(repr(large.shape[1:]).encode())
    flat = large.reshape(-1)
    for start in range(0, len(flat), _CHUNK):
        digest.update(flat[start : start + _CHUNK].tobytes())
    for column in (data.labels, data.test if test is None else test):
        digest.update(column.tobytes())
    digest.update("\0".join(data.meta.class_names).encode())
    if isinstance(data, LatentStore):
        digest.update(origin(data.meta, data.info.codec))
    return digest.hexdigest()


def affordable(data: Store | LatentStore, limit: int = AFFORDABLE) -> bool:
    """Whether the data are small enough to be verified before every use."""
    return _large(data).nbytes <= limit


def verify(data: Store | LatentStore, limit: int | None = AFFORDABLE) -> bool:
    """True, or `DataError` where the content was changed; False, unread, above `limit` bytes (None: no limit)."""
    if limit is not None and not affordable(data, limit):
        return False
    latents = isinstance(data, LatentStore)
    if content_hash(data) != (data.info.hash if latents else data.meta.hash):
        how, what = ("encoded", "moments") if latents else ("prepared", "images")
        raise DataError(
            f"{data.root} was changed after it was {how} (its {what}, labels or class names do not fit the hash in "
            f"{data.kind.json}): {data.kind.again}"
        )
    return True


def _large(data: Store | LatentStore) -> np.ndarray:
    return data.moments if isinstance(data, LatentStore) else data.images
