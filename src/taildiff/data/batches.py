"""Batches of tensors from a store in an order: a pure function of (seed, step), read one step ahead in a thread.

Where the images of a run fit, a GPU keeps them as they are stored (uint8 pixels, float16 moments) and only the rows of
each batch travel to it; otherwise batches are read from the memory-mapped file and copied while the GPU computes.

Pixels are x / 127.5 - 1. A latent is drawn from the VAE's posterior each time its image is used,
z = (mean + std eps - shift) scaling, with the moments of the image or of its mirror (Rombach et al. 2022).
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from taildiff.data.latents import LatentStore
from taildiff.data.longtail import Split
from taildiff.data.order import Order
from taildiff.data.store import Store
from taildiff.diffusion.random_tensors import RandomTensors
from taildiff.spec import CodecFacts


class Batch(NamedTuple):
    """Images (B, C, H, W) float32, pixels in [-1, 1] or latents, and labels (B,) int64."""

    x: Tensor
    y: Tensor


def to_tensor(images: np.ndarray | Tensor) -> Tensor:
    """uint8 (B, H, W, C) -> float32 (B, C, H, W) in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)) if isinstance(images, np.ndarray) else images
    return pixels.permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous()


def to_images(x: Tensor) -> np.ndarray:
    """(B, C, H, W) in [-1, 1] -> uint8 (B, H, W, C), rounded; values outside are clipped."""
    scaled = x.float().add(1).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().contiguous().numpy()


def to_latents(moments: Tensor, eps: Tensor, codec: CodecFacts) -> Tensor:
    """Moments (B, 2, C, H, W) float16 [mean, std] and standard normal (B, C, H, W) -> z (B, C, H, W) float32."""
    mean, std = moments.float().unbind(1)
    return (mean + std * eps).sub_(codec.shift).mul_(codec.scaling)


def _in_order(array: np.ndarray, rows: np.ndarray, *more: np.ndarray) -> np.ndarray:
    """array[rows, *more] as a copy; a memory-mapped file is read fastest in ascending order."""
    order = np.argsort(rows, kind="stable")
    values = np.empty((len(rows), *array.shape[1 + len(more) :]), array.dtype)
    values[order] = array[(rows[order], *(index[order] for index in more))]
    return values


@dataclass(frozen=True, eq=False)
class Resident:
    """The training images of a run in a device's memory."""

    values: Tensor
    """As stored, in the order of the split: uint8 (N, H, W, C), or float16 (N, 2, 2, C, H, W) by mirroring."""

    @classmethod
    def of(cls, store: Store | LatentStore, split: Split, device: torch.device, most: int) -> "Resident | None":
        """The images on `device`; None where they take more than `most` bytes."""
        source = store.images if isinstance(store, Store) else store.moments
        rows = split.index if isinstance(store, Store) else store.rows(split.index)
        if len(rows) * source[:1].nbytes > most:
            return None
        dtype = torch.uint8 if isinstance(store, Store) else torch.float16
        values = torch.empty((len(rows), *source.shape[1:]), dtype=dtype, device=device)
        for start in range(0, len(rows), 4096):
            part = rows[start : start + 4096]
            values[start : start + len(part)] = torch.from_numpy(_in_order(source, part)).to(device)
        return cls(values)


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of one run; each rank reads its own slice of the global batch."""

    store: Store | LatentStore
    split: Split
    order: Order
    batch_size: int
    flip: bool
    rows: slice | np.ndarray
    """Of the global batch."""
    pin: bool = False
    """Use page-locked memory, from which a GPU copies while it computes."""
    resident: Resident | None = None
    """The images on the device, if they fit."""

    def read(self, step: int) -> Batch:
        """The batch of one step."""
        places = self.order.batch(step, self.batch_size)[self.rows]
        positions = self.split.index[places]
        mirrored = np.zeros(len(positions), np.bool_)
        if self.flip:
            mirrored = self.order.flips(step, self.batch_size)[self.rows]
        y = self._sent(torch.from_numpy(self.store.labels[positions].astype(np.int64)))
        match self.store:
            case Store():
                return Batch(self._sent(to_tensor(self._images(places, positions, mirrored))), y)
            case LatentStore():
                moments = self._moments(places, positions, mirrored)
                noise = self._noise(step, moments.shape[2:]).to(moments.device, non_blocking=True)
                return Batch(self._sent(to_latents(moments, noise, self.store.info.codec)), y)

    def _images(self, places: np.ndarray, positions: np.ndarray, mirrored: np.ndarray) -> Tensor:
        """uint8 (B, H, W, C)."""
        if self.resident is None:
            assert isinstance(self.store, Store)
            images = _in_order(self.store.images, positions)
            images[mirrored] = images[mirrored, :, ::-1]
            return torch.from_numpy(images)
        images = self.resident.values[self._there(places)]
        return torch.where(self._there(mirrored)[:, None, None, None], images.flip(2), images)

    def _moments(self, places: np.ndarray, positions: np.ndarray, mirrored: np.ndarray) -> Tensor:
        """float16 (B, 2, C, H, W)."""
        if self.resident is None:
            assert isinstance(self.store, LatentStore)
            rows, which = self.store.rows(positions), mirrored.astype(np.intp)
            return torch.from_numpy(_in_order(self.store.moments, rows, which))
        return self.resident.values[self._there(places), self._there(mirrored.astype(np.int64))]

    def _there(self, array: np.ndarray) -> Tensor:
        """The array where the resident images are, without waiting for the device."""
        assert self.resident is not None
        return self._sent(torch.from_numpy(array)).to(self.resident.values.device, non_blocking=True)

    def _sent(self, tensor: Tensor) -> Tensor:
        """The tensor in page-locked memory where that is wanted and it is not on a device already."""
        return tensor.pin_memory() if self.pin and tensor.device.type == "cpu" else tensor

    def _noise(self, step: int, shape: tuple[int, ...]) -> Tensor:
        """The rank's rows of the global batch's noise, which does not depend on the number of processes."""
        return RandomTensors(self.order.seed, "latent", step).normal(self.batch_size, *shape)[self.rows]

    @contextmanager
    def ahead(self, start: int, stop: int) -> Iterator[Iterator[Batch]]:
        """The batches of steps start..stop-1, the next one being read while the current one is used."""
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:

            def batches() -> Iterator[Batch]:
                following: Future[Batch] = pool.submit(self.read, start)
                for step in range(start, stop):
                    current = following.result()
                    if step + 1 < stop:
                        following = pool.submit(self.read, step + 1)
                    yield current

            yield batches()
