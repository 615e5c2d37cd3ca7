"""Options of a verb from its dataclass, by tyro; `--help` and `--config` are ours."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import field, fields, make_dataclass, replace
from inspect import cleandoc
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import tyro
from pydantic import ValidationError

from taildiff.cli.common import HELP
from taildiff.cli.config import ConfigFile
from taildiff.cli.help import show_help
from taildiff.cli.mistakes import check_words
from taildiff.cli.options import Option, options_of
from taildiff.distributed import is_local_rank_zero
from taildiff.errors import SpecError
from taildiff.spec import explain
from taildiff.spec.base import INTEGERS
from taildiff.spec.sampling import Scales
from taildiff.text import shown

T = TypeVar("T")
_EVERYWHERE: tuple[tuple[str, Any, Any], ...] = (
    (
        "config",
        Annotated[
            Path | None,
            tyro.conf.arg(
                metavar="FILE",
                help="Take options from this TOML file; those on the command line win. [default: no file]",
            ),
        ],
        field(default=None),
    ),
    (
        "quiet",
        Annotated[
            bool,
            tyro.conf.arg(
                help="Print only warnings, errors and what was asked for: no progress, no summary, no next commands."
            ),
        ],
        field(default=False),
    ),
)
"""The fields of the options that go with every verb; `start_output` has obeyed `--quiet` by then."""


def parse_options(
    options: type[T],
    args: Sequence[str],
    prog: str,
    default: T | None = None,
    description: str | None = None,
    common: Sequence[str] | None = None,
    file: ConfigFile | None = None,
    unset: Mapping[str, str] | None = None,
) -> T:
    """Options from a dataclass, with `--config`, `--quiet` and help besides; a wrong option exits with 2.

    `default`: other defaults. `common`: the keys that `--help` lists, in order; all but rare ones of specs if omitted.
    `file`: that of `--config`, without what the caller has used; read if omitted. `unset`: by key, what an option
    resolves to here if it is not given.
    """
    full: Any = make_dataclass(options.__name__, _EVERYWHERE, bases=(options,), frozen=True, kw_only=True)
    start = None
    if default is not None:
        start = full(**{each.name: getattr(default, each.name) for each in fields(default)})  # pyright: ignore[reportArgumentType]
    known, file = options_of(full, start), ConfigFile.named_in(args) if file is None else file
    words = file.words(known, args)
    if wanted := {*HELP} & {*args}:
        known = [replace(each, stated=(unset or {}).get(each.key, each.stated)) for each in known]
        shown_options, about = file.shown_in(known), description or cleandoc(options.__doc__ or "")
        show_help(prog, about, shown_options, "--help-all" in wanted, common)
        raise SystemExit(0)
    check_words(args, known, prog)
    parsed = _parsed(full, [*args, *words], prog, start, known)
    assert isinstance(parsed, options)
    for name, value in vars(parsed).items():
        if isinstance(value, int) and value not in INTEGERS:  # a spec checks its own
            raise SpecError(f"--{name.replace('_', '-')}: must have at most {len(str(INTEGERS[-1]))} digits")
    return parsed


def _parsed(full: Any, args: Sequence[str], prog: str, default: Any, known: Sequence[Option]) -> Any:
    args = _joined(args, {each.flag for each in known if each.is_list and each.owner is None and not each.positional})
    try:
        with _guarded(args):
            return tyro.cli(
                full,
                prog=prog,
                args=args,
                default=default,
                config=(tyro.conf.AvoidSubcommands,),
                registry=_registry(),
            )
    except ValidationError as error:  # a value of the right type, out of bounds
        raise SpecError(explain(error)) from None


def _joined(args: Sequence[str], lists: set[str]) -> list[str]:
    """`--classes A --out X --classes B` as `--classes A B --out X`: the parser would keep the last value alone."""
    part: list[str] = []
    parts, of_list = [part], dict[str, list[str]]()
    for arg in args:
        flag, equals, value = arg.partition("=")
        if flag in of_list:
            part = of_list[flag]
            part += [value] if equals else []
        elif arg.startswith("--"):
            part = [flag, value] if flag in lists and equals else [arg]
            parts.append(part)
            if flag in lists:
                of_list[flag] = part
        else:
            part.append(arg)
    return [arg for part in parts for arg in part]


def _registry() -> tyro.constructors.ConstructorRegistry:
    """How the parser reads guidance scales by name: `cat=3 owl=1.5`."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def _(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
        if info.type != get_args(Scales)[0]:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs="*",
            metavar="NAME=G [NAME=G …]",
            instance_from_str=lambda words: tuple(map(_scale, words)),
            is_instance=lambda value: isinstance(value, tuple),
            str_from_instance=lambda scales: [f"{name}={g:g}" for name, g in scales],
        )

    return registry


def _scale(word: str) -> tuple[str, float]:
    name, _, value = word.rpartition("=")
    with suppress(ValueError):
        if name:
            return name, float(value)
    raise ValueError(f"'{word}' is not NAME=G, such as cat=3")


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
