"""Options and choices that do not exist, refused with the nearest that does, and words where a number belongs."""

import difflib
import itertools
from collections.abc import Sequence
from typing import Literal, get_args, get_origin

from taildiff.cli.common import HELP
from taildiff.cli.options import Option, bare
from taildiff.errors import SpecError, unknown

_MOST = 3  # options suggested
_NUMBERS = {int: "a whole number, such as 200", float: "a number, such as 0.5"}


def check_words(args: Sequence[str], known: Sequence[Option], prog: str) -> None:
    """`SpecError` for an option that none of `known` is, or a value that is not among an option's choices."""
    flags = {flag: each for each in known if not each.positional for flag in _flags(each)}
    for k, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if not name.startswith("--") or len(name) == 2:
            continue
        option = flags.get(name.replace("_", "-"))
        if option is None:
            nearest = _nearest(name, list(flags))
            raise SpecError(f"unknown option '{name}': {nearest}{prog} --help-all lists all of them")
        given = [value] if equals else list(itertools.takewhile(lambda word: not word.startswith("--"), args[k + 1 :]))
        if not (given or option.is_switch or option.is_list):
            raise SpecError(f"{arg} needs a value; {prog} --help shows which")
        for each in given if option.is_list else given[:1]:
            _check_value(option, each)


def _check_value(option: Option, given: str) -> None:
    kind = bare(option.hint)
    if kind in _NUMBERS and not (option.optional and given == "None"):
        try:
            kind(given)
        except ValueError:
            raise SpecError(f"{option.flag} takes {_NUMBERS[kind]}, not '{given}'") from None
    kind = get_args(kind)[0] if option.is_list else kind
    choices = [str(each) for each in get_args(kind)]
    if get_origin(kind) is Literal and given not in choices and not (option.optional and given == "None"):
        raise SpecError(f"{option.flag}: {unknown('value', given, choices)}")


def _flags(option: Option) -> list[str]:
    return [option.flag, option.negative] if option.is_switch else [option.flag]


def _nearest(name: str, flags: Sequence[str]) -> str:
    """`did you mean …? `, with options of that last name, or else the one whose name is closest; empty without any."""
    plain = name.replace("_", "-").lower().lstrip("-")
    found = [flag for flag in flags if flag.removeprefix("--").rpartition(".")[2] == plain][:_MOST]
    if not found:
        names = {flag.removeprefix("--"): flag for flag in [*flags, *HELP[1:]]}
        names = {flag.rpartition(".")[2]: flag for flag in reversed(flags)} | names if "." not in plain else names
        found = [names[each] for each in difflib.get_close_matches(plain, names, n=1)]
    return f"did you mean {' or '.join(found)}? " if found else ""
