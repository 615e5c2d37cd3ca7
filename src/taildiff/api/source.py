"""Where a model comes from: a run, or anything that `importing` reads. The verbs that sample take either."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from taildiff.errors import SpecError
from taildiff.evaluation.best_guidance import UNKNOWN, DefaultGuidance, default_guidance
from taildiff.run.layout import RunDir
from taildiff.run.null_label import UNTRAINED, check_guidance, has_null
from taildiff.spec import DataFacts, ModelHints, parse

if TYPE_CHECKING:
    from taildiff.importing.foreign import Foreign
    from taildiff.sampling.generate import TrainedModel

AnyPath = str | os.PathLike[str]
Hints = Mapping[str, Any] | ModelHints | None


class ModelSource(Protocol):
    """A model before its parameters are read."""

    @property
    def facts(self) -> DataFacts:
        """Sizes and class names."""
        ...

    def guidance(self, requested: float | None) -> DefaultGuidance:
        """The guidance requested, or the default; `SpecError` for one that the null label does not allow."""
        ...

    def load(
        self, kind: Literal["ema", "raw"], device: str, step: int | None, vae: str | None, autoguide: str | None = None
    ) -> "TrainedModel":
        """The model, ready to sample from."""
        ...


@dataclass(frozen=True)
class RunSource:
    """The weights of a run."""

    run: RunDir

    @property
    def facts(self) -> DataFacts:
        """Of run.json."""
        return self.run.info().facts

    def guidance(self, requested: float | None) -> DefaultGuidance:
        """The default is the best of the run's evaluations."""
        if requested is None:
            return default_guidance(self.run)
        check_guidance(has_null(self.run), [requested], self.run.root)
        return DefaultGuidance(requested, "")

    def load(
        self, kind: Literal["ema", "raw"], device: str, step: int | None, vae: str | None, autoguide: str | None = None
    ) -> "TrainedModel":
        """The newest weights of this kind, or those of a step."""
        from taildiff.sampling.generate import load_model  # torch

        return load_model(self.run, kind, device, step, vae, autoguide)


@dataclass(frozen=True)
class ForeignSource:
    """A model that is no run."""

    foreign: "Foreign"

    @property
    def facts(self) -> DataFacts:
        """As far as the model says."""
        return self.foreign.facts

    def guidance(self, requested: float | None) -> DefaultGuidance:
        """The default is that of an export; otherwise 1.5, or 1 without a null label."""
        model = self.foreign
        trained = model.null_trained and model.conditional
        if requested is not None:
            if not model.conditional and requested != 1:
                raise SpecError(f"{model.source} has no labels, so there is no guidance: use --guidance 1")
            check_guidance(trained, [requested], model.source)
            return DefaultGuidance(requested, "")
        if model.export:
            return DefaultGuidance(model.export.guidance, "that of the export")
        if not trained:
            return DefaultGuidance(1.0, UNTRAINED if model.conditional else "the model has no labels")
        return DefaultGuidance(UNKNOWN, "not evaluated here")

    def load(
        self, kind: Literal["ema", "raw"], device: str, step: int | None, vae: str | None, autoguide: str | None = None
    ) -> "TrainedModel":
        """The model; `SpecError` where weights are chosen, as it has only its own."""
        from taildiff.sampling.foreign import load_foreign_model  # torch

        model = self.foreign
        if step is not None or (kind == "raw" and not (model.export and model.export.kind == "raw")):
            raise SpecError(f"{model.source} holds one set of weights: remove --step and --weights")
        if autoguide:
            raise SpecError(f"--autoguide needs a run, which {model.source} is not; remove it")
        return load_foreign_model(model, device, vae)


def model_source(source: AnyPath, hints: Hints = None, vae: str | None = None) -> ModelSource:
    """The model at a path or under a name on the Hub.

    `hints` say what a file of parameters does not (`ModelHints`); `SpecError` where they are given for a run.
    """
    found = foreign(source, hints, vae)
    return RunSource(RunDir(Path(source))) if found is None else ForeignSource(found)


def foreign(source: AnyPath, hints: Hints = None, vae: str | None = None) -> "Foreign | None":
    """A model that is no run; None for anything else."""
    given = hints if isinstance(hints, ModelHints) else parse(ModelHints, dict(hints or {}))
    run = RunDir(Path(source))
    if run.exists() or not _may_be_model(source):
        if given != ModelHints():
            raise SpecError("--model describes a file of parameters, and this is none; remove it")
        return None
    from taildiff.importing.foreign import is_model, open_foreign  # torch

    return open_foreign(os.fspath(source), given, vae) if is_model(os.fspath(source)) else None


def _may_be_model(source: AnyPath) -> bool:
    """A check without torch: not for files of images and folders of nothing but folders."""
    from taildiff.io.hub import is_hub_name

    place = Path(source)
    if place.is_dir():
        return any(entry.suffix in (".json", ".safetensors", ".pt", ".pth", ".ckpt") for entry in place.iterdir())
    return place.suffix in (".json", ".safetensors", ".pt", ".pth", ".ckpt") or is_hub_name(source)
