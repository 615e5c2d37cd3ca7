"""An evaluation as requested: which images, against which reference, by which spec."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taildiff.api.evaluation_images import ImagesRequest, evaluations_of, training_images
from taildiff.api.fields import EvaluationFields, SamplingFields
from taildiff.api.sampling import check_source
from taildiff.api.source import ForeignSource, Hints, foreign
from taildiff.data.latents import LatentStore, is_latents, pixels_of
from taildiff.data.locate import embedded_digits, on_digits, store_of
from taildiff.data.store import Store, is_store
from taildiff.device import chosen_device
from taildiff.errors import DataError, SpecError
from taildiff.io.paths import check_folder, output_folder, text_path
from taildiff.io.staging import put_back
from taildiff.log import Progress, log, silent
from taildiff.run.exported import ExportDir
from taildiff.run.layout import EvalDir, RunDir
from taildiff.run.null_label import UNTRAINED, check_guidance, has_null
from taildiff.sampling.team import check_team, working_together
from taildiff.spec import DataFacts, EvalSpec, parse
from taildiff.spec.metrics import requested

if TYPE_CHECKING:
    from taildiff.importing.foreign import Foreign

AnyPath = str | os.PathLike[str]
RUN_ONLY, IMAGES_ONLY = ("guidance", "seeds", "step", "vae"), ("trained_on", "out")


@dataclass(frozen=True)
class Request:
    """What to evaluate, and against what; `request` makes it."""

    source: Path
    spec: EvalSpec
    data: Path | None = None
    """The reference images; None: the store of the run."""
    step: int | None = None
    """Of the weights; None: the newest."""
    trained_on: Path | None = None
    """Where the images of a folder or npz were learnt from; decides head, body and tail."""
    out: Path | None = None
    """Where the evaluation of a folder or npz goes; None: beside it."""
    vae: str | None = None
    """Where the VAE of a run on latents is now, if it moved."""
    model: "Foreign | None" = None
    """The source, if it is a model that is no run; it is evaluated as a run, which is written to `out`."""

    @property
    def of_images(self) -> bool:
        """Whether the source is images instead of a run."""
        return self.model is None and is_images(self.source)

    @property
    def facts(self) -> DataFacts:
        """Sizes and class names of a model."""
        return self.model.facts if self.model else RunDir(self.source).info().facts

    def run(self, progress: Progress = silent, device: str | None = None, devices: int = 1) -> EvalDir:
        """Evaluate on a device by name, or the best one; the folder of the finished evaluation.

        `devices`: processes that sample a run together.
        """
        if not self.of_images:
            return _evaluate_run(self, progress, device, devices)
        return self._images(devices).run(progress, chosen_device(device))

    def check(self, device: str | None = None, devices: int = 1) -> None:
        """Raise what `run` would raise before it samples or measures; writes nothing."""
        if self.of_images:
            self._images(devices).check(chosen_device(device))
            return
        name = check_team(devices, device)
        from taildiff.evaluation.evaluate import check_evaluation  # torch
        from taildiff.evaluation.reference import check_reference

        with tempfile.TemporaryDirectory(prefix="taildiff-") as place:
            store = self.reference_of_run(cache=Path(place))
            if self.model is None:
                check_evaluation(RunDir(self.source), store, self.spec, name, self.step, self.vae)
                return
            check_source(ForeignSource(self.model), self.spec.sampling, self.spec.guidance, name, None, self.vae)
            check_reference(store, self.spec, None, name)
        check_folder(run_of(self.source, self.out).root, in_place=True)

    def _images(self, devices: int) -> ImagesRequest:
        if devices != 1:
            raise SpecError("--devices does not apply to images from elsewhere; remove it")
        out = self.out or evaluations_of(self.source)
        if not out.is_dir():  # one that exists may be read alone
            check_folder(out)
        return ImagesRequest(self.source, self.spec, self.data, self.trained_on, out)

    def reference_of_run(self, progress: Progress = silent, cache: Path | None = None) -> Store:
        """The store that a run is compared with; images that are none become one in `cache`, beside them by default."""
        if self.data is None:
            return store_of(RunDir(self.source)) if self.model is None else _store_of_model(self.model)
        if is_latents(self.data):
            return pixels_of(LatentStore.open(self.data))
        if not self.data.exists() or is_store(self.data):
            return Store.open(self.data)
        from taildiff.evaluation.image_sources import to_store

        facts = self.facts
        cache = cache or evaluations_of(self.data) / ".cache"
        return to_store(self.data, cache, facts.height, facts.class_names, progress)[0]


def request(
    source: AnyPath,
    fields: EvaluationFields,
    *,
    spec: EvalSpec | None = None,
    data: AnyPath | None = None,
    step: int | None = None,
    trained_on: AnyPath | None = None,
    out: AnyPath | None = None,
    vae: str | None = None,
    hints: Hints = None,
) -> Request:
    """The request; `InputError` for options that do not apply to this source or contradict each other."""
    source, out = text_path(source, "source"), None if out is None else output_folder(out)
    data, trained_on = (None if path is None else text_path(path, "--data") for path in (data, trained_on))
    given: dict[str, Any] = {**fields, "step": step, "trained_on": trained_on, "out": out, "vae": vae}
    put_back(source)
    model = foreign(source, hints, vae)
    if images := model is None and is_images(source):
        _refuse(given, RUN_ONLY, "images from elsewhere")
    elif model is not None:
        _refuse(given, ("step",), "a model without steps of training")
    else:
        RunDir(source).info()  # a wrong path is reported first
        _refuse(given, IMAGES_ONLY, "a run")
    reference = fields.get("reference", spec.reference if spec else "train")
    if reference not in ("train", "test", "all"):
        if data is not None:
            raise SpecError(f"--data {data} and --reference {reference} name two references; remove one")
        data, reference = Path(reference), "train"
    full = _spec(spec, {**fields, "reference": reference})
    if not images:
        trained = has_null(RunDir(source)) if model is None else model.null_trained and model.conditional
        full = _guided(full, fields, spec, trained or full.sampling.autoguide is not None, source)
    if images and spec is None:
        full = full.model_copy(update={"per_class": fields.get("per_class") or 0})
    return Request(source, full, data, step, trained_on, out, vae, model)


def _guided(full: EvalSpec, fields: EvaluationFields, spec: EvalSpec | None, trained: bool, source: Path) -> EvalSpec:
    """The spec with guidance 1 alone where none was requested and the null label was never trained."""
    requested = fields.get("guidance") is not None or (spec is not None and "guidance" in spec.model_fields_set)
    if trained or requested:
        check_guidance(trained, full.guidance, source)
        return full
    log.info(f"sampling without guidance: {UNTRAINED}")
    return full.model_copy(update={"guidance": (1.0,)})


def is_images(source: Path) -> bool:
    """Whether a path exists and is not a run."""
    put_back(source)
    return source.exists() and not RunDir(source).exists()


def _refuse(given: dict[str, Any], names: Iterable[str], source: str) -> None:
    for name in names:
        if given.get(name) is not None:
            raise SpecError(f"--{name.replace('_', '-')} does not apply to {source}; remove it")


def _spec(spec: EvalSpec | None, fields: EvaluationFields) -> EvalSpec:
    values: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    if isinstance(values.get("guidance"), int | float):
        values["guidance"] = (values["guidance"],)
    if "metrics" in values:
        values["metrics"] = chosen_metrics(values["metrics"])
    base = spec or EvalSpec()
    sampling = {name: values.pop(name) for name in SamplingFields.__annotations__ if name in values}
    kept = base.sampling.model_dump(exclude_unset=True)  # another sampler may bring another spacing
    return parse(EvalSpec, base.model_dump() | values | {"sampling": kept | sampling})


def chosen_metrics(names: str | Sequence[str]) -> tuple[str, ...]:
    """Metrics by name, in the catalogue's order; `cheap` or none: the cheap ones, `all`: all of them."""
    try:
        return requested([names] if isinstance(names, str) else names)
    except ValueError as error:
        raise SpecError(str(error)) from None


