"""Steps that are left out: those whose loss or gradient is not a number, and spikes of the gradient norm.

A spike is a norm above `skip_spikes` times the median of the last 64 finite norms, once there are 16. Norms of spikes
count in that median too, so a level that rises for good is followed after half of them. All of it is saved with a
checkpoint.
"""

import math
from statistics import median
from typing import Literal

from taildiff.spec import RunSpec, Spec

WINDOW = 64
"""Norms that the median is taken of."""
FEWEST = 16
"""Norms that must be known before anything is called a spike."""

Verdict = Literal["train", "nonfinite", "spike"]


class Skipped(Spec):
    """What was left out so far, and what the next verdict needs to know."""

    nonfinite: int = 0
    spikes: int = 0
    norms: tuple[float, ...] = ()
    """The last finite gradient norms, oldest first; only kept where spikes are left out."""

    def judged(self, spec: RunSpec, norm: float) -> "tuple[Verdict, Skipped]":
        """What to do with a step, and the new state; the caller stops training above `spec.skip_nonfinite`."""
        if not math.isfinite(norm):
            return "nonfinite", self.model_copy(update={"nonfinite": self.nonfinite + 1})
        if spec.skip_spikes is None:
            return "train", self
        spike = len(self.norms) >= FEWEST and norm > spec.skip_spikes * median(self.norms)
        norms = (*self.norms[1 - WINDOW :], norm)
        return "spike" if spike else "train", self.model_copy(
            update={"norms": norms, "spikes": self.spikes + int(spike)}
        )

    def __str__(self) -> str:
        """For people; empty when nothing was left out."""
        parts = [
            f"{self.nonfinite} whose loss or gradient was not a number" if self.nonfinite else "",
            f"{self.spikes} spikes of the gradient norm" if self.spikes else "",
        ]
        return " and ".join(part for part in parts if part)
