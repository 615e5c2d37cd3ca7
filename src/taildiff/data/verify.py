"""Whether a store still holds what was written: the hash in store.json against the images, labels and names."""

import hashlib

from taildiff.data.store import Store
from taildiff.errors import DataError

AFFORDABLE = 2**30
"""Bytes of images that are checked before every training and evaluation: about a second."""
_CHUNK = 2**24


def content_hash(store: Store) -> str:
    """sha256 as `StoreWriter` takes it, hexadecimal; reads everything, about 1 GB/s."""
    digest = hashlib.sha256(repr(store.images.shape[1:]).encode())
    flat = store.images.reshape(-1)
    for start in range(0, len(flat), _CHUNK):
        digest.update(flat[start : start + _CHUNK].tobytes())
    for column in (store.labels, store.test):
        digest.update(column.tobytes())
    digest.update("\0".join(store.meta.class_names).encode())
    return digest.hexdigest()


def verify(store: Store, limit: int | None = AFFORDABLE) -> bool:
    """`DataError` when the content is not what was written; False, unread, above `limit` bytes (None: always read)."""
    if limit is not None and store.images.nbytes > limit:
        return False
    if content_hash(store) != store.meta.hash:
        raise DataError(
            f"{store.root} was changed after it was prepared (its images, labels or class names do not fit the hash in "
            "store.json): prepare it again: taildiff data prepare … --overwrite"
        )
    return True
