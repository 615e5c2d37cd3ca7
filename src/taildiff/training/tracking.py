"""metrics.jsonl: what training tells, one line a logged step.

    step, images, seconds   after that step; seconds of training, without evaluation and saving
    loss, lr, grad_norm     weighted total, learning rate, gradient norm before clipping; means since the last line
    terms, weighted         by term, without and with the term's weight
    by_noise                by term, in four quarters of the noise level, from clean to noise
    by_group                by term, in head, body and tail
    skipped                 steps left out so far: nonfinite, spikes; they count in no mean
    crc                     zlib.crc32 of the line up to the comma before it, with `}` in place of the comma
A mean over no sample is null.
"""

import json
import math
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch

from taildiff.data.longtail import Groups
from taildiff.objectives.objective import Draws, StepLoss
from taildiff.training.skip_steps import Skipped

QUARTERS = 4
NOTHING = Skipped()


class Tracker:
    """Collects what the steps give and writes a line when asked; appends, after cutting to a known length."""

    def __init__(
        self,
        path: Path | None,
        names: tuple[str, ...],
        weights: tuple[float, ...],
        groups: Groups,
        length: int,
        gather: Callable[[torch.Tensor], torch.Tensor] = lambda rows: rows,
        alone: Callable[[Callable[[], None]], None] = lambda action: action(),
    ):
        """`path` None collects and writes nothing (ranks other than the first); `gather` and `alone`: see `Engine`."""
        self.names, self.weights, self.groups, self._gather, self._alone = names, weights, groups, gather, alone
        classes = sum(len(labels) for _, labels in groups)
        self._group_of = np.array([groups.names.index(groups.of(label)) for label in range(classes)])
        self._path, self._file = path, None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            self._file.truncate(min(length, path.stat().st_size))
        self._clear()

    def _clear(self) -> None:
        self._values: list[torch.Tensor] = []
        self._levels: list[torch.Tensor] = []
        self._labels: list[torch.Tensor] = []
        self._norms: list[float] = []
        self._left_out = False

    def leave_out(self) -> None:
        """Take note that a step was skipped, so that there will be a line even when no step was not."""
        self._left_out = True

    def record(self, per_sample: torch.Tensor, s: torch.Tensor, labels: torch.Tensor, grad_norm: float) -> None:
        """Take note of one step: (B, terms), (B,), (B,); they stay on their device until a line is written."""
        self._values.append(per_sample.float())
        self._levels.append(s)
        self._labels.append(labels)
        self._norms.append(grad_norm)

    def write(self, step: int, images: int, seconds: float, lr: float, skipped: Skipped = NOTHING) -> None:
        """Append a line about everything recorded since the last one; nothing if there was nothing."""
        if not self._values and not self._left_out:
            return
        values, quarter, group = self._collected()
        means = [float(v.mean()) if len(v) else math.nan for v in values]
        line = {
            "step": step,
            "images": images,
            "seconds": round(seconds, 3),
            "lr": lr,
            "grad_norm": _finite(float(np.mean(self._norms))) if self._norms else None,
            "loss": _finite(sum(w * m for w, m in zip(self.weights, means, strict=True))),
            "terms": dict(zip(self.names, map(_finite, means), strict=True)),
            "weighted": {n: _finite(w * m) for n, w, m in zip(self.names, self.weights, means, strict=True)},
            "by_noise": {n: _split(v, quarter, QUARTERS) for n, v in zip(self.names, values, strict=True)},
            "by_group": {
                n: dict(zip(self.groups.names, _split(v, group, len(self.groups.names)), strict=True))
                for n, v in zip(self.names, values, strict=True)
            },
            "skipped": {"nonfinite": skipped.nonfinite, "spikes": skipped.spikes},
        }
        self._clear()
        self._alone(lambda: self._append(json.dumps(line, allow_nan=False)))

    def _collected(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values (terms, n), quarters of the noise level (n,) and class groups (n,) of all ranks."""
        if not self._values:
            return np.empty((len(self.names), 0)), np.empty(0, int), np.empty(0, int)
        collected = (self._values, self._levels, self._labels)
        values, levels, labels = (self._gather(torch.cat(rows)).cpu().numpy() for rows in collected)
        quarter = np.minimum((levels * QUARTERS).astype(int), QUARTERS - 1)
        return values.T, quarter, self._group_of[labels]

    def _append(self, text: str) -> None:
        if self._file is None:
            return
        with self._naming():
            self._file.write(f'{text[:-1]}, "crc": {zlib.crc32(text.encode())}}}\n'.encode())
            self._file.flush()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """A full disk names no file."""
        try:
            yield
        except OSError as error:
            error.filename = str(self._path)
            raise

    def sync(self) -> int:
        """Make the lines durable; the file's length in bytes."""
        if self._file is None:
            return 0
        with self._naming():
            self._file.flush()
            os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file; what could not be written by now was told before."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


def _finite(value: float) -> float | None:
    return round(float(value), 8) if math.isfinite(value) else None


def _split(values: np.ndarray, part: np.ndarray, parts: int) -> list[float | None]:
    return [_finite(values[part == p].mean()) if (part == p).any() else None for p in range(parts)]


def guilty(names: tuple[str, ...], loss: StepLoss, draws: Draws) -> str:
    """Which term stopped being a number, and where in the batch; for the error message."""
    for name, values in zip(names, loss.per_sample, strict=True):
        wrong = torch.nonzero(~values.isfinite()).flatten().tolist()
        if wrong:
            levels = ", ".join(f"{draws.s[i].item():.3f}" for i in wrong[:3])
            return f"term '{name}' is not finite for {len(wrong)} of {len(values)} samples (noise levels {levels} …)"
    return "every term is finite, but not their gradient"
