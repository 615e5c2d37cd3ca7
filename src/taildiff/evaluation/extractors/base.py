"""The extractor protocol, and the pretrained networks that follow it: preparation of images, forward pass, identity.

Sizes change as in Pillow (antialiased, bicubic with a = -0.5, 8 bits; Parmar et al. 2022, arXiv:2104.11222, measure how
much another resize moves a Fréchet distance); value ranges change afterwards.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from taildiff.evaluation.cache import cache_key
from taildiff.evaluation.images import Images, ImageSequence, in_batches
from taildiff.log import Progress, silent

Resize = Literal["bicubic", "bilinear"]

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class Extractor(Protocol):
    """Turns images into features; `name` and `hash` belong to every number computed on them."""

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
        """Covers everything that determines an image's features."""
        ...

    @property
    def is_fid(self) -> bool:
        """Whether the Fréchet distance on its features is what the literature calls FID."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Caveats for readers of its numbers."""
        ...

    def features(self, images: ImageSequence, progress: Progress = silent) -> NDArray[np.float32]:
        """Features (N, D) of 8-bit images (N, H, W, C)."""
        ...

    def probabilities(self, features: NDArray[np.float32], /) -> NDArray[np.float32] | None:
        """Class probabilities (N, K) of its own features (N, D); None if it has no classes."""
        ...


def extractor_hash(*values: object) -> str:
    """Twelve hexadecimal digits that identify an extractor."""
    return cache_key(*values)[:12]


@dataclass(frozen=True)
class Preparation:
    """How an image is prepared for a network; part of the extractor's hash."""

    size: int | None = None
    """Pixels of both sides; None keeps the size."""
    resize: Resize = "bicubic"
    colour: bool = True
    """Repeat grey images to three channels."""
    eight_bit: bool = False
    """Return uint8 instead of float32 `(value - mean) / std`, values in 0..255."""
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (255.0,)

    def __call__(self, images: Images, device: str = "cpu") -> Tensor:
        """Tensor (N, C, H, W) of 8-bit images (N, H, W, C)."""
        x = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)  # a copy: a mapped store is read-only
        if self.size is not None and tuple(x.shape[-2:]) != (self.size, self.size):
            # 8-bit interpolation exists on the CPU only; it rounds and clips after each direction, like Pillow
            x = F.interpolate(x, (self.size, self.size), mode=self.resize, align_corners=False, antialias=True)
        x = x.to(device)
        if self.colour and x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        if self.eight_bit:
            return x.contiguous()
        mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (x.float() - mean) / std

    @property
    def identity(self) -> tuple[tuple[str, object], ...]:
        """All fields by name, for the hash."""
        return tuple(asdict(self).items())


@dataclass(frozen=True)
class NetworkExtractor:
    """Features of a pretrained network; an `Extractor`."""

    name: str
    dim: int
    hash: str
    prepare: Preparation
    forward: Callable[[Tensor], Tensor]
    """Prepared images (B, C, H, W) to features (B, dim)."""
    head: Callable[[Tensor], Tensor] | None = None
    """Features (B, dim) to class scores (B, K), if it has classes."""
    device: str = "cpu"
    is_fid: bool = False
    batch: int = 64
    notes: tuple[str, ...] = ()

    def features(self, images: ImageSequence, progress: Progress = silent) -> NDArray[np.float32]:
        """Features (N, D) of 8-bit images (N, H, W, C)."""

        def forward(part: Images) -> NDArray[np.float32]:
            with torch.inference_mode():
                return self.forward(self.prepare(part, self.device)).float().cpu().numpy()

        return in_batches(images, self.dim, self.batch, forward, progress)

    def probabilities(self, features: NDArray[np.float32], /) -> NDArray[np.float32] | None:
        """Class probabilities (N, K) of its own features (N, D); None without classes."""
        if self.head is None:
            return None
        with torch.inference_mode():
            return self.head(torch.from_numpy(features).to(self.device)).softmax(dim=1).cpu().numpy()
