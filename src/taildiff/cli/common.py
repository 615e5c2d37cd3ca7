"""What all verbs share: the console, values of options, and printing of log records and errors."""

import logging
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated

import tyro
from rich.markup import escape
from rich.text import Text

from taildiff.api.terminal import SafeConsole, errors
from taildiff.device import DeviceName
from taildiff.distributed import is_rank_zero
from taildiff.errors import SpecError, unknown
from taildiff.log import log
from taildiff.spec import SamplingSpec
from taildiff.text import forgiving, shown

console = SafeConsole()
SAMPLING = SamplingSpec.model_construct()
"""Defaults of the options of sampling; not validated, so that `--spacing auto` follows the sampler that is chosen."""
QUIET = "--quiet"
HELP = ("-h", "--help", "--help-all")
DeviceOption = Annotated[
    DeviceName | None,
    tyro.conf.arg(metavar="{cpu,cuda,mps}", help="Where to compute. [default: cuda if found, else cpu]"),
]
"""The option `--device` of every verb that computes with a network."""
DevicesOption = Annotated[
    int, tyro.conf.arg(metavar="N", help="GPUs, or processes on a CPU, that sample together; the images are the same.")
]
"""The option `--devices` of the verbs that sample."""


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


def print_line(text: str) -> None:
    """Print text as it is: without markup and line breaks, so that paths can be copied."""
    console.print(Text(shown(text)), soft_wrap=True)


def print_note(text: str) -> None:
    """Print a warning about a result; also with `--quiet`, then on stderr."""
    (errors if console.quiet and is_rank_zero() else console).print(Text(shown(text), "yellow"), soft_wrap=True)


def next_steps(*commands: str) -> None:
    """Print the commands that are likely next."""
    if not wants_progress():
        return
    console.print("\n[bold]next[/]")
    for command in commands:
        console.print(f"  {escape(command)}", highlight=False, soft_wrap=True)


def print_stopped(command: Sequence[str]) -> None:
    """Print how to resume what a signal stopped; the terminal may be gone."""
    with forgiving(sys.stdout):
        again = escape(shlex.join(command))
        console.print(f"[yellow]stopped[/], everything is saved; to resume: {again}", soft_wrap=True)


def print_verbs(verb: str, verbs: Mapping[str, str]) -> None:
    """Print the verbs of a verb, by their usage such as `show PATH`, with what each does."""
    names = ",".join(usage.split()[0] for usage in verbs)
    console.print(f"usage: taildiff {verb} {{{names}}} …\n", markup=False)
    width = max(map(len, verbs)) + 2
    for usage, text in verbs.items():
        print_line(f"  {usage:<{width}}{text}")


def unknown_verb(verb: str, given: str, verbs: Iterable[str]) -> str:
    """The message for a verb of a verb, or an option in its place, that does not exist."""
    if given.startswith("-"):
        return unknown(f"option of `taildiff {verb}`", given, HELP[1:])
    return unknown(f"verb of `taildiff {verb}`", given, [usage.split()[0] for usage in verbs])


def print_all_help(main: Callable[[list[str]], int], verbs: Iterable[str]) -> None:
    """Print every option of each of these verbs of `main`, one after the other."""
    for verb in verbs:
        console.print()
        with suppress(SystemExit):  # how help ends
            main([verb.split()[0], "--help-all"])


def command_line(*words: object, program: str = "taildiff") -> str:
    """A command, quoted for the shell."""
    return " ".join(map(_quoted, (program, *map(str, words))))


def _quoted(word: str) -> str:
    """A word for the shell; one with characters that are shown escaped as $'…', where shells read the escapes."""
    if "\n" not in word and shown(word) == word:
        return shlex.quote(word)
    plain = word.replace("\\", r"\\").replace("'", r"\'").replace("\n", r"\n")
    return f"$'{shown(plain)}'"


def start_output(args: Sequence[str]) -> None:
    """Print what the library logs, on stderr; of several processes that train together, only rank zero prints.

    With `--quiet` among the arguments: warnings and errors alone, and the answer of a verb that writes no file.
    """
    quiet = QUIET in args
    answers = bool({*HELP, "--dry-run"} & {*args}) or bool({args[0], " ".join(args[:2])} & _ANSWERS)
    console.quiet = not is_rank_zero() or (quiet and not answers)
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    if not any(isinstance(handler, _ConsoleHandler) for handler in log.handlers):
        log.addHandler(_ConsoleHandler())


_ANSWERS = {"compare", "recipes", "data show", "study status"}
"""Verbs whose result is what they print."""


def wants_progress() -> bool:
    """Whether the command line was given without `--quiet`."""
    return log.level < logging.WARNING


class _ConsoleHandler(logging.Handler):
    """A plain line per record, warnings in yellow."""

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else ""
        with forgiving(sys.stderr):  # a terminal that is closed must not end training
            errors.print(Text(shown(record.getMessage()), style), soft_wrap=True)


def fail(message: str) -> None:
    """Print an error."""
    errors.print(Text.assemble(("error: ", "bold red"), shown(message)), soft_wrap=True)
