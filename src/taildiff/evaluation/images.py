"""Images to be judged: arrays, or what is read a slice at a time."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (N, H, W, C)


class Pictures(Protocol):
    """Images (N, H, W, C) that are read a slice at a time: an array, or what need not fit into memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Images: ...


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some rows of an array, of which a slice is in memory at a time: a reference may have hundreds of gigabytes."""

    images: Images
    index: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice, /) -> Images:
        """A copy."""
        return self.images[self.index[rows]]
