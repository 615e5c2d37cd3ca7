"""Progress on a terminal: one display, with a bar for each stage that moves.

A stage that is finished when another one begins scrolls away above the display, among the lines of the log, so that
however many stages there are, the display fits on the screen.
"""

import sys
from contextlib import suppress

from rich.errors import LiveError
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from taildiff.api.terminal import errors
from taildiff.log import note_of
from taildiff.text import forgiving, shown

_WIDTH, _BAR = 24, 20  # of the names of stages, at least, so that bars stand below each other; of a bar
_MOST = 6  # bars that are not finished, such as of a class of which images are missing


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")


class Display:
    """Bars on stderr between `start` and `stop`; calling it reports progress."""

    def __init__(self) -> None:
        self._bars = Bars(
            TextColumn("{task.description}", markup=False, table_column=Column(min_width=_WIDTH, no_wrap=True)),
            *(BarColumn(bar_width=_BAR), MofNCompleteColumn(), _Rate()),
            TextColumn("{task.fields[note]}", markup=False),
            *(TimeElapsedColumn(), TimeRemainingColumn()),
            console=errors,
        )
        self._tasks: dict[str, TaskID] = {}
        self._ended: set[str] = set()

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Show that `done` of `total` units are done."""
        with forgiving(sys.stderr):
            if stage not in self._tasks:
                if stage in self._ended and done >= total:
                    return
                self._make_room()
                self._tasks[stage] = self._bars.add_task(shown(stage), total=total, completed=0, note="")
            self._bars.update(self._tasks[stage], completed=done, total=total, note=note_of(stage))

    def start(self) -> None:
        """Show it; within another display it needs rich 14.1 and stays hidden before."""
        with forgiving(sys.stderr), suppress(LiveError):
            self._bars.start()

    def stop(self) -> None:
        """Leave the last bars where they are."""
        with forgiving(sys.stderr):
            self._bars.stop()

    def _make_room(self) -> None:
        by_id = {task.id: task for task in self._bars.tasks}
        for stage, task in [*self._tasks.items()]:
            if by_id[task].finished or len(self._tasks) >= _MOST:
                self._bars.print(self._bars.make_tasks_table([by_id[task]]))
                self._bars.remove_task(self._tasks.pop(stage))
                self._ended.add(stage)
