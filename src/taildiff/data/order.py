"""The image in each slot of each batch: a pure function of (seed, step, slot).

No state passes from batch to batch, so a resumed run and a run on other devices see the same images.
"""

from functools import lru_cache

import numpy as np

from taildiff.errors import DataError
from taildiff.rng import stream


class Order:
    """The order of a split's images, by epochs (each image once per epoch) or by a law over the classes.

    The labels are sorted once. After that the cost of a draw does not depend on the number of images: by epochs one
    look-up (plus one shuffle per epoch), by a law one binary search over the classes.
    """

    def __init__(self, labels: np.ndarray, seed: int, law: np.ndarray | None = None):
        """`labels` int (n,) of the split's images; `law` float (C,), or None for epochs.

        `DataError` without images, and for a law that gives probability to a class without images.
        """
        if len(labels) == 0:
            raise DataError("there are no images to train on")
        self._size, self.seed = len(labels), seed
        self._shuffle = lru_cache(2)(lambda epoch: stream(seed, "epoch", epoch).permutation(len(labels)))
        self._cdf: np.ndarray | None = None
        if law is not None:
            counts = np.bincount(labels, minlength=len(law))
            _check(law, counts)
            cdf = np.cumsum(law)
            self._cdf = cdf / cdf[-1]
            self._by_class = np.argsort(labels, kind="stable")
            self._counts = counts
            self._starts = np.cumsum(counts) - counts

    def batch(self, step: int, batch_size: int) -> np.ndarray:
        """Positions in the split's index, int64 (B,), for step 0, 1, … ."""
        assert step >= 0
        assert batch_size >= 1
        return self._by_epoch(step, batch_size) if self._cdf is None else self._by_law(self._cdf, step, batch_size)

    def flips(self, step: int, batch_size: int) -> np.ndarray:
        """The slots that are mirrored, bool (B,), each with probability one half."""
        return stream(self.seed, "flip", step).random(batch_size) < 0.5

    def _by_epoch(self, step: int, batch_size: int) -> np.ndarray:
        # Batches cross the ends of epochs: no image is dropped, and the batch size never changes.
        epoch, offset = np.divmod(step * batch_size + np.arange(batch_size), self._size)
        return np.concatenate(
            [self._shuffle(number)[offset[epoch == number]] for number in range(int(epoch[0]), int(epoch[-1]) + 1)]
        )

    def _by_law(self, cdf: np.ndarray, step: int, batch_size: int) -> np.ndarray:
        # Two numbers per slot, row by row: the draw of slot i is the same in a larger batch.
        which, within = stream(self.seed, "order", step).random((batch_size, 2)).T
        label = np.searchsorted(cdf, which, side="right")
        counts = self._counts[label]
        return self._by_class[self._starts[label] + np.minimum((within * counts).astype(np.int64), counts - 1)]


def _check(law: np.ndarray, counts: np.ndarray) -> None:
    if len(counts) > len(law):
        raise DataError(f"the class law has {len(law)} classes, but there are labels up to {len(counts) - 1}")
    if not np.isfinite(law).all() or (law < 0).any() or law.sum() <= 0:
        raise DataError("a class law must hold probabilities: finite, not negative, not all zero")
    empty = np.flatnonzero((law > 0) & (counts == 0))
    if len(empty):
        raise DataError(f"class number {empty[0]} has no images to resample; train without --data.resample")
