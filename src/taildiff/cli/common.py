"""What all verbs share: the console, progress, options from specs, and errors as one message."""

import logging
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from io import StringIO
from typing import Any, TypeVar

import tyro
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from taildiff.distributed import is_local_rank_zero, is_rank_zero
from taildiff.errors import SpecError
from taildiff.log import Progress as Report
from taildiff.log import log
from taildiff.spec import explain

console = Console()
errors = Console(stderr=True)
T = TypeVar("T")
QUIET_SECONDS = 15.0
"""Without a terminal, a line of progress so often."""


def parse_options(
    options: type[T], args: Sequence[str], prog: str, default: T | None = None, description: str | None = None
) -> T:
    """Options from a dataclass or spec; a wrong one prints what is wrong and exits with 2."""
    config = (tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff)
    try:
        with nullcontext() if is_local_rank_zero() else redirect_stderr(StringIO()):
            parsed = tyro.cli(
                options, prog=prog, args=list(args), default=default, description=description, config=config
            )
    except ValidationError as error:  # a value of the right type that is out of its bounds
        raise SpecError(explain(error)) from None
    assert isinstance(parsed, options)
    return parsed


def numbers(text: str) -> tuple[float, ...]:
    """`1,1.5,2` or `1 1.5 2` as floats; at least one."""
    parts = text.replace(",", " ").split()
    try:
        values = tuple(float(part) for part in parts)
    except ValueError:
        values = ()
    if not values:
        what = f"'{text}' is not a list of numbers" if parts else "a list of numbers is missing"
        raise SpecError(f"{what} such as 1,1.5,2")
    return values


def guidances(
    guidance: Sequence[float], omega: Sequence[float], default: Sequence[float] = (1.5,)
) -> tuple[float, ...]:
    """Distinct values of g from whichever of its names was given; omega = g - 1, as the DDPM family writes it."""
    if guidance and omega:
        raise SpecError("give --guidance or --omega, not both: omega = guidance - 1")
    values = tuple(dict.fromkeys(guidance or [1 + value for value in omega] or default))
    for value in values:
        if not 0 <= value < float("inf"):
            raise SpecError(f"guidance {value:g}{f' (omega {value - 1:g})' if omega else ''} is not a number from 0 up")
    return values


def next_steps(*commands: str) -> None:
    """End a verb by naming what one is likely to do next."""
    console.print("\n[bold]next[/]")
    for command in commands:
        console.print(f"  {escape(command)}", highlight=False, soft_wrap=True)


def command_line(*words: object) -> str:
    """A command as one would type it."""
    return shlex.join(["taildiff", *map(str, words)])


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")


@contextmanager
def progress_bar() -> Iterator[Report]:
    """Stages with bar, rate and remaining time; without a terminal, a plain line now and then."""
    if not errors.is_terminal or console.quiet:
        yield _lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int, /) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, completed=0)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


def _lines() -> Callable[[str, int, int], None]:
    began: dict[str, tuple[float, int]] = {}
    said: dict[str, float] = {}

    def report(stage: str, done: int, total: int, /) -> None:
        now = time.monotonic()
        start, first = began.setdefault(stage, (now, done))
        if done < total and now - said.setdefault(stage, start) < QUIET_SECONDS:
            return
        said[stage] = now
        rate = (done - first) / (now - start) if now > start and done > first else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        print(f"{stage}: {done}/{total}" + (f" ({rate:.1f}/s{left})" if rate else ""), file=sys.stderr, flush=True)

    return report


def report_on_rank_zero() -> None:
    """Print what the library logs, on stderr; of several processes that train together, only rank zero prints."""
    console.quiet = not is_rank_zero()
    log.setLevel(logging.INFO)
    if not any(isinstance(handler, _ConsoleHandler) for handler in log.handlers):
        log.addHandler(_ConsoleHandler())


class _ConsoleHandler(logging.Handler):
    """A plain line per record, warnings in yellow."""

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else ""
        errors.print(Text(record.getMessage(), style), soft_wrap=True)


def fail(message: str) -> None:
    """An error, as one message."""
    errors.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
