"""Whether a run's null label was trained, which every guidance but 1 needs; imports no torch."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from taildiff.errors import RunError, SpecError
from taildiff.io.paths import regular
from taildiff.run.exported import ExportDir
from taildiff.run.layout import RunDir, weights_at
from taildiff.spec import ObjectiveSpec, RunSpec

UNTRAINED = "the null label was never trained: objective.drop.p is 0 and no term trains the prediction without a label"


def null_trained(spec: RunSpec, start_from: str | Path | None) -> bool:
    """Whether training teaches a prediction without a label, or its starting weights may have one.

    Weights of unknown training, such as official checkpoints, count as trained.
    """
    return spec.objective.trains_null or (start_from is not None and _start_trained(Path(start_from)))


def has_null(run: RunDir) -> bool:
    """`null_trained` of an existing run."""
    info = run.info()
    return null_trained(info.spec, info.start_from)


def check_guidance(trained: bool, guidance: Sequence[float], where: object) -> None:
    """`SpecError` for a guidance other than 1 on a null label that was not trained."""
    if not trained and (other := [value for value in guidance if value != 1]):
        values = ", ".join(f"{value:g}" for value in other)
        raise SpecError(
            f"guidance {values} cannot be used with {where}: {UNTRAINED}. Use guidance 1, or train another run with "
            "--objective.drop.p 0.1"
        )


def _start_trained(path: Path) -> bool:
    try:
        if ExportDir(path).exists():
            return ExportDir(path).meta().null_trained
        with safe_open(regular(weights_at(path)), framework="np") as file:
            objective = json.loads((file.metadata() or {})["taildiff"])["spec"]["objective"]
        return ObjectiveSpec.model_validate(objective).trains_null
    except (RunError, SafetensorError, OSError, ValueError, KeyError, TypeError):
        return True
