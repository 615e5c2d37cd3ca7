"""An extractor that is a network of somebody else's: preparation, forward pass, identity."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taildiff.evaluation.extractors.preparing import Preparation, in_batches
from taildiff.evaluation.images import Images, Pictures
from taildiff.log import Progress, silent


@dataclass(frozen=True)
class ImageNetwork:
    """Features of a pretrained network; see `taildiff.evaluation.extractors.base.Extractor`."""

    name: str
    dim: int
    hash: str
    prepare: Preparation
    forward: Callable[[Tensor], Tensor]
    """Prepared images (B, C, H, W) to features (B, dim)."""
    head: Callable[[Tensor], Tensor] | None = None
    """Features (B, dim) to class scores (B, K), where it has classes."""
    device: str = "cpu"
    is_fid: bool = False
    batch: int = 64
    notes: tuple[str, ...] = ()

    def features(self, images: Pictures, progress: Progress = silent) -> NDArray[np.float32]:
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
