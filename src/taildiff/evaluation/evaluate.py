"""Evaluate a run: sample each class equally often at every guidance and compare the images with real ones.

    weights ──generate──▶ 8-bit images ──features──▶ metrics by class and group ──▶ table.csv, table.json

The folder `evals/<definition>/` is named after everything that makes the numbers of two runs comparable. Its content is
reused only if the weights are the same too: an interrupted evaluation resumes and a finished one is returned. One
process at a time works in it; another one waits and returns the finished evaluation. Features and numbers are cached in
`evals/.cache` for other evaluations that share them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from numpy.typing import NDArray

from taildiff.data.class_names import canonical
from taildiff.data.longtail import Split
from taildiff.data.store import Store
from taildiff.data.verify import verify
from taildiff.errors import RunError
from taildiff.evaluation import checks
from taildiff.evaluation.cache import cache_key
from taildiff.evaluation.copies import copies_version
from taildiff.evaluation.images import Images
from taildiff.evaluation.pipeline import EvaluationsDir, GeneratedSet, finished, measure_and_write, one_evaluation
from taildiff.evaluation.reference import check_reference, extractor_info, load_reference
from taildiff.evaluation.scopes import reference_index
from taildiff.evaluation.seen import Seen, seen
from taildiff.evaluation.table import Definition
from taildiff.io.atomic import write_atomic
from taildiff.io.npz import NpzError, read_arrays
from taildiff.log import Progress, silent
from taildiff.run.info import MAY_CHANGE, changed
from taildiff.run.layout import EvalDir, RunDir
from taildiff.sampling.generate import TrainedModel, generate, image_array, load_model
from taildiff.sampling.predicting import check_sampling
from taildiff.spec import DataFacts, EvalSpec, SamplingSpec

if TYPE_CHECKING:
    from taildiff.engine import Engine  # lightning-fabric

Labels = NDArray[np.int64]
VERSION = 5  # raise it with every change that changes numbers


def evaluate(
    run: RunDir,
    store: Store,
    spec: EvalSpec,
    progress: Progress = silent,
    device: str = "cpu",
    step: int | None = None,
    vae: str | None = None,
    engine: "Engine | None" = None,
) -> EvalDir:
    """Evaluate a run's weights (the newest, or those of `step`) on the real images of a store; returns the folder.

    `vae` is where the VAE of a run on latents is now, if it was moved. The processes of `engine` sample together; rank
    zero measures, and the others return when it has finished.

    Raises `RunError` if the run has no weights or those of another run, or the store does not fit the run.
    """
    model, notes, known = _opened(run, store, spec, device, step, vae)
    if engine is not None and not engine.is_rank_zero:
        return _assist(run, spec, model, engine)
    if known.refused and "memorized" in spec.metrics:
        notes.append(f"no memorised: {known.refused}")
    definition = define(run, store, spec, model, progress, device)
    home = EvaluationsDir(run.evals)
    with one_evaluation(home, definition) as folder:
        done, sampled = finished(folder, definition), _Sampled(run, folder, model, spec, progress)
        if not done:
            verify(store)
            folder.table_json.unlink(missing_ok=True)  # of other weights: its images are about to be replaced
        if engine is not None:
            sampled.ahead(engine, done)
        if done:
            return folder
        reference = load_reference(store, spec, known.index, progress, device)
        real = reference_index(store, spec.reference).index
        counts = np.bincount(np.asarray(store.labels)[real], minlength=len(store.meta.class_names)).tolist()
        notes += checks.long_tailed_reference(counts, real, known.index)
        measure_and_write(home, definition, reference, sampled.sets(), notes, progress)
    return folder


def _opened(
    run: RunDir, store: Store, spec: EvalSpec, device: str, step: int | None, vae: str | None
) -> tuple[TrainedModel, list[str], Seen]:
    """The model, notes on the store, and which of its images the run has seen; refuses on every rank what it can."""
    model = load_model(run, spec.sampling.weights, device, step, vae, spec.sampling.autoguide)
    check_sampling(model, spec.sampling, spec.guidance)
    _check_weights(run, model, spec.sampling.weights)
    notes = _check_store(run, store, model.facts)
    known = seen(run, Split.load(run.split), store)
    known.check_utility(spec.utility)
    return model, notes, known


def check_evaluation(
    run: RunDir, store: Store, spec: EvalSpec, device: str = "cpu", step: int | None = None, vae: str | None = None
) -> None:
    """Raise what `evaluate` would raise before it samples; writes nothing."""
    *_, known = _opened(run, store, spec, device, step, vae)
    check_reference(store, spec, known.index, device)


def _assist(run: RunDir, spec: EvalSpec, model: TrainedModel, engine: "Engine") -> EvalDir:
    """Sample with rank zero what it finds missing; the folder of the evaluation."""
    plan = engine.from_rank_zero(lambda: _Plan(folder="", missing=[]))
    for guidance, seed in plan["missing"]:
        sampling = spec.sampling.model_copy(update={"seed": seed})
        generate(model, all_labels(model, spec), sampling, guidance, engine=engine)
    return EvalDir(run.evals / plan["folder"])


class _Plan(TypedDict):
    """What rank zero tells the other processes."""

    folder: str
    missing: list[tuple[float, int]]
    """Guidance and seed of the images that do not exist yet."""


def all_labels(model: TrainedModel, spec: EvalSpec) -> Labels:
    """Every class equally often, class after class."""
    return np.repeat(np.arange(model.facts.classes), spec.per_class)


def define(
    run: RunDir, store: Store, spec: EvalSpec, model: TrainedModel, progress: Progress = silent, device: str = "cpu"
) -> Definition:
    """Everything the numbers depend on; the hash in its name leaves the weights out, so that runs share it."""
    extractor = extractor_info(spec.features, store, progress, device)
    sampling = spec.sampling
    name = cache_key(VERSION, spec.identity, store.meta.hash, extractor.hash, *copies_version(spec))[:8]
    seeds = f"seed{sampling.seed}" if not spec.seeds else "seeds" + "+".join(map(str, spec.seeds))
    parts = [extractor.name, f"{sampling.sampler}{sampling.steps}", f"n{spec.per_class}", seeds]
    return Definition(
        name="-".join([*parts, f"step{model.step}", name]),
        run=run.root.resolve().name,
        step=model.step,
        spec=spec,
        weights_hash=model.weights_hash,
        store_hash=store.meta.hash,
        extractor=extractor,
        class_names=model.facts.class_names,
        counts=Split.load(run.split).counts,
    )


def _check_weights(run: RunDir, model: TrainedModel, kind: str) -> None:
    """Refuse weights copied from another run, whose numbers would carry this run's name."""
    info = run.info()
    differ = [name for name, _, _ in changed(model.spec, info.spec, (*MAY_CHANGE, "steps"))]
    if differ or _without_places(model.facts) != _without_places(info.facts):
        what = f"other settings ({', '.join(differ[:5])})" if differ else "other data"
        raise RunError(
            f"{run.weights(model.step, kind)} belongs to another run: {run.spec} has {what}. "
            "Remove the file or move it back to its run"
        )


