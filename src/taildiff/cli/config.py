"""`--config FILE`: options of a verb from a TOML file, as if they stood on the command line.

    steps = 20000               # --steps 20000
    out = "runs/first"
    [data]
    store = "data/photos"       # --data data/photos, because `data` is also the table of --data.tail …
    tail = "exp"                # --data.tail exp
    [objective]
    ucl = { weight = 0.1 }      # --objective.ucl.weight 0.1

The values become words of the command line, so that they are parsed, checked and recorded like options. One that is on
the command line, too, counts there alone. TOML has no null, so "None" stands for it.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from taildiff.cli.options import Option, bare
from taildiff.errors import SpecError, unknown
from taildiff.io.toml_files import read_toml

FLAG = "--config"
_SAME = {"data.store": "data"}
"""Where a name is both an option and a table, as TOML cannot have it."""
_ALTERNATIVES = ({"guidance", "omega"}, {"to", "add", "counts", "balance"})
"""Options that exclude each other: one on the command line replaces any in the file."""
_NOT_HERE = ("quiet", "config")
_TEXT = ConfigDict(coerce_numbers_to_str=True)


@dataclass(frozen=True)
class ConfigFile:
    """What a file says, by dotted key; empty without a file."""

    path: Path = Path()
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def named_in(cls, args: Sequence[str]) -> "ConfigFile":
        """The file of the last `--config`; `SpecError` for one that cannot be read."""
        if (path := last_value(args, FLAG)) is None:
            return cls()
        try:
            values, _ = read_toml(Path(path))
        except FileNotFoundError:
            raise SpecError(f"{FLAG} {path} does not exist") from None
        return cls(Path(path), values)

    def text(self, *keys: str) -> str | None:
        """The value of one of these keys, if it is a string: what is needed before the options are known."""
        for key in keys:
            value: Any = self.values
            for part in key.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
            if isinstance(value, str):
                return value
        return None

    def without(self, key: str) -> "ConfigFile":
        """The file but for a key, which the caller has used."""
        return replace(self, values={name: value for name, value in self.values.items() if name != key})

    def words(self, options: Sequence[Option], args: Sequence[str]) -> list[str]:
        """The file as words of the command line, but for the options that `args` have.

        `SpecError` for a key that is no option, or a value that does not fit.
        """
        known = {each.key: each for each in options if each.key not in _NOT_HERE}
        found = dict(_flat(self.values, known))
        problems = [self._problem(key, known) for key in found if key not in known]
        if problems:
            raise SpecError("\n".join(problems))
        given = _keys_in(args, options)
        given |= set().union(*(group for group in _ALTERNATIVES if group & given))
        chosen = ((known[key], value) for key, value in found.items() if key not in given)
        return [word for option, value in chosen for word in self._words(option, value)]

    def _problem(self, key: str, known: Mapping[str, Option]) -> str:
        if key in _NOT_HERE:
            return f"{self.path}: {key} can only be given on the command line"
        return f"{self.path}: {unknown('option', key, known)}"

    def _words(self, option: Option, value: Any) -> list[str]:
        if option.positional:
            raise SpecError(f"{self.path}: give {option.flag} on the command line; a file holds options only")
        if value in ("", [], {}):
            raise SpecError(f"{self.path}: {option.key} is empty; give it a value or remove it")
        if value == "None" and option.optional:
            return [f"{option.flag}=None"]
        if isinstance(value, dict) and bare(option.hint) is str:
            value = json.dumps(value)
        if option.is_list and isinstance(value, dict):
            return [option.flag, *(f"{name}={each}" for name, each in value.items())]
        if option.is_list and not isinstance(value, list):
            value = [value]
        try:
            value = TypeAdapter(option.hint, config=_TEXT).validate_python(value)
        except ValidationError as error:
            raise SpecError(f"{self.path}: {option.key}: {error.errors()[0]['msg']} (got {value!r})") from None
        if option.is_switch:
            return [option.flag if value else option.negative]
        return [option.flag, *map(str, value)] if option.is_list else [f"{option.flag}={value}"]

    def shown_in(self, options: Sequence[Option]) -> list[Option]:
        """The options with the file's values as their defaults, for `--help`."""
        found = dict(_flat(self.values, {each.key: each for each in options}))
        return [replace(each, value=_as_value(found[each.key])) if each.key in found else each for each in options]


def _as_value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else None if value == "None" else value


def last_value(args: Sequence[str], flag: str) -> str | None:
    """The value of the last `--flag VALUE` or `--flag=VALUE`."""
    value = None
    for before, arg in zip(["", *args], args, strict=False):
        if before == flag:
            value = arg
        elif arg.startswith(f"{flag}="):
            value = arg.removeprefix(f"{flag}=")
    return value


def _flat(values: Mapping[str, Any], known: Collection[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys with their values; a table is one value only where its key is that of an option alone."""
    for name, value in values.items():
        key = prefix + name.replace("-", "_")
        is_group = any(each.startswith(f"{key}.") for each in known)
        if isinstance(value, dict) and (is_group or key not in known):
            yield from _flat(value, known, f"{key}.") if value else [(key, value)]
        else:
            yield (_SAME[key] if key in _SAME and _SAME[key] in known and key not in known else key), value


def _keys_in(args: Sequence[str], options: Sequence[Option]) -> set[str]:
    """The keys of the options that are on the command line."""
    flags = {arg.partition("=")[0].replace("_", "-") for arg in args if arg.startswith("--")}
    return {each.key for each in options if not each.positional and {each.flag, each.negative} & flags}
