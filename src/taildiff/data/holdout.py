"""Hold out a share of each class, so that runs can be judged on images that they have never seen.

Of n images of a class round(share n) are held out: at least one where n is 5 or more, never all. Images of equal pixels
stay on one side; those whose copies have another label stay in training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taildiff.data.copies import content_of
from taildiff.errors import DataError
from taildiff.rng import stream

USUAL = 0.2
"""The share that is proposed where nothing is held out."""
FEWEST = 5
"""Images from which on a class has at least one held out."""


@dataclass(frozen=True)
class HoldOut:
    """What is held out of a source that has no held-out part of its own."""

    share: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise DataError(f"--hold-out {self.share:g} must lie between 0 and 1: the share of each class, such as 0.2")

    @property
    def options(self) -> str:
        """How a store records it."""
        return f"hold-out={self.share:g}" + (f" hold-out-seed={self.seed}" if self.seed else "")

    def wanted(self, counts: Sequence[int]) -> tuple[int, ...]:
        """Images to hold out of classes with these numbers of images; copies may change that a little."""
        return tuple(
            min(n - 1, max(1, int(self.share * n + 0.5))) if n >= FEWEST else int(self.share * n) for n in counts
        )

    def choose(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which images (N, H, W, C) of these labels (N,) to hold out, bool (N,)."""
        return self.choose_among(content_of(images), labels)

    def choose_among(self, content: NDArray[np.intp], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """The same for images given by `content` (N,), equal for equal pixels."""
        pairs = np.unique(np.stack([content, labels]), axis=1)[0]
        several_labels = pairs[1:][pairs[1:] == pairs[:-1]]
        wanted = self.wanted(np.bincount(labels).tolist())
        chosen: list[int] = []
        for label, most in enumerate(wanted):
            different, size = np.unique(content[labels == label], return_counts=True)
            usable = ~np.isin(different, several_labels)
            order = stream(self.seed, "data/hold-out", label).permutation(np.flatnonzero(usable))
            chosen += different[_filled(order, size, most)].tolist()
        return np.isin(content, chosen)


def _filled(order: NDArray[np.intp], size: NDArray[np.intp], most: int) -> list[int]:
    """The first groups in `order` that fit into `most` images; where none does, the smallest, if it is not the only."""
    left, chosen = most, []
    for group in order.tolist():
        if size[group] <= left:
            left -= int(size[group])
            chosen.append(group)
    if most and not chosen and len(order) and len(size) > 1:
        chosen = [int(order[size[order].argmin()])]
    return chosen
