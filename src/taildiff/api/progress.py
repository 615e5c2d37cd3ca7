"""Progress for people: a bar on a terminal, else a line now and then, both on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from taildiff.distributed import is_local_rank_zero
from taildiff.log import Progress, note_of, silent
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
    from taildiff.api.bars import Display  # rich

    display = Display()
    display.start()
    try:
        yield display
    finally:
        display.stop()


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
        note = f", {note_of(stage)}" if note_of(stage) else ""
        with forgiving(sys.stderr):
            sys.stderr.write(f"{shown(stage)}: {done}/{total}{speed}{note}\n")
            sys.stderr.flush()

    return report
