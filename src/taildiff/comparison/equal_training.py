"""How far weights were trained, to compare runs at equal training time, steps or images; imports no torch."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from taildiff.errors import RunError
from taildiff.run.layout import RunDir, seconds_at

At = Literal["time", "steps", "images"]
CLOSE = 0.1
"""Relative difference of training steps, images or seconds up to which they count as equal."""
_UNITS: dict[At, str] = {"time": "seconds of training", "steps": "steps", "images": "training images"}


@dataclass(frozen=True)
class Training:
    """How far evaluated weights were trained, and how far they should have been."""

    run: RunDir
    at: At
    step: int
    amount: float
    """Seconds, steps or images."""
    wanted: float
    """The longest training that all runs have reached."""

    @property
    def apart(self) -> float:
        """Relative difference to what was wanted."""
        return abs(self.amount - self.wanted) / self.wanted if self.wanted else float(self.amount > 0)

    @property
    def text(self) -> str:
        """Such as "1200 steps"."""
        return f"{self.amount:.4g} {_UNITS[self.at]}"


def amount(run: RunDir, step: int, at: At) -> float:
    """Seconds, steps or images of training up to a step; `RunError` where the log does not have the time."""
    match at:
        case "steps":
            return float(step)
        case "images":
            return float(step * run.info().spec.batch_size)
        case "time":
            return seconds_at(run.metrics, step)


def uneven(name: str, training: Training) -> str | None:
    """A warning where the weights are not within `CLOSE`, with nearer ones to evaluate where they exist."""
    if training.apart <= CLOSE:
        return None
    text = (
        f"{name} has no evaluation near {training.wanted:.4g} {_UNITS[training.at]}: the nearest is of step "
        f"{training.step}, at {training.amount:.4g}"
    )
    nearest = _nearest(training, training.run.weight_steps())
    if nearest is None:
        return f"{text}; read differences with care"
    return f"{text}. Nearer weights can be evaluated: taildiff evaluate {training.run.root} --step {nearest}"


def _nearest(training: Training, steps: Iterable[int]) -> int | None:
    """The step whose training is nearest to what was wanted; None if no other is nearer."""
    gaps = {training.step: abs(training.amount - training.wanted)}
    for step in steps:
        with suppress(RunError):  # weights from before the first line of the log
            gaps[step] = abs(amount(training.run, step, training.at) - training.wanted)
    best = min(gaps, key=lambda step: gaps[step])
    return best if gaps[best] < gaps[training.step] else None
