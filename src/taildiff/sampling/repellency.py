"""Repellency from the training images of each class (`diffusion.repellency`): which images, and from which distance.

Images are those of the run's split, with their mirror images where the run trains on them; of a run on latents, the
means of their posteriors. By default the radius of a class is the distance that `QUANTILE` of its training images fall
short of to their nearest neighbour in the class: what comes nearer is nearer than real images are to each other. A
class of one image takes that of other classes together.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from taildiff.data.batches import to_latents, to_tensor
from taildiff.data.latents import LatentStore
from taildiff.data.locate import latents_of, store_of
from taildiff.data.longtail import Split
from taildiff.data.store import Store
from taildiff.device import wide
from taildiff.diffusion.repellency import push
from taildiff.diffusion.samplers.base import Predict
from taildiff.errors import DataError, SpecError
from taildiff.sampling.model import TrainedModel

QUANTILE = 0.1
"""Share of the training images whose nearest neighbour lies within the radius."""
ANCHORS, POOLED = 256, 32
"""Images per class whose nearest neighbours are measured, and classes that are pooled: enough for a quantile."""
CHUNK_BYTES, KEPT_BYTES = 2**26, 2**29
"""Of training images that are compared at once, and of those that stay in memory; more are read in each step."""


@dataclass(eq=False)
class Repellency:
    """Training images by class, and the radius around each."""

    store: Store | LatentStore
    index: np.ndarray
    """Positions of the training images in the store."""
    mirrored: bool
    radius: float | None
    """Of all classes; None: from the data."""
    device: torch.device
    _kept: dict[int, list[Tensor]] = field(default_factory=dict)
    """Images by class that stay in memory."""
    _radii: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, model: TrainedModel, radius: float | None) -> "Repellency":
        """For a model of a run whose data can be opened; `SpecError` or `DataError` otherwise."""
        if model.run is None:
            raise SpecError("repel needs the training images: load the model from its run")
        try:
            store = latents_of(model.run) or store_of(model.run)
        except DataError as error:
            raise DataError(f"--repel needs the training images of the run, but {error}") from None
        split = Split.load(model.run.split)
        if split.store_hash != store.meta.hash:
            raise DataError(f"--repel: {model.run.split} belongs to another store than {store.root}")
        return cls(store, split.index, model.spec.data.flip, radius, model.device)

    def around(self, predict: Predict, labels: Sequence[int]) -> Predict:
        """`predict` of images of these labels (B,), pushed away from the training images of their classes."""
        rows = {label: np.flatnonzero(np.asarray(labels) == label) for label in dict.fromkeys(labels)}
        of_class = {label: torch.from_numpy(own).to(self.device) for label, own in rows.items()}

        def repelled(x: Tensor, s: float) -> Tensor:
            x0 = predict(x, s)
            flat, moved = x0.flatten(1), x0.flatten(1).clone()
            for label, own in of_class.items():
                for z in self.images(label):
                    moved[own] += push(flat[own], z, self.radius_of(label))
            return moved.view_as(x0)

        return repelled

    def radius_of(self, label: int) -> float:
        """The radius of a class; `SpecError` where there are no distances to take it from."""
        if self.radius is not None:
            return self.radius
        if label not in self._radii:
            own = self.nearest(label)
            self._radii[label] = float(np.quantile(own, QUANTILE)) if len(own) else self._pooled
        return self._radii[label]

    @cached_property
    def _pooled(self) -> float:
        """The radius from several classes together."""
        labels, counts = np.unique(self.store.labels[self.index], return_counts=True)
        several = labels[counts > 1]
        chosen = several[np.linspace(0, len(several) - 1, min(POOLED, len(several))).astype(int)]
        if not len(chosen):
            raise SpecError("--repel: every class has one training image, so its radius must be given: --repel-radius")
        return float(np.quantile(np.concatenate([self.nearest(int(label)) for label in chosen]), QUANTILE))

    def nearest(self, label: int) -> np.ndarray:
        """Distances of up to `ANCHORS` training images of a class to their nearest other (n,); none for one image."""
        positions = self._positions(label)
        if len(positions) < 2:
            return np.empty(0)
        anchors = np.linspace(0, len(positions) - 1, min(ANCHORS, len(positions))).astype(int)
        own, size = wide(self._read(positions[anchors])), self._chunk
        nearest = torch.full((len(anchors),), torch.inf, dtype=own.dtype, device=self.device)
        for first in range(0, len(positions), size):
            distance = torch.cdist(own, wide(self._read(positions[first : first + size])))
            inside = (first <= anchors) & (anchors < first + distance.shape[1])
            distance[np.flatnonzero(inside), anchors[inside] - first] = torch.inf  # itself
            nearest = torch.minimum(nearest, distance.amin(1))
        return nearest.cpu().numpy()

    def images(self, label: int) -> Iterable[Tensor]:
        """The training images of a class and their mirror images, in parts (k, D)."""
        if label in self._kept:
            return self._kept[label]
        positions = self._positions(label)
        ways = [False, True] if self.mirrored else [False]
        starts = range(0, len(positions), self._chunk)
        parts = (self._read(positions[i : i + self._chunk], mirror) for mirror in ways for i in starts)
        held = sum(part.nbytes for kept in self._kept.values() for part in kept)
        if held + len(ways) * len(positions) * self._bytes <= KEPT_BYTES:
            parts = self._kept[label] = list(parts)
        return parts

    def _positions(self, label: int) -> np.ndarray:
        return self.index[self.store.labels[self.index] == label]

    @property
    def _bytes(self) -> int:
        return 4 * math.prod(self.store.facts.shape)

    @property
    def _chunk(self) -> int:
        return max(1, CHUNK_BYTES // self._bytes)

    def _read(self, positions: np.ndarray, mirror: bool = False) -> Tensor:
        """Images (n, D) as the network sees them."""
        match self.store:
            case Store():
                images = self.store.images[positions]
                x = to_tensor(images[:, :, ::-1] if mirror else images)
            case LatentStore():
                moments = torch.from_numpy(self.store.moments[self.store.rows(positions), int(mirror)])
                x = to_latents(moments, torch.zeros(()), self.store.info.codec)
        return x.flatten(1).to(self.device)
