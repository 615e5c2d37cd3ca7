"""An evaluation as requested: which images, against which reference, by which spec."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from taildiff.api.fields import EvaluationFields, SamplingFields
from taildiff.api.source import Hints, foreign
from taildiff.data.latents import LatentStore, is_latents, pixels_of
from taildiff.data.locate import embedded_digits, store_of
from taildiff.data.longtail import Split
from taildiff.data.store import Store, is_store
from taildiff.device import chosen_device
from taildiff.errors import DataError, SpecError
from taildiff.io.atomic import write_json
from taildiff.io.json_files import read_json
from taildiff.io.staging import put_back
from taildiff.log import Progress, log, silent
from taildiff.run.exported import ExportDir
from taildiff.run.layout import EvalDir, RunDir
from taildiff.run.null_label import UNTRAINED, check_guidance, has_null
from taildiff.sampling.folders import folder_names
from taildiff.sampling.team import working_together
from taildiff.spec import EvalSpec, parse
from taildiff.spec.metrics import requested

if TYPE_CHECKING:
    from taildiff.evaluation.image_sources import ImageSource
    from taildiff.importing.foreign import Foreign

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

    def run(self, progress: Progress = silent, device: str | None = None, devices: int = 1) -> EvalDir:
        """Evaluate on a device by name, or the best one; the folder of the finished evaluation.

        `devices`: processes that sample a run together.
        """
        if not self.of_images:
            return _evaluate_run(self, progress, device, devices)
        if devices != 1:
            raise SpecError("--devices does not apply to images from elsewhere; remove it")
        return _evaluate_images(self, progress, chosen_device(device))

    def reference_of_run(self, progress: Progress = silent) -> Store:
        """The store that a run is compared with."""
        if self.data is None:
            return store_of(RunDir(self.source)) if self.model is None else _store_of_model(self.model)
        if is_latents(self.data):
            return pixels_of(LatentStore.open(self.data))
        if not self.data.exists() or is_store(self.data):
            return Store.open(self.data)
        from taildiff.evaluation.image_sources import to_store

        facts = self.model.facts if self.model else RunDir(self.source).info().facts
        cache = evaluations_of(self.data) / ".cache"
        return to_store(self.data, cache, facts.height, facts.class_names, progress)[0]


def request(
    source: Path,
    fields: EvaluationFields,
    *,
    spec: EvalSpec | None = None,
    data: Path | None = None,
    step: int | None = None,
    trained_on: Path | None = None,
    out: Path | None = None,
    vae: str | None = None,
    hints: Hints = None,
) -> Request:
    """The request; `SpecError` for options that do not apply to this source or contradict each other."""
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


def evaluations_of(source: Path) -> Path:
    """Where evaluations of a folder or file go: beside it."""
    path = source.resolve()
    return path.with_name(f"{path.name}-evals")


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
        if model.spec.recipe.startswith("mnist5k-") and (digits := embedded_digits()).meta.hash == store.hash:
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
        counts, _ = _training_images(request.trained_on, store, cache, silent)
    write_run(model, run, store, counts, ExportDir(request.source).split if model.export else None)
    return run


def _evaluate_images(request: Request, progress: Progress, device: str) -> EvalDir:
    if request.data is None:
        raise SpecError(f"give the real images to compare {request.source} with: --data STORE, FOLDER or NPZ")
    from taildiff.evaluation.image_sets import TrainingImages, evaluate_images, evaluate_statistics
    from taildiff.evaluation.image_sources import (
        is_npz,
        open_images,
        open_reference,
        open_unmatched,
        read_statistics,
    )
    from taildiff.evaluation.pipeline import EvaluationsDir

    home = EvaluationsDir(request.out or evaluations_of(request.source))
    if is_npz(request.data) and (moments := read_statistics(request.data)) is not None:
        images = open_unmatched(request.source, home.cache, progress)
        return evaluate_statistics(images, moments, request.spec, home, progress, device)
    shared = EvaluationsDir(evaluations_of(request.data))  # its classifier is trained once, whatever it evaluates
    real, notes = open_reference(request.data, shared.cache, progress)
    images = open_images(request.source, real, folder_names(real.meta.class_names), home.cache, progress)
    images = replace(images, notes=(*notes, *images.notes))
    trained = None
    if request.trained_on:
        counts, index = _training_images(request.trained_on, real, home.cache, progress)
        trained = TrainingImages(counts, index)
    folder = evaluate_images(images, real, request.spec, home, trained, progress, device)
    _record_sources(folder, real, images)
    return folder


def _record_sources(folder: EvalDir, real: Store, images: "ImageSource") -> None:
    """Write where the real and the decoded images are, for reports and galleries, unless it stands there."""
    own = images.store
    of_own = {int(label): int(to) for label, to in zip(np.asarray(own.labels), images.labels, strict=True)}
    values = {
        "real": {"path": str(real.root.resolve()), "hash": real.meta.hash},
        "images": {
            "path": str(own.root.resolve()),
            "hash": own.meta.hash,
            "labels": [of_own.get(label, -1) for label in range(len(own.meta.class_names))],
        },
    }
    try:
        known = read_json(folder.sources)
    except SpecError:
        known = None
    if known != values:
        write_json(folder.sources, values)


def _training_images(
    path: Path, real: Store, cache: Path, progress: Progress
) -> tuple[tuple[int, ...], np.ndarray | None]:
    """Training images per class, and their positions in the reference's store where these are known."""
    from taildiff.evaluation.image_sources import open_images

    run, classes = RunDir(path), real.meta.class_names
    if run.exists():
        split = Split.load(run.split)
        if len(split.counts) != len(classes):
            raise SpecError(f"--trained-on {path}: {len(split.counts)} classes, the real images have {len(classes)}")
        return split.counts, split.index if split.store_hash == real.meta.hash else None
    images = open_images(path, real, folder_names(classes), cache, progress)
    counts = np.bincount(images.labels[~np.asarray(images.store.test)], minlength=len(classes))
    same = images.store.meta.hash == real.meta.hash
    return tuple(counts.tolist()), images.store.train_index if same else None
