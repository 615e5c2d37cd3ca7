"""Batches: store and order in, tensors out; a pure function of (seed, step), read one step ahead in a thread."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from taildiff.data.longtail import Split
from taildiff.data.order import Order
from taildiff.data.store import Store


class Batch(NamedTuple):
    """Images (B, C, H, W) float32 in [-1, 1] and labels (B,) int64."""

    x: Tensor
    y: Tensor


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 (B, H, W, C) -> float32 (B, C, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous()


def to_images(x: Tensor) -> np.ndarray:
    """(B, C, H, W) in [-1, 1] -> uint8 (B, H, W, C), rounded; values outside are clipped."""
    scaled = x.float().add(1).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().contiguous().numpy()


class Batches:
    """The batches of one run; each rank reads its own slice of the global batch."""

    def __init__(self, store: Store, split: Split, order: Order, batch_size: int, flip: bool, rows: slice):
        self.store, self.split, self.order = store, split, order
        self.batch_size, self.flip, self.rows = batch_size, flip, rows

    def read(self, step: int) -> Batch:
        """The batch of one step."""
        positions = self.split.index[self.order.batch(step, self.batch_size)[self.rows]]
        order = np.argsort(positions, kind="stable")  # a memory-mapped file is read best in its own order
        images = np.empty((len(positions), *self.store.images.shape[1:]), np.uint8)
        images[order] = self.store.images[positions[order]]
        if self.flip:
            mirrored = self.order.flips(step, self.batch_size)[self.rows]
            images[mirrored] = images[mirrored, :, ::-1]
        return Batch(to_tensor(images), torch.from_numpy(self.store.labels[positions].astype(np.int64)))

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
