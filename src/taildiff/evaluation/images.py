"""Sequences of images: arrays, or views that read a part at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from taildiff.errors import DataError
from taildiff.log import Progress, silent

Images = NDArray[np.uint8]  # (N, H, W, C)
Rows = slice | NDArray[np.intp]


class ImageSequence(Protocol):
    """Images (N, H, W, C) read a part at a time: an array, or a view that need not fit into memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Rows, /) -> Images: ...


@dataclass(frozen=True, eq=False)
class SelectedImages:
    """Selected rows of an array, read a part at a time: a reference may take hundreds of gigabytes."""

    images: Images
    index: NDArray[np.intp]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return len(self.index), *self.images.shape[1:]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Rows, /) -> Images:
        """A copy."""
        return self.images[self.index[rows]]


@dataclass(frozen=True, eq=False)
class ConcatenatedImages:
    """All images of `first`, then all of `second`."""

    first: ImageSequence
    second: ImageSequence

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return len(self), *self.first.shape[1:]

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, rows: Rows, /) -> Images:
        """A copy."""
        index = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        in_first = index < len(self.first)
        images = np.empty((len(index), *self.shape[1:]), np.uint8)
        images[in_first] = self.first[index[in_first]]
        images[~in_first] = self.second[index[~in_first] - len(self.first)]
        return images


def in_batches(
    images: ImageSequence,
    dim: int,
    size: int,
    forward: Callable[[Images], NDArray[np.float32]],
    progress: Progress = silent,
) -> NDArray[np.float32]:
    """Features (N, dim), `size` images at a time; `DataError` if `forward` gives a wrong shape or non-finite values.

    Exact copies have exactly equal features, however `forward` rounds in batches of different sizes.
    """
    seen: dict[bytes, int] = {}
    result = np.empty((len(images), dim), dtype=np.float32)
    for start in range(0, len(images), size):
        stop = min(start + size, len(images))
        batch = images[start:stop]
        part = forward(batch)
        if part.shape != (stop - start, dim):
            raise DataError(f"the extractor returned {part.shape} for {stop - start} images, not {(stop - start, dim)}")
        if not np.isfinite(part).all():
            raise DataError("the extractor returned non-finite features: it does not suit these images")
        result[start:stop] = part
        for row, image in enumerate(batch, start):
            result[row] = result[seen.setdefault(blake2b(image.tobytes(), digest_size=16).digest(), row)]
        progress("features", stop, len(images))
    return result
