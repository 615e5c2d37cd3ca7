"""run.json as a model: what was run, on what, by which versions."""

from pathlib import Path

from pydantic import ConfigDict, Field, ValidationError

from taildiff.errors import RunError, SpecError
from taildiff.spec import DataFacts, RunSpec, Spec, explain, field_names, read_json


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

    format: int = 1
    spec: RunSpec
    facts: DataFacts
    store: StoreRef
    split_hash: str
    command: tuple[str, ...] = ()
    created: str = ""
    """ISO 8601, UTC."""
    versions: dict[str, str] = Field(default_factory=dict)
    hardware: Hardware = Hardware()
    commit: str | None = None
    start_from: str | None = None
    """The weights file that it began with, where it did."""


def read_run_info(path: Path) -> RunInfo:
    """A run.json; `RunError` says what in it is damaged."""
    try:
        return RunInfo.model_validate(read_json(path))
    except SpecError as error:
        raise RunError(str(error)) from None
    except ValidationError as error:
        problem = explain(error, known=field_names(RunInfo))
        raise RunError(f"{path} does not describe a run: {problem}") from None
