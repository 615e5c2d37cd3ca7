"""What a run sends to trackers: the numbers of its lines in metrics.jsonl, and its sample grids."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from taildiff.errors import InputError, RunError, TaildiffError
from taildiff.log import log
from taildiff.run.layout import RunDir
from taildiff.run.metrics import logged_lines
from taildiff.text import one_line
from taildiff.trackers.base import NAMES, ExperimentTracker

GRID = "samples"
"""The name of sample grids."""


class Entry(NamedTuple):
    """What is sent at once."""

    step: int
    values: Mapping[str, float] = {}
    images: Mapping[str, Path] = {}


def entries(run: RunDir, last: int | None = None) -> Iterator[Entry]:
    """Everything that a run has logged and drawn, by step, up to the step `last`."""
    lines = (line_entry(line) for line in logged_lines(run.metrics))
    grids = (grid_entry(run, step) for step in run.grid_steps())
    for entry in heapq.merge(lines, grids, key=lambda entry: entry.step):
        if last is None or entry.step <= last:
            yield entry


def line_entry(line: Mapping[str, Any]) -> Entry:
    """A line of metrics.jsonl: `{"terms": {"ucl": 1.5}}` as `terms/ucl`, the items of lists from 1; nulls are left out.

    >>> line_entry({"step": 3, "loss": 0.5, "terms": {"ucl": None}, "by_noise": {"ucl": [1, 2]}}).values
    {'loss': 0.5, 'by_noise/ucl/1': 1.0, 'by_noise/ucl/2': 2.0}
    """
    return Entry(int(line["step"]), dict(_numbers({name: value for name, value in line.items() if name != "step"})))


def grid_entry(run: RunDir, step: int) -> Entry:
    """The sample grid of a step."""
    return Entry(step, images={GRID: run.sample_grid(step)})


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    match value:
        case Mapping():
            for key, inner in value.items():
                yield from _numbers(inner, f"{name}/{key}" if name else key)
        case list():
            yield from _numbers({str(place): inner for place, inner in enumerate(value, start=1)}, name)
        case int() | float():
            yield name, float(value)


class Clock:
    """The time of an entry: the run's start plus the training time, so that pauses do not count."""

    def __init__(self, run: RunDir):
        self._start, self._seconds = run.info().created_seconds, 0.0

    def at(self, entry: Entry) -> float:
        """Seconds since 1970; a grid has the time of the line before it."""
        self._seconds = entry.values.get("seconds", self._seconds)
        return self._start + self._seconds


class Feed:
    """Sends a run to trackers while it is trained; one that fails is dropped with one warning."""

    def __init__(self, run: RunDir, trackers: Sequence[ExperimentTracker] = ()):
        self._run, self._trackers = run, list(trackers)

    def start(self, last: int) -> None:
        """Begin with what the run has logged up to the step `last`."""
        if not self._trackers:
            return
        self._clock = Clock(self._run)
        self._each(lambda tracker: tracker.init(self._run))
        try:
            for entry in entries(self._run, last):
                self._send(entry)
        except RunError as error:
            for tracker in self._trackers:
                self._drop(tracker, error)

    def line(self, line: Mapping[str, Any] | None) -> None:
        """Send a line of metrics.jsonl, if there is one."""
        if self._trackers and line is not None:
            self._send(line_entry(line))

    def grid(self, step: int) -> None:
        """Send the sample grid of a step."""
        if self._trackers:
            self._send(grid_entry(self._run, step))

    def finish(self) -> None:
        """Close the trackers."""
        self._each(lambda tracker: tracker.finish())
        self._trackers = []

    def _send(self, entry: Entry) -> None:
        time = self._clock.at(entry)
        self._each(lambda tracker: tracker.log(entry.step, time, entry.values, entry.images))

    def _each(self, call: Callable[[ExperimentTracker], None]) -> None:
        for tracker in self._trackers:
            try:
                call(tracker)
            except (Exception, SystemExit) as error:
                self._drop(tracker, error)

    def _drop(self, tracker: ExperimentTracker, error: BaseException) -> None:
        self._trackers = [other for other in self._trackers if other is not tracker]
        later = f": taildiff log {self._run.root} --to {tracker.name}" if tracker.name in NAMES else ""
        log.warning(
            f"tracking by {tracker.name} stopped ({type(error).__name__}: {one_line(error)}); training goes on, and "
            f"{self._run.metrics} has everything{later}"
        )
        with suppress(Exception, SystemExit):
            tracker.finish()


def replay(run: RunDir, tracker: ExperimentTracker) -> int:
    """Send all that a run has logged to a tracker, and return the number of lines.

    `InputError` where there are none yet, or where the tracker fails.
    """
    if next(logged_lines(run.metrics), None) is None:
        raise InputError(f"{run.root} has logged nothing yet; continue it with the same taildiff train command")
    clock, lines = Clock(run), 0
    try:
        tracker.init(run)
        try:
            for entry in entries(run):
                tracker.log(entry.step, clock.at(entry), entry.values, entry.images)
                lines += bool(entry.values)
        finally:
            tracker.finish()
    except (TaildiffError, OSError):
        raise
    except Exception as error:
        raise InputError(
            f"{run.root} could not be sent to {tracker.name} ({type(error).__name__}: {one_line(error)}); mend this, "
            "then rerun the same command"
        ) from None
    return lines
