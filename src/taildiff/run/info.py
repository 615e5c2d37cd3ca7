"""run.json: the spec of a run, its data, versions and hardware."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ConfigDict, Field, ValidationError

from taildiff.errors import RunError, SpecError
from taildiff.io.checksum import CHECKSUM, checksum_matches, record_sha256
from taildiff.io.json_files import read_json
from taildiff.spec import DataFacts, RunSpec, Spec, explain, field_names, flatten

MAY_CHANGE = ("every.", "devices", "nodes", "compile", "skip_nonfinite", "model.checkpointing")
"""Fields that may change when a run is resumed; also `steps`, under a constant schedule.

`skip_nonfinite` may, because it does not change the steps before the limit is reached.
"""
FORMAT = 3
"""The format of run.json, state.json and weights files."""
Format = Literal[2, 3]
"""Formats that can be read."""
_BEFORE_3 = {"unet": {"group_channels": 1, "zero_init": False}}
"""Fields of the networks that format 2 lacked, at the values that they had."""


def changed(old: RunSpec, new: RunSpec, free: Sequence[str] = MAY_CHANGE) -> list[tuple[str, Any, Any]]:
    """(field, old value, new value) of the fields that differ, except those that begin with one of `free`.

    `gather` counts only where it matters: in an enabled term of a run on several processes.
    """
    same = {f"objective.{name}.gather" for name, _ in old.objective if (name in old.local) == (name in new.local)}
    before, after = flatten(old.model_dump(mode="json")), flatten(new.model_dump(mode="json"))
    names = (name for name in sorted((before.keys() | after.keys()) - same) if not name.startswith(tuple(free)))
    return [(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


class _Info(Spec):
    model_config = ConfigDict(extra="ignore")  # newer versions may write more


class StoreRef(_Info):
    """The path and the hash of the store."""

    path: str
    hash: str


class Hardware(_Info):
    """The machine that trained the run."""

    cpu: str = ""
    threads: int | None = None
    device: str = "cpu"
    accelerator: str | None = None


class RunInfo(_Info):
    """run.json; the attributes are its keys."""

    format: Format = FORMAT
    spec: RunSpec
    facts: DataFacts
    store: StoreRef
    latents: StoreRef | None = None
    """The latents that were trained on, if any; `store` holds their images."""
    split_hash: str
    command: tuple[str, ...] = ()
    created: str = ""
    """ISO 8601, UTC."""
    versions: dict[str, str] = Field(default_factory=dict)
    hardware: Hardware = Hardware()
    commit: str | None = None
    custom_sha256: str | None = None
    """Of the file of the user's own term, if the run has one."""
    start_from: str | None = None
    """The weights file that the run started from, if any."""

    @property
    def created_seconds(self) -> float:
        """`created` in seconds since 1970; 0 where it is not known."""
        try:
            return datetime.fromisoformat(self.created).timestamp()
        except (ValueError, OverflowError):
            return 0.0


def check_format(values: Any, path: Path, error: type[RunError] = RunError) -> None:
    """`error` where a file was written in another format."""
    version = values.get("format", FORMAT) if isinstance(values, dict) else FORMAT
    if version not in get_args(Format):
        known = " and ".join(map(str, get_args(Format)))
        raise error(f"{path} has format {version!r:.40}, and this version of taildiff reads {known}: train again")


def upgraded(values: Any) -> Any:
    """A file's values; in those of format 2, fields added since have the values that they had then."""
    match values:
        case {"format": 2, "spec": {"model": {"kind": str(kind)} as model} as spec} if kind in _BEFORE_3:
            return {**values, "spec": {**spec, "model": {**_BEFORE_3[kind], **model}}}
        case _:
            return values


def as_started(spec: RunSpec, info: RunInfo) -> RunSpec:
    """The spec to resume a run with: where its format had other fields or defaults, these keep the run's values."""
    if info.format == FORMAT:
        return spec
    kind, objective, gathers = spec.model.kind, spec.objective, info.spec.objective.gathers
    if kind in _BEFORE_3 and info.spec.model.kind == kind:
        spec = spec.model_copy(update={"model": spec.model.model_copy(update=_BEFORE_3[kind])})
    if info.spec.processes > 1:  # before format 3 `gather` was off by default; one process has all samples anyway
        blocks = {name: getattr(objective, name).model_copy(update={"gather": g}) for name, g in gathers.items()}
        spec = spec.model_copy(update={"objective": objective.model_copy(update=blocks)})
    return spec


def add_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """run.json with a checksum over everything but the paths of store and latents, which may be moved."""
    return {**values, CHECKSUM: record_sha256(_fixed(values))}


def read_run_info(path: Path) -> RunInfo:
    """Read a run.json; `RunError` names what is damaged."""
    try:
        values = read_json(path)
        check_format(values, path)
        info = RunInfo.model_validate(upgraded(values))
    except SpecError as error:
        raise RunError(str(error)) from None
    except ValidationError as error:
        problem = explain(error, known=field_names(RunInfo))
        raise RunError(f"{path} does not describe a run: {problem}") from None
    if not checksum_matches(_fixed(values)):
        raise RunError(
            f"{path} was changed or is damaged: its checksum does not match its content (only the paths of store and "
            "latents may be changed by hand). Restore it from a backup; the weights in the run are intact without it"
        )
    return info


def _fixed(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the checksum covers."""
    without_paths = {name: {**values[name], "path": ""} for name in ("store", "latents") if values.get(name)}
    return {**values, **without_paths}
