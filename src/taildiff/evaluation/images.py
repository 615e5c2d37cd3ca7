"""Images to be judged: arrays, or what is read a part at a time."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (N, H, W, C)
Rows = slice | NDArray[np.intp]


class Pictures(Protocol):
    """Images (N, H, W, C) of which a part is read at a time: an array, or what need not fit into memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Rows, /) -> Images: ...


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some rows of an array, of which a part is in memory at a time: a reference may have hundreds of gigabytes."""

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
class Joined:
    """First all images of one, then all of the other."""

    first: Pictures
    second: Pictures

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return len(self), *self.first.shape[1:]

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, rows: Rows, /) -> Images:
        """A copy."""
        index = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        own = index < len(self.first)
        found = np.empty((len(index), *self.shape[1:]), np.uint8)
        found[own] = self.first[index[own]]
        found[~own] = self.second[index[~own] - len(self.first)]
        return found
