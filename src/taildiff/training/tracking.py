"""metrics.jsonl: one line per logged step.

    step, images, seconds   after that step; seconds of training, without evaluation and saving
    loss, lr, grad_norm     weighted total, learning rate, gradient norm before clipping; means since the last line
    terms, weighted         by term, without and with the term's weight
    by_noise                by term, in four quarters of the noise level, from clean to noise
    by_group                by term, in head, body and tail
    waiting                 share of the seconds since the last line that the step waited for its images
    skipped                 steps skipped so far: nonfinite, spikes; no mean includes them
    crc                     zlib.crc32 of the line up to the comma before it, with `}` in place of the comma
A mean over no samples is null.
"""

import json
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taildiff.data.longtail import Groups
from taildiff.engine import Engine
from taildiff.losses.pairwise import gathered
from taildiff.objectives.objective import Draws, StepLoss
from taildiff.training.skip_steps import Skipped

QUARTERS = 4
RECENT = 100
"""Steps that the loss beside the progress bar is averaged over: an exponential mean of this length."""
NOTHING = Skipped()


class Tracker:
    """Collects the losses of each step and appends lines of their means, after cutting the file to a known length."""

    def __init__(
        self,
        path: Path,
        names: tuple[str, ...],
        weights: tuple[float, ...],
        groups: Groups,
        length: int,
        engine: Engine | None = None,
    ):
        """`length`: bytes to keep; with `engine`, the means are over all processes, and rank zero writes the file."""
        self.names, self.weights, self.groups, self._engine = names, weights, groups, engine
        self._recent, self._added = 0.0, 0
        classes = sum(len(labels) for _, labels in groups)
        self._group_of = np.array([groups.names.index(groups.of(label)) for label in range(classes)])
        self._path, self._file = path, None
        if engine is None or engine.is_rank_zero:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            self._file.truncate(min(length, path.stat().st_size))
        self._clear()

    def _clear(self) -> None:
        self._steps: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._norms: list[float] = []
        self._skipped = False
        self._spent = self._waited = 0.0

    def add_time(self, spent: float, waited: float) -> None:
        """Add the seconds of one step, and those of them that went by before its images were there."""
        self._spent += spent
        self._waited += waited

    def add_skipped(self) -> None:
        """Add a skipped step, so that a line is written even if all steps since the last one were skipped."""
        self._skipped = True

    def add(
        self, per_sample: torch.Tensor, s: torch.Tensor, labels: torch.Tensor, grad_norm: float, loss: float
    ) -> None:
        """Add one step: (B, terms), (B,), (B,); they stay on their device until a line is written."""
        self._steps.append((per_sample.float(), s, labels))
        self._norms.append(grad_norm)
        self._added += 1
        self._recent += (loss - self._recent) / min(self._added, RECENT)

    @property
    def note(self) -> str:
        """The recent mean of the weighted loss, on this process's rows, for progress; empty before the first step."""
        return f"loss {self._recent:.4g}" if self._added else ""

    def write(
        self, step: int, images: int, seconds: float, lr: float, skipped: Skipped = NOTHING
    ) -> dict[str, Any] | None:
        """Append a line about all steps since the last one, and return it; None if there were none."""
        if not self._steps and not self._skipped:
            return None
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
            "waiting": round(self._waited / self._spent, 4) if self._spent else None,
            "skipped": {"nonfinite": skipped.nonfinite, "spikes": skipped.spikes},
        }
        self._clear()
        text = json.dumps(line, allow_nan=False)
        if self._engine is None:
            self._append(text)
        else:
            self._engine.on_rank_zero(lambda: self._append(text))
        return line

    def _collected(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values (terms, n), quarters of the noise level (n,) and class groups (n,) of all ranks."""
        if not self._steps:
            return np.empty((len(self.names), 0)), np.empty(0, int), np.empty(0, int)
        columns = zip(*self._steps, strict=True)
        values, levels, labels = (gathered(torch.cat(rows))[0].cpu().numpy() for rows in columns)
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
        """Name the file in an error, which a full disk does not."""
        try:
            yield
        except OSError as error:
            error.filename = str(self._path)
            raise

    def sync(self) -> int:
        """Flush the lines to disk; returns the file's length in bytes."""
        if self._file is None:
            return 0
        with self._naming():
            self._file.flush()
            os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file; earlier calls have raised any write error."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


def _finite(value: float) -> float | None:
    return round(float(value), 8) if math.isfinite(value) else None


def _split(values: np.ndarray, part: np.ndarray, parts: int) -> list[float | None]:
    return [_finite(values[part == p].mean()) if (part == p).any() else None for p in range(parts)]


def nonfinite_term(names: tuple[str, ...], loss: StepLoss, draws: Draws) -> str:
    """Which term is not finite, and at which noise levels, for the error message."""
    for name, values in zip(names, loss.per_sample, strict=True):
        rows = torch.nonzero(~values.isfinite()).flatten().tolist()
        if rows:
            levels = ", ".join(f"{draws.s[i].item():.3f}" for i in rows[:3])
            return f"term '{name}' is not finite for {len(rows)} of {len(values)} samples (noise levels {levels} …)"
    return "every term is finite, but their gradient is not"
