"""run.json as a model: what was run, on what, by which versions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from taildiff.errors import RunError, SpecError
from taildiff.io.checksum import CHECKSUM, checksum_matches, record_sha256
from taildiff.spec import DataFacts, RunSpec, Spec, explain, field_names, flatten, read_json

MAY_CHANGE = ("every.", "devices", "nodes", "compile", "skip_nonfinite", "model.checkpointing")
"""Fields of a run that may change when it is continued; also `steps`, under a constant schedule.

A run that got this far with one `skip_nonfinite` would have got here with any other that lets it go on.
"""


def changed(old: RunSpec, new: RunSpec, free: Sequence[str] = MAY_CHANGE) -> list[tuple[str, Any, Any]]:
    """(field, old value, new value) of the fields that differ, but for those that begin with one of `free`."""
    before, after = flatten(old.model_dump(mode="json")), flatten(new.model_dump(mode="json"))
    names = (name for name in sorted(before.keys() | after.keys()) if not name.startswith(tuple(free)))
    return [(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


class _Record(Spec):
    model_config = ConfigDict(extra="ignore")  # a newer version may write more


class StoreRef(_Record):
    """Where the images were, and the hash of the store."""

    path: str
    hash: str


class Hardware(_Record):
    """What the run was trained on."""

    cpu: str = ""
    threads: int | None = None
    device: str = "cpu"
    accelerator: str | None = None


class RunInfo(_Record):
    """run.json; the attributes are its keys."""

    format: Literal[2]
    spec: RunSpec
    facts: DataFacts
    store: StoreRef
    latents: StoreRef | None = None
    """What was trained on, where it was latents; `store` has the images they are of."""
    split_hash: str
    command: tuple[str, ...] = ()
    created: str = ""
    """ISO 8601, UTC."""
    versions: dict[str, str] = Field(default_factory=dict)
    hardware: Hardware = Hardware()
    commit: str | None = None
    start_from: str | None = None
    """The weights file that it began with, where it did."""


def add_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """run.json with a checksum over everything but the paths of store and latents, so that they may be moved."""
    return {**values, CHECKSUM: record_sha256(_fixed(values))}


def read_run_info(path: Path) -> RunInfo:
    """A run.json; `RunError` says what in it is damaged."""
    try:
        values = read_json(path)
        info = RunInfo.model_validate(values)
    except SpecError as error:
        raise RunError(str(error)) from None
    except ValidationError as error:
        problem = explain(error, known=field_names(RunInfo))
        raise RunError(f"{path} does not describe a run: {problem}") from None
    if not checksum_matches(_fixed(values)):
        raise RunError(
            f"{path} was changed or is damaged: its checksum does not fit its content (only the paths of store and "
            "latents may be changed by hand). Put it back from a backup; the weights in the run are whole without it"
        )
    return info


def _fixed(values: Mapping[str, Any]) -> dict[str, Any]:
    places = {name: {**values[name], "path": ""} for name in ("store", "latents") if values.get(name)}
    return {**values, **places}
