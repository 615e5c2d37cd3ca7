"""What all verbs share: the console, options from specs, and printing of log records and errors."""

import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import TypeVar

import tyro
from pydantic import ValidationError
from rich.markup import escape
from rich.text import Text

from taildiff.api.terminal import SafeConsole
from taildiff.distributed import is_local_rank_zero, is_rank_zero
from taildiff.errors import SpecError
from taildiff.log import log
from taildiff.spec import explain
from taildiff.spec.base import INTEGERS
from taildiff.text import forgiving, shown

console = SafeConsole()
errors = SafeConsole(stderr=True)
T = TypeVar("T")


def parse_options(
    options: type[T], args: Sequence[str], prog: str, default: T | None = None, description: str | None = None
) -> T:
    """Options from a dataclass or spec; a wrong option prints an error and exits with 2."""
    config = (tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff)
    try:
        with _guarded(args):
            parsed = tyro.cli(
                options, prog=prog, args=list(args), default=default, description=description, config=config
            )
    except ValidationError as error:  # a value of the right type, out of bounds
        raise SpecError(explain(error)) from None
    assert isinstance(parsed, options)
    for name, value in vars(parsed).items():
        if isinstance(value, int) and value not in INTEGERS:  # a spec checks its own
            raise SpecError(f"--{name.replace('_', '-')}: must have at most {len(str(INTEGERS[-1]))} digits")
    return parsed


@contextmanager
def _guarded(args: Sequence[str]) -> Iterator[None]:
    """Let the parser print its errors on the first process of a node alone, and arguments in them escaped."""
    if is_local_rank_zero() and all(arg == shown(arg) for arg in args):
        yield
        return
    printed = StringIO()
    try:
        with redirect_stderr(printed):
            yield
    finally:
        if is_local_rank_zero():
            sys.stderr.write(shown(printed.getvalue()))


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


def guidances(guidance: Sequence[float], omega: Sequence[float], default: Sequence[float] = ()) -> tuple[float, ...]:
    """Distinct values of g from either of its options; omega = g - 1, as the DDPM family writes it."""
    if guidance and omega:
        raise SpecError("give --guidance or --omega, not both: omega = guidance - 1")
    values = tuple(dict.fromkeys(guidance or [1 + value for value in omega] or default))
    for value in values:
        if not 0 <= value < float("inf"):
            raise SpecError(f"guidance {value:g}{f' (omega {value - 1:g})' if omega else ''} is not a number from 0 up")
    return values


def print_line(text: str, style: str = "") -> None:
    """Print text as it is: without markup and line breaks, so that paths can be copied."""
    console.print(Text(shown(text), style), soft_wrap=True)


def next_steps(*commands: str) -> None:
    """Print the commands that are likely next."""
    console.print("\n[bold]next[/]")
    for command in commands:
        console.print(f"  {escape(command)}", highlight=False, soft_wrap=True)


def command_line(*words: object) -> str:
    """A command, quoted for the shell."""
    return " ".join(map(_quoted, ("taildiff", *map(str, words))))


def _quoted(word: str) -> str:
    """A word for the shell; one with characters that are shown escaped as $'…', where shells read the escapes."""
    if "\n" not in word and shown(word) == word:
        return shlex.quote(word)
    plain = word.replace("\\", r"\\").replace("'", r"\'").replace("\n", r"\n")
    return f"$'{shown(plain)}'"


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
        with forgiving(sys.stderr):  # a terminal that is closed must not end training
            errors.print(Text(shown(record.getMessage()), style), soft_wrap=True)


def fail(message: str) -> None:
    """Print an error."""
    errors.print(Text.assemble(("error: ", "bold red"), shown(message)), soft_wrap=True)
