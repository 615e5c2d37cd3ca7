"""Progress for people: a bar on a terminal, else a line now and then, both on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from taildiff.distributed import is_local_rank_zero
from taildiff.log import Progress, Stage, silent
from taildiff.text import forgiving, shown

QUIET_SECONDS = 15.0
"""Between two lines where there is no terminal."""


@contextmanager
def reporting(progress: bool | Progress) -> Iterator[Progress]:
    """The callback for a `progress` argument: True draws bars, False is silent, a callback is called."""
    if progress is True:
        with progress_bar() as report:
            yield report
    else:
        yield progress or silent


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Stages with bar, rate and remaining time; without a terminal, a plain line now and then."""
    if not sys.stderr.isatty() or not is_local_rank_zero():
        yield _lines()
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars
    from rich.text import Text

    from taildiff.api.terminal import SafeConsole

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")

    columns = (
        *(TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), Rate()),
        TextColumn("{task.fields[note]}", markup=False),
    )
    bars = Bars(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=SafeConsole(stderr=True))
    tasks: dict[str, Any] = {}

    def report(stage: str, done: int, total: int, /) -> None:
        with forgiving(sys.stderr):
            if stage not in tasks:
                tasks[stage] = bars.add_task(shown(stage), total=total, completed=0, note="")
            bars.update(tasks[stage], completed=done, total=total, note=_note(stage))

    with forgiving(sys.stderr):
        bars.start()
    try:
        yield report
    finally:
        with forgiving(sys.stderr):
            bars.stop()


def _note(stage: str) -> str:
    return stage.note if isinstance(stage, Stage) else ""


def _lines() -> Callable[[str, int, int], None]:
    began: dict[str, tuple[float, int]] = {}
    printed: dict[str, float] = {}

    def report(stage: str, done: int, total: int, /) -> None:
        now = time.monotonic()
        start, first = began.setdefault(stage, (now, done))
        if done < total and now - printed.setdefault(stage, start) < QUIET_SECONDS:
            return
        printed[stage] = now
        rate = (done - first) / (now - start) if now > start and done > first else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        speed = f" ({rate:.1f}/s{left})" if rate else ""
        note = f", {_note(stage)}" if _note(stage) else ""
        with forgiving(sys.stderr):
            sys.stderr.write(f"{shown(stage)}: {done}/{total}{speed}{note}\n")
            sys.stderr.flush()

    return report
