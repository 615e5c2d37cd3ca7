"""The options of a verb as data: what `--help` lists and what a file for `--config` may hold.

They come from the verb's dataclass and the specs in it, from which the parser makes its flags, too. A docstring that
ends in `[default: …]` says what an unset option resolves to.
"""

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from taildiff.spec import Spec
from taildiff.spec.sampling import Scales

_STATED = re.compile(r"\s*\[default: (.*)\]\.?$")
_NAMES = {int: "N", float: "X", str: "TEXT", Path: "PATH", bool: ""}


@dataclass(frozen=True)
class Option:
    """One option or positional argument."""

    key: str
    """Its name in a file: `per_class`, `data.tail`."""
    hint: Any
    """The annotation of its values."""
    value: Any
    """The default; `MISSING` if the option is required."""
    text: str = ""
    """What it does, without the default."""
    stated: str = ""
    """What the option resolves to if it is not set."""
    metavar: str = ""
    positional: bool = False
    owner: type | None = None
    """The spec that the field belongs to."""
    group: str = ""
    """The heading of a nested group whose names have no prefix."""

    @property
    def flag(self) -> str:
        """`--data.tail`; of a positional argument what stands for it."""
        return self.metavar if self.positional else f"--{self.key.replace('_', '-')}"

    @property
    def negative(self) -> str:
        """The flag that turns a switch off: `--model.no-zero-init`."""
        group, dot, name = self.flag.removeprefix("--").rpartition(".")
        return f"--{group}{dot}no-{name}"

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value."""
        return bare(self.hint) is bool

    @property
    def is_list(self) -> bool:
        """Whether it takes any number of values."""
        return get_origin(bare(self.hint)) is tuple

    @property
    def optional(self) -> bool:
        """Whether it can be None."""
        return NoneType in get_args(_unwrapped(self.hint))

    @property
    def default(self) -> str:
        """What the option is if it is not given."""
        if self.value is MISSING:
            return "required"
        if self.is_switch:
            return "on" if self.value else "off"
        if self.value is None or self.value in ((), ""):
            return self.stated or "none"
        shown = " ".join(map(_shown, self.value)) if isinstance(self.value, tuple) else _shown(self.value)
        return f"{shown}; None: {self.stated}" if self.stated and self.optional else shown


def options_of(kind: type, default: Any = None) -> list[Option]:
    """The options of a dataclass, those of the specs in it after its own; `default` has other defaults."""
    own: list[Option] = []
    nested: list[Option] = []
    hints, texts = get_type_hints(kind, include_extras=True), _docstrings(kind)
    for field in fields(kind):
        marks = getattr(hints[field.name], "__metadata__", ())
        name, metavar, text = _named(field.name, marks)
        value = getattr(default, field.name) if default is not None else _default(field)
        if isinstance(value, Spec):
            nested += _of_spec(value, f"{name}." if name else "")
        elif is_dataclass(value) and not isinstance(value, type):
            nested += [replace(each, group=f"{name} options") for each in options_of(type(value), value)]
        else:
            positional = tyro.conf.Positional in marks
            own.append(_option(name, hints[field.name], value, text or texts.get(field.name, ""), metavar, positional))
    return own + nested


def _of_spec(spec: Spec, prefix: str) -> Iterator[Option]:
    for name, info in type(spec).model_fields.items():
        value = getattr(spec, name)
        if isinstance(value, Spec):
            yield from _of_spec(value, f"{prefix}{name}.")
        else:
            hint = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
            yield _option(prefix + name, hint, value, info.description or "", "", False, type(spec))


def _option(
    key: str, hint: Any, value: Any, text: str, metavar: str, positional: bool, owner: type | None = None
) -> Option:
    text, stated = without_default(text)
    return Option(
        key,
        hint,
        value,
        text,
        stated,
        metavar or (key.upper() if positional else metavar_of(hint)),
        positional,
        owner,
    )


def without_default(text: str) -> tuple[str, str]:
    """A docstring on one line, and what it says in `[default: …]` at its end."""
    text = " ".join(text.split())
    stated = _STATED.search(text)
    return _STATED.sub("", text), stated[1] if stated else ""


def _default(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _named(name: str, marks: Sequence[Any]) -> tuple[str, str, str]:
    """Name, metavar and help, as far as `tyro.conf.arg` gives them."""
    metavar = text = ""
    for mark in marks:
        if hasattr(mark, "help_behavior_hint"):  # what `tyro.conf.arg` returns, alone of all marks
            name = name if mark.name is None else mark.name
            metavar, text = mark.metavar or "", mark.help or ""
    return name, metavar, text


@cache
def _docstrings(kind: type) -> dict[str, str]:
    """The docstrings below the fields of a dataclass and its bases."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(each)))
        except (OSError, TypeError):  # built in, or made by `make_dataclass`
            continue
        assert isinstance(tree.body[0], ast.ClassDef)
        body = tree.body[0].body
        for field, below in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match below:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        found[field.target.id] = text
    return found


def bare(hint: Any) -> Any:
    """The type of a value that is not None: `int` of `Annotated[int, …] | None`."""
    hint = _unwrapped(hint)
    if get_origin(hint) in (Union, UnionType):
        kinds = [part for part in get_args(hint) if part is not NoneType]
        return bare(kinds[0]) if len(kinds) == 1 else hint
    return hint


def _unwrapped(hint: Any) -> Any:
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint


def metavar_of(hint: Any) -> str:
    """What stands for a value in `--help`."""
    if bare(hint) == bare(Scales):
        return "NAME=G [NAME=G …]"
    hint = bare(hint)
    if get_origin(hint) is Literal:
        return "{" + ",".join(map(str, get_args(hint))) + "}"
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        each = metavar_of(parts[0])
        return f"{each} [{each} …]" if Ellipsis in parts else " ".join(map(metavar_of, parts))
    return _NAMES[hint]


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
