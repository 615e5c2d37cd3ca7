"""8-bit images to what a network wants: colour, size, range; and batches with progress.

Sizes are changed as Pillow does it (antialiased, bicubic with a = -0.5, 8 bits; see Parmar et al. 2022,
arXiv:2104.11222, for how much the wrong way moves a Fréchet distance), ranges afterwards.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from taildiff.errors import DataError
from taildiff.evaluation.images import Images, Pictures
from taildiff.log import Progress, silent

Resize = Literal["bicubic", "bilinear"]

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Preparation:
    """What is done to an image before a network sees it; part of the extractor's hash."""

    size: int | None = None
    """Pixels of both sides; None leaves images as they are."""
    resize: Resize = "bicubic"
    colour: bool = True
    """Grey images are repeated to three channels."""
    eight_bit: bool = False
    """Give uint8; else float32, `(value - mean) / std` with values in 0..255."""
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (255.0,)

    def __call__(self, images: Images, device: str = "cpu") -> Tensor:
        """Tensor (N, C, H, W) of 8-bit images (N, H, W, C)."""
        x = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)  # a copy: a mapped store is read-only
        if self.size is not None and tuple(x.shape[-2:]) != (self.size, self.size):
            # in 8 bits, which is on the CPU only: rounded and cut after each direction, as Pillow does it
            x = F.interpolate(x, (self.size, self.size), mode=self.resize, align_corners=False, antialias=True)
        x = x.to(device)
        if self.colour and x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        if self.eight_bit:
            return x.contiguous()
        mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (x.float() - mean) / std

    @property
    def record(self) -> tuple[tuple[str, object], ...]:
        """All fields by name, for the hash."""
        return tuple(asdict(self).items())


def in_batches(
    images: Pictures, dim: int, size: int, forward: Callable[[Images], NDArray[np.float32]], progress: Progress = silent
) -> NDArray[np.float32]:
    """Features (N, dim), `size` images at a time; `DataError` when `forward` gives another shape or no numbers."""
    result = np.empty((len(images), dim), dtype=np.float32)
    for start in range(0, len(images), size):
        stop = min(start + size, len(images))
        part = forward(images[start:stop])
        if part.shape != (stop - start, dim):
            raise DataError(f"the extractor gave {part.shape} for {stop - start} images, not {(stop - start, dim)}")
        if not np.isfinite(part).all():
            raise DataError("the extractor gave features that are not finite numbers: it does not fit these images")
        result[start:stop] = part
        progress("features", stop, len(images))
    return result
