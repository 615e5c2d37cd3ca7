"""Sequences of images: arrays, or views that read a part at a time."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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
