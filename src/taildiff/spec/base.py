"""The base of all specs: frozen, strict, with errors that name the field and the closest valid one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from taildiff.errors import SpecError, unknown

INTEGERS = range(-(10**19) + 1, 10**20)
"""Integers that files can hold: those of at most 20 characters, as larger ones cause errors far from the file."""
LARGEST_COUNT = 2**63 - 1
"""As far as arrays can count."""
Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
CountOrZero = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
"""A count that may be 0."""
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
_LARGEST = 1e30  # far above every sensible value, and float32 still holds it
Positive = Annotated[float, Field(gt=0, le=_LARGEST)]
Weight = Annotated[float, Field(ge=0, le=_LARGEST)]
NoiseWeight = Literal["noise", "clean", "none"]


class Spec(BaseModel):
    """Base of all specs: frozen; numbers must be finite; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*")
    @classmethod
    def _readable(cls, value: Any) -> Any:
        """The value, if a file that holds it can be read again."""
        check_readable(value)
        return value


def check_readable(value: Any) -> None:
    """ValueError for what `io.json_files` would not read: integers outside `INTEGERS`, and text that is not UTF-8."""
    if type(value) is int and value not in INTEGERS:
        raise ValueError(f"must have at most {len(str(INTEGERS[-1]))} digits")
    if isinstance(value, str | Path):
        try:
            str(value).encode()
        except UnicodeEncodeError:
            raise ValueError("must be valid UTF-8") from None
    elif isinstance(value, dict):
        check_readable((*value, *value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            check_readable(part)


S = TypeVar("S", bound="Spec")


def parse(cls: type[S], values: Any, source: str = "") -> S:
    """Build a spec; `SpecError` with one line per problem and the closest field name."""
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise SpecError(explain(error, source, field_names(cls))) from None


def explain(error: ValidationError, source: str = "", known: Sequence[str] = ()) -> str:
    """A pydantic error as one line per problem; `known` are the names to suggest from."""
    where = f"{source}: " if source else ""
    return "\n".join(where + _explain(problem, known) for problem in error.errors())


def _explain(problem: Any, known: Sequence[str]) -> str:
    dotted = _short(".".join(str(part) for part in problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return unknown("field", dotted, known)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing" or isinstance(problem["input"], dict):  # would print the whole record
        return f"{dotted}: {message}" if dotted else message
    return f"{dotted}: {message} (got {_short(_shown(problem['input']))})" if dotted else message


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes integers of at most 4,300 digits
        return "an integer of thousands of digits"


def _short(text: str, most: int = 200) -> str:
    """`text` cut to `most` characters, because a damaged file may hold values of any length."""
    return text if len(text) <= most else f"{text[:most]}…"


def field_names(cls: type[Spec], prefix: str = "") -> list[str]:
    """The dotted names of all leaf fields, in order; a union gives those of each member."""
    names: list[str] = []
    for name, info in cls.model_fields.items():
        members = _spec_types(info.annotation)
        for member in members:
            names += field_names(member, f"{prefix}{name}.")
        if not members:
            names.append(prefix + name)
    return names


def _spec_types(annotation: Any) -> list[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return [annotation]
    return [spec for part in getattr(annotation, "__args__", ()) for spec in _spec_types(part)]


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """A nested spec dump as dotted names: {"data.tail": "exp", …}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
