"""What turns images into features."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from taildiff.evaluation.images import Pictures
from taildiff.log import Progress, silent


class Extractor(Protocol):
    """Images to features; `name` and `hash` are part of every number that is made with it."""

    @property
    def name(self) -> str:
        """Short, for titles and folder names."""
        ...

    @property
    def dim(self) -> int:
        """D."""
        ...

    @property
    def hash(self) -> str:
        """Covers everything that decides the features of an image."""
        ...

    @property
    def is_fid(self) -> bool:
        """Whether the Fréchet distance of its features is what the literature calls FID."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know of it."""
        ...

    def features(self, images: Pictures, progress: Progress = silent) -> NDArray[np.float32]:
        """Features (N, D) of 8-bit images (N, H, W, C)."""
        ...

    def probabilities(self, features: NDArray[np.float32], /) -> NDArray[np.float32] | None:
        """Class probabilities (N, K) of its own features (N, D); None where it has no classes."""
        ...