def _evaluate_run(request: Request, progress: Progress, device: str | None, devices: int) -> EvalDir:
    store = request.reference_of_run(progress)
    run = RunDir(request.source) if request.model is None else _as_run(request, request.model, store)
    with working_together(devices, device, "evaluation") as team:
        from taildiff.evaluation.evaluate import evaluate  # torch

        report = progress if team.is_rank_zero else silent
        folder = evaluate(run, store, request.spec, report, team.device, request.step, request.vae, team.engine)
        team.finish()
        return folder


def _store_of_model(model: "Foreign") -> Store:
    """The embedded digits, where an export is of a run on them; `SpecError` otherwise, as no model says where it is."""
    if model.export is None:
        raise SpecError(f"give the real images to compare {model.source} with: --data STORE, FOLDER or NPZ")
    store = model.export.store
    if not store.path:
        if on_digits(model.spec) and (digits := embedded_digits()).meta.hash == store.hash:
            return digits
        raise SpecError(f"an export does not say where its images are; give them: --data STORE, for {model.source}")
    try:
        return Store.at_recorded(store.path, store.hash)
    except DataError as error:
        raise DataError(f"the store of {model.source} cannot be opened ({error}); give it: --data STORE") from None


def run_of(source: Path, out: Path | None) -> RunDir:
    """Where the run of a model from elsewhere is written: `out`, or NAME-run beside the model."""
    if out is not None:
        return RunDir(out)
    place = source.resolve() if source.exists() else Path(source.name)
    name = place.name.split(".")[0] if place.is_file() else place.name
    return RunDir(place.with_name(f"{name}-run"))


def _as_run(request: Request, model: "Foreign", store: Store) -> RunDir:
    from taildiff.sampling.foreign import write_run  # torch

    run, counts = run_of(request.source, request.out), ()
    if request.trained_on:
        cache = run.root.with_name(f"{run.root.name}-cache")
        counts, _ = training_images(request.trained_on, store, cache, silent)
    write_run(model, run, store, counts, ExportDir(request.source).split if model.export else None)
    return run
