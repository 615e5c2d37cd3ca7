"""The base of all specs: frozen, strict, with errors that name the field and the closest valid one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from taildiff.errors import SpecError, unknown

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
NoiseWeight = Literal["noise", "clean", "none"]


class Spec(BaseModel):
    """Base of all specs: frozen; numbers must be finite; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


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
    return f"{dotted}: {message} (got {_short(repr(problem['input']))})" if dotted else message


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


def read_json(path: Path) -> Any:
    """The content of a JSON file; `SpecError` if it is missing or not JSON."""
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text, parse_int=_integer)
        if "\\u" in text:  # half of a surrogate pair cannot be printed
            json.dumps(values, ensure_ascii=False).encode()
        return values
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON
        raise SpecError(f"{path} is not readable JSON: {error}") from None


def _integer(digits: str) -> int:
    if len(digits) > 20:  # 64 bits and a sign; larger ones cause errors far from the file
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)