def _without_places(facts: DataFacts) -> DataFacts:
    """The facts without what may change when a run resumes: the data's name and the VAE's place (its hash stays)."""
    codec = facts.codec and facts.codec.model_copy(update={"source": ""})
    return facts.model_copy(update={"name": "", "codec": codec})


def _check_store(run: RunDir, store: Store, facts: DataFacts) -> list[str]:
    if run.info().store.hash == store.meta.hash:
        return []
    have, want = store.facts, facts
    names = [[canonical(name) for name in each.class_names] for each in (have, want)]
    if names[0] != names[1] or any(getattr(have, n) != getattr(want, n) for n in ("height", "width", "channels")):
        raise RunError(
            f"{store.root} is not the store of {run.root}: {_shape(have)}, the run has {_shape(want)}. "
            "Give the right one with --data"
        )
    return [
        f"the reference is not the store that the run was trained on, but has the same classes and size: {store.root}"
    ]


def _shape(facts: DataFacts) -> str:
    names = ", ".join(facts.class_names[:3])
    return f"{facts.classes} classes ({names} …) of {facts.height}x{facts.width}x{facts.channels}"


@dataclass(frozen=True)
class _Sampled:
    """Images sampled from a run's weights, stored in the evaluation's folder."""

    run: RunDir
    folder: EvalDir
    model: TrainedModel
    spec: EvalSpec
    progress: Progress

    def sets(self) -> list[GeneratedSet]:
        """Every class equally often at each guidance with each seed; sampled when they are needed."""
        return [self._set(guidance, seed) for guidance in self.spec.guidance for seed in self.spec.all_seeds]

    def ahead(self, engine: "Engine", done: bool) -> None:
        """Sample what is missing with all processes of `engine`; nothing is, once the evaluation is `done`."""
        pairs = [] if done else [(guidance, seed) for guidance in self.spec.guidance for seed in self.spec.all_seeds]
        missing = [(guidance, seed) for guidance, seed in pairs if self._existing(guidance, seed) is None]
        engine.from_rank_zero(lambda: _Plan(folder=self.folder.root.name, missing=missing))
        for guidance, seed in missing:
            self._sample(guidance, seed, engine)

    def _set(self, guidance: float, seed: int) -> GeneratedSet:
        def images() -> Images:
            existing = self._existing(guidance, seed)
            return self._sample(guidance, seed) if existing is None else existing

        return GeneratedSet(guidance, seed, all_labels(self.model, self.spec), self._key(guidance, seed), images)

    def _sampling(self, seed: int) -> SamplingSpec:
        return self.spec.sampling.model_copy(update={"seed": seed})

    def _key(self, guidance: float, seed: int) -> str:
        fields = self._sampling(seed).model_dump(mode="json")
        return cache_key(self.model.weights_hash, fields, guidance, self.spec.per_class)

    def _path(self, guidance: float, seed: int) -> Path:
        path = self.folder.images(guidance)
        return path if seed == self.spec.all_seeds[0] else path.with_name(f"{path.stem}-seed{seed}{path.suffix}")

    def _existing(self, guidance: float, seed: int) -> Images | None:
        """Images (N, H, W, C) of this folder, or of another evaluation, which are copied."""
        key, labels, path = self._key(guidance, seed), all_labels(self.model, self.spec), self._path(guidance, seed)
        images = read_images(path, key, labels)
        if images is not None:
            return images
        for other in sorted(self.run.evals.glob(f"*/images-g{guidance:g}*.npz")):
            images = read_images(other, key, labels)
            if images is not None:
                _write_images(path, images, labels, key)
                return images
        return None

    def _sample(self, guidance: float, seed: int, engine: "Engine | None" = None) -> Images:
        key, labels, path = self._key(guidance, seed), all_labels(self.model, self.spec), self._path(guidance, seed)
        with image_array(path, self.model.facts, len(labels), key) as array:
            images = generate(
                self.model, labels, self._sampling(seed), guidance, None, self.progress, array=array, engine=engine
            )
            _write_images(path, images, labels, key)
        return images


def _write_images(path: Path, images: Images, labels: Labels, key: str) -> None:
    write_atomic(path, lambda file: np.savez_compressed(file, images=images, labels=labels, key=np.array(key)))


def read_images(path: Path, key: str, labels: np.ndarray) -> Images | None:
    """Images sampled with exactly these weights and settings; None if the file is of others, missing or damaged."""
    try:
        kept_key, kept_labels = read_arrays(path, ("key", "labels"))
        if str(kept_key) == key and np.array_equal(kept_labels, labels):
            return read_arrays(path, ("images",), largest=None)[0]
    except (OSError, NpzError):
        pass
    return None
