"""What an experiment tracker is, and the known ones by name."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from taildiff.errors import InputError, SpecError, unknown
from taildiff.io.paths import reason
from taildiff.run.layout import RunDir

TrackerName = Literal["tensorboard", "wandb"]
NAMES: tuple[TrackerName, ...] = get_args(TrackerName)


@runtime_checkable
class ExperimentTracker(Protocol):
    """Where a run's metrics and sample grids are shown; called by one process alone, in the order init, log …, finish.

    Each call of training begins with `init` and all that the run has logged before, so a tracker needs no memory: it
    starts an empty curve in `init`. What a method raises is logged once as a warning, and training goes on without
    the tracker.
    """

    name: str
    """For messages."""

    def init(self, run: RunDir) -> None:
        """Begin: `run.root` is the run's folder, `run.info().spec` its settings."""
        ...

    def log(self, step: int, time: float, values: Mapping[str, float], images: Mapping[str, Path]) -> None:
        """Show values by name, such as `terms/ucl`, and PNG files by name; steps never decrease.

        `time`: seconds since 1970 of the run's start plus the training time, in which pauses do not count.
        """
        ...

    def finish(self) -> None:
        """End, after `init` or when a method failed; nothing else is called before the next `init`."""
        ...


Trackers = str | ExperimentTracker | Sequence[str | ExperimentTracker]
"""Names of known trackers, or trackers of your own; one or several."""


def tracker(which: str | ExperimentTracker) -> ExperimentTracker:
    """A known tracker by name, or one of your own; `InputError` where there is none, or its library is missing."""
    match which:
        case "tensorboard":
            from taildiff.trackers.tensorboard import TensorBoard

            return TensorBoard()
        case "wandb":
            from taildiff.trackers.wandb import WandB

            return WandB()
        case str():
            raise SpecError(unknown("tracker", which, NAMES))
        case ExperimentTracker():
            return which
    raise SpecError(
        f"{which!r:.80} is no experiment tracker: it needs name, init, log and finish (known ones: {', '.join(NAMES)})"
    )


def trackers(log: Trackers) -> tuple[ExperimentTracker, ...]:
    """One or several of them."""
    several = log if isinstance(log, Sequence) and not isinstance(log, str) else [log]
    return tuple(map(tracker, several))


def library(module: str, extra: str) -> Any:
    """A module of a tracker's library; `InputError` says how to install the extra."""
    install = f"pip install 'taildiff[{extra}]'"
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == extra:
            raise InputError(f"{extra} is not installed: {install}") from None
        problem = reason(error)
    except Exception as error:  # its own dependencies may not fit together
        problem = reason(error)
    raise InputError(f"{extra} cannot be imported ({problem}); install it again: {install}")
