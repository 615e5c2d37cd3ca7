"""Draw the images of a class by rank, in parts that a killed process leaves behind for the next one.

A part is `LABEL-START-STOP.npz` in a folder of its own; its boundaries depend on nothing but the counts so far, so the
next process draws the same parts and finds those that are there.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taildiff.evaluation.images import Images
from taildiff.filling.request import MOST_DRAWS
from taildiff.io.atomic import write_atomic
from taildiff.io.npz import NpzError, read_arrays
from taildiff.sampling.generate import batches, last_images
from taildiff.sampling.predicting import Predicting

_PIXELS = 2**18  # of a part, at most; about 20 seconds of two cores
_MOST, _FEWEST = 128, 8  # images of a part


@dataclass(frozen=True, eq=False)
class Drawing:
    """Draws from a model, and keeps what is drawn in a folder."""

    predicting: Predicting
    folder: Path
    key: str
    """Everything that decides the images."""
    batch_size: int | None = None

    def images(self, label: int, start: int, stop: int) -> Images:
        """Images (stop - start, H, W, C) of a class, by rank."""
        path = self.folder / f"{label}-{start}-{stop}.npz"
        try:
            key, images = read_arrays(path, ("key", "images"), largest=None)
            if str(key) == self.key and len(images) == stop - start:
                return images
        except (OSError, NpzError):
            pass
        images = self._sampled(label, start, stop)
        write_atomic(path, lambda file: np.savez(file, key=np.array(self.key), images=images))
        return images

    def _sampled(self, label: int, start: int, stop: int) -> Images:
        parts = batches(self.predicting, np.full(stop, label), self.batch_size, start)
        return np.concatenate([last_images(self.predicting, steps) for _, steps in parts])

    def next_stop(self, drawn: int, admitted: int, asked: int) -> int:
        """Where the next part ends: it has as many images as are likely to be needed."""
        facts, missing = self.predicting.model.facts, asked - admitted
        most = max(1, min(_MOST, _PIXELS // (facts.height * facts.width)))
        rate = max(admitted / drawn, 1 / MOST_DRAWS) if drawn else 0.8
        size = max(min(_FEWEST, most), min(most, round(1.1 * missing / rate)))
        return min(MOST_DRAWS * asked, drawn + size)
