"""Which steps are skipped: those whose loss or gradient is not finite, and spikes of the gradient norm.

A spike is a norm above `skip_spikes` times the median of the last 64 finite norms, once there are 16. The norms of
spikes count in that median, so a lasting rise is accepted after half of them. Checkpoints hold this state.
"""

import math
from statistics import median
from typing import Literal

from taildiff.spec import RunSpec, Spec

WINDOW = 64
"""Norms in the median."""
FEWEST = 16
"""Norms needed before a step can be a spike."""

Decision = Literal["train", "nonfinite", "spike"]


class Skipped(Spec):
    """How many steps were skipped so far, and the norms that the next decision needs."""

    nonfinite: int = 0
    spikes: int = 0
    norms: tuple[float, ...] = ()
    """The last finite gradient norms, oldest first; empty unless spikes are skipped."""

    def decide(self, spec: RunSpec, norm: float) -> "tuple[Decision, Skipped]":
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
        """In words; empty when no step was skipped."""
        parts = [
            f"{self.nonfinite} with a non-finite loss or gradient" if self.nonfinite else "",
            f"{self.spikes} spikes of the gradient norm" if self.spikes else "",
        ]
        return " and ".join(part for part in parts if part)
