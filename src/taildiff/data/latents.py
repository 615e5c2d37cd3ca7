"""Latents: the training images of a store, encoded by a VAE once, so that training needs neither store nor VAE.

    latents.json   metadata with checksum         labels.npy, test.npy, names.txt   as in the store
    moments.npy    float16 (n, 2, 2, c, h, w) = [image | its mirror, mean | standard deviation] of the VAE's posterior

Rows are the training images, ascending by position in the store; held-out images are not encoded. Positions, splits and
class laws are those of the store. The mirror image has its own moments, because an encoder is not mirror-equivariant.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from taildiff.data.store import Columns, Store, StoreMeta, read_columns, refuse_run
from taildiff.data.store_files import (
    LATENTS,
    MOMENTS,
    Kind,
    LatentMeta,
    check_recorded,
    is_latents,
    is_store,
    read_array,
    read_latent_meta,
)
from taildiff.errors import DataError
from taildiff.io.staging import put_back
from taildiff.spec import CodecFacts, DataFacts

__all__ = ["LatentMeta", "LatentStore", "is_latents", "open_data", "origin", "pixels_of"]


@dataclass(frozen=True, eq=False, repr=False)
class LatentStore(Columns):
    """Latents, opened for reading."""

    kind: ClassVar[Kind] = LATENTS
    info: LatentMeta
    moments: np.ndarray
    """float16 (n, 2, 2, c, h, w), memory-mapped: [image | mirror, mean | standard deviation], unscaled."""

    @classmethod
    def open(cls, path: Path | str, recorded: str | None = None) -> Self:
        """Open and check latents; `DataError` says what is missing or damaged, or that their hash is not `recorded`."""
        root = Path(path)
        put_back(root)
        _check_is_latents(root)
        info = read_latent_meta(root)
        check_recorded(root, cls.kind, info.hash, recorded)
        moments = read_array(root / MOMENTS, np.dtype(np.float16), info.shape, mapped=True, kind=LATENTS)
        labels, test = read_columns(root, info.pixels, LATENTS)
        if (training := int((~test).sum())) != info.rows:
            raise DataError(
                f"{root / 'test.npy'} has {training:,} training images, latents.json {info.rows:,}; {LATENTS.again}"
            )
        return cls(root=root, meta=info.pixels, labels=labels, test=test, info=info, moments=moments)

    @property
    def facts(self) -> DataFacts:
        """The facts of the store, with the VAE."""
        return super().facts.model_copy(update={"codec": self.info.codec})

    @cached_property
    def _row_of(self) -> np.ndarray:
        return np.where(self.test, -1, np.cumsum(~self.test) - 1)

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Rows of `moments`, int64, for positions in the store; `DataError` for an image that is held out."""
        rows = self._row_of[positions]
        if (rows < 0).any():
            position = np.asarray(positions).reshape(-1)[rows.reshape(-1).argmin()]
            raise DataError(f"{self.root} has no latents of image {position}, which is held out")
        return rows


def origin(pixels: StoreMeta, codec: CodecFacts) -> bytes:
    """The last part of what the hash of latents covers: the hashes of store and VAE."""
    return f"{pixels.hash} {codec.hash}".encode()


def _check_is_latents(root: Path) -> None:
    if not root.exists():
        raise DataError(f"{root} does not exist. Make latents: taildiff data encode STORE --vae VAE --out {root}")
    refuse_run(root)
    if is_store(root):
        raise DataError(f"{root} is a store of images. Encode it: taildiff data encode {root} --vae VAE --out LATENTS")
    if not is_latents(root):
        raise DataError(
            f"{root} holds no latents (it has no latents.json). Make some: taildiff data encode STORE --vae VAE --out …"
        )


def open_data(path: Path | str) -> Store | LatentStore:
    """The store or the latents at `path`; `DataError` where there is neither."""
    root = Path(path)
    if is_latents(root):
        return LatentStore.open(root)
    if root.is_dir() and not is_store(root):
        refuse_run(root)
        raise DataError(
            f"{root} is neither a store (no store.json) nor latents (no latents.json). From a folder of images: "
            f"taildiff data prepare folder {root} --out STORE; latents of a store: "
            "taildiff data encode STORE --vae VAE --out LATENTS"
        )
    return Store.open(root)


def pixels_of(latents: LatentStore) -> Store:
    """The store that the latents were made from; `DataError` where it moved or changed."""
    try:
        return Store.at_recorded(latents.info.pixels_path, latents.meta.hash)
    except DataError as error:
        raise DataError(
            f"the store that {latents.root} was encoded from cannot be opened ({error}); give its place: --data STORE"
        ) from None
