"""The request of one call of training, and its outcome."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from taildiff.data.latents import LatentStore
from taildiff.data.longtail import Split
from taildiff.data.store import Store
from taildiff.run.layout import RunDir
from taildiff.spec import RunSpec


@dataclass(frozen=True)
class StopRule:
    """When to stop before the last step; the run is saved and can be resumed."""

    step: int | None = None
    seconds: float | None = None
    """Of this call, including saving."""


@dataclass(frozen=True)
class TrainingRequest:
    """A run to start or to resume: where, with which settings, on which data."""

    run: RunDir
    spec: RunSpec
    store: Store | LatentStore
    stop: StopRule = StopRule()
    start_from: Path | None = None
    """A weights file to start a new run from."""
    command: tuple[str, ...] = ()
    """The command line, recorded in run.json."""

    @cached_property
    def split(self) -> Split:
        """The images to train on."""
        return Split.cut(self.store, self.spec.data)


@dataclass(frozen=True)
class Outcome:
    """How a call of training ended."""

    step: int
    reason: str
    """`finished`, `stop-at`, `max-time` or `signal`."""
    signal: int | None = None
    is_rank_zero: bool = True
    """Whether this is the process that reports to the user."""
