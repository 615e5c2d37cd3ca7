"""Copies of a store's training images among generated ones: `metrics.CopyRule` on small pictures.

Images are compared as pictures of at most 16 × 16 pixels (averaged down, values in [0, 1], Euclidean distance), each
also with the mirror image of the training image. Features of the classifier would not do: of blurred, brightened or
mirrored copies of 811 photographs at 16 × 16 they find 4 to 46 %, pictures all (docs/filling.md).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from taildiff.data.copies import same_content
from taildiff.data.store import Store
from taildiff.evaluation.images import ImageSequence, SelectedImages
from taildiff.metrics.copies import Copies, CopyRule
from taildiff.spec import EvalSpec

SIDE = 16
"""Pixels of the longer side of the pictures that are compared, at most."""
VERSION = 1  # raise it with every change of what counts as a copy
_ROWS = 1024


@dataclass(frozen=True, eq=False)
class CopyFinder:
    """The rule for the training images of a store."""

    rule: CopyRule
    trained: NDArray[np.intp]
    """Positions in the store of the training images."""

    @classmethod
    def of(cls, store: Store, trained: NDArray[np.intp]) -> "CopyFinder":
        """For a model that was trained on these positions of a store; the other images are those held out.

        Raises `InputError` for fewer than two training images.
        """
        labels, rest = np.asarray(store.labels), new_images(store, trained)
        own, new = (pictures(SelectedImages(store.images, index)) for index in (trained, rest))
        flat, turned = flattened(own), flattened(own[:, :, ::-1])
        return cls(CopyRule.fit(flat, labels[trained], flattened(new), labels[rest], turned), trained)

    def measure(self, images: ImageSequence, labels: NDArray[np.int64]) -> Copies:
        """Generated images (M, H, W, C) of labels (M,); `nearest` are positions in the store."""
        return self.measure_points(flattened(pictures(images)), labels)

    def measure_points(self, points: NDArray[np.float32], labels: NDArray[np.int64]) -> Copies:
        """The same for the flattened pictures (M, D) of images."""
        found = self.rule.measure(points, labels)
        return Copies(found.distance, self.trained[found.nearest], found.ratio, found.copied)


def copies_version(spec: EvalSpec) -> tuple[int, ...]:
    """What the name of an evaluation adds for the rule, if its metrics use it."""
    return (VERSION,) if "memorized" in spec.metrics else ()


def new_images(store: Store, trained: NDArray[np.intp]) -> NDArray[np.intp]:
    """Positions of the images that are neither among those trained on nor copies of one, ascending."""
    content, rest = same_content(store), np.setdiff1d(np.arange(store.meta.count), trained)
    return rest[~np.isin(content[rest], content[trained])]


def pictures(images: ImageSequence) -> NDArray[np.float32]:
    """Images (N, H, W, C) averaged down to at most `SIDE` pixels per side, in [0, 1]."""
    _, height, width, channels = images.shape
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = np.empty((len(images), *size, channels), np.float32)
    for start in range(0, len(images), _ROWS):
        part = np.array(images[start : start + _ROWS])
        if size != (height, width):
            x = torch.from_numpy(part).permute(0, 3, 1, 2).float()
            part = F.adaptive_avg_pool2d(x, size).permute(0, 2, 3, 1).numpy()
        small[start : start + _ROWS] = part / np.float32(255)
    return small


def flattened(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images (N, H, W, C) as points (N, H W C)."""
    return np.ascontiguousarray(images).reshape(len(images), math.prod(images.shape[1:]))
