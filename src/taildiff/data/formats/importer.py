"""The record of an importer: what the command line, Python and the documentation need to know about it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import TypeAdapter, ValidationError

from taildiff.data.formats.published import Dataset
from taildiff.errors import InputError

if TYPE_CHECKING:
    from taildiff.data.source import Found


@dataclass(frozen=True)
class Option:
    """An option of an importer: written in the annotation of a `find` function's parameter, completed from there."""

    help: str
    metavar: str = ""
    name: str = ""
    """This and the rest: of the parameter."""
    type: Any = None
    default: Any = None

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")

    def check(self, value: object) -> Any:
        """`value` in the option's type; `InputError` when it does not fit."""
        try:
            return TypeAdapter(self.type).validate_python(value)
        except ValidationError as error:
            raise InputError(f"{self.flag} {value}: {error.errors()[0]['msg']}") from None


Names = Annotated[
    Path | None,
    Option("Class names, one per line, in label order. [default: those in the source, else numbers]", "FILE"),
]
Root = Annotated[
    Path | None, Option("Folder that paths in SOURCE are relative to. [default: the file's own]", "FOLDER")
]
Partial = Annotated[bool, Option("Accept an incomplete copy; the store records what is missing.")]


@dataclass(frozen=True)
class Importer:
    """One source format: `taildiff data prepare NAME SOURCE`."""

    name: str
    source: str
    """What SOURCE is, such as `file` or `folder`; empty if there is none."""
    help: str
    """One line for `taildiff data prepare --help`."""
    find: "Callable[..., Found]"
    """`find(source, …)`, or `find()` where there is no source; its other parameters are the importer's options."""
    dataset: Dataset | None = None
    """The published dataset that a copy is checked against."""

    @cached_property
    def options(self) -> dict[str, Option]:
        """Options by name, read from the signature of `find`."""
        parameters = list(inspect.signature(self.find).parameters.values())[bool(self.source) :]
        return {
            each.name: replace(
                each.annotation.__metadata__[0], name=each.name, type=each.annotation, default=each.default
            )
            for each in parameters
        }

    @property
    def usage(self) -> str:
        """The command with this importer's options, and what a published dataset looks like; several lines."""
        source = " SOURCE" if self.source else ""
        flags = "".join(f" [{f'{option.flag} {option.metavar}'.strip()}]" for option in self.options.values())
        command = f"taildiff data prepare {self.name}{source} --out STORE{flags}"
        return "\n".join([command, *([self.dataset.instructions] if self.dataset else [])])
