"""Judge a run: sample each class equally often at every guidance, and hold the images against the real ones.

    weights ──generate──▶ 8-bit images ──features──▶ metrics by class and group ──▶ table.csv, table.json

The folder `evals/<definition>/` is named after everything that makes two runs' numbers comparable. What is in it is
used again only where the weights are the same too, so an interrupted evaluation goes on and a finished one is returned.
Features and numbers are kept in `evals/.cache`, for other evaluations that share them.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taildiff.data.longtail import Split
from taildiff.data.store import Store
from taildiff.data.verify import verify
from taildiff.errors import RunError
from taildiff.evaluation import checks
from taildiff.evaluation.cache import digest
from taildiff.evaluation.images import Images
from taildiff.evaluation.pipeline import Drawn, Evaluations, finished, judge
from taildiff.evaluation.reference import record, yardstick
from taildiff.evaluation.scopes import reference
from taildiff.evaluation.table import Definition
from taildiff.io.atomic import write_atomic
from taildiff.io.npz import NPZ_DAMAGE
from taildiff.log import Progress, silent
from taildiff.run.info import MAY_CHANGE, changed
from taildiff.run.layout import EvalDir, RunDir
from taildiff.sampling.generate import Model, generate, image_array, load_model
from taildiff.spec import DataFacts, EvalSpec

Labels = NDArray[np.int64]
VERSION = 3  # raise it with every change that changes numbers


def evaluate(
    run: RunDir,
    store: Store,
    spec: EvalSpec,
    progress: Progress = silent,
    device: str = "cpu",
    step: int | None = None,
    vae: str | None = None,
) -> EvalDir:
    """Judge a run's weights (the newest, or those of `step`) against the real images of a store; gives the folder.

    `vae`: where the VAE of a run on latents is now, if it is not where it was.

    Raises `RunError` when the run has no weights or those of another run, or the store is not that of the run.
    """
    model = load_model(run, spec.sampling.weights, device, step, vae)
    _check_weights(run, model, spec.sampling.weights)
    notes = _check_store(run, store, model.facts)
    definition = define(run, store, spec, model, progress, device)
    home = Evaluations(run.evals)
    folder = home.evaluation(definition.name)
    if finished(folder, definition):
        return folder
    verify(store)
    chosen = reference(store, spec.reference)
    folder.table_json.unlink(missing_ok=True)  # of other weights: its images are about to be replaced
    split = Split.load(run.split)
    same = store.meta.hash == split.store_hash
    yard = yardstick(store, spec, split.index if same else None, progress, device)
    counts = np.bincount(np.asarray(store.labels)[chosen.index], minlength=len(store.meta.class_names)).tolist()
    notes += checks.long_tailed_reference(counts, chosen.index, split.index if same else None)
    sampled = _Sampled(run, folder, model, spec, progress)
    drawn = [sampled.at(guidance, seed) for guidance in spec.guidance for seed in spec.all_seeds]
    judge(home, definition, yard, drawn, notes, progress)
    return folder


def define(
    run: RunDir, store: Store, spec: EvalSpec, model: Model, progress: Progress = silent, device: str = "cpu"
) -> Definition:
    """Everything the numbers depend on; the name's hash leaves the weights out, so that runs can be compared by it."""
    extractor = record(spec.features, store, progress, device)
    sampling = spec.sampling
    name = digest(VERSION, spec.model_dump(mode="json"), store.meta.hash, extractor.hash)[:8]
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


def _check_weights(run: RunDir, model: Model, kind: str) -> None:
    """Weights that were copied from elsewhere would be judged under this run's name."""
    info = run.info()
    differ = [name for name, _, _ in changed(model.spec, info.spec, (*MAY_CHANGE, "steps"))]
    if differ or _without_places(model.facts) != _without_places(info.facts):
        what = f"other settings ({', '.join(differ[:5])})" if differ else "other data"
        raise RunError(
            f"{run.weights(model.step, kind)} is not of this run: {run.spec} has {what}. "
            "Remove the file, or put it back into the run that it is from"
        )


def _without_places(facts: DataFacts) -> DataFacts:
    """Without what may change when a run goes on: the data's name, and where the VAE was that its hash tells."""
    codec = facts.codec and facts.codec.model_copy(update={"source": ""})
    return facts.model_copy(update={"name": "", "codec": codec})


def _check_store(run: RunDir, store: Store, facts: DataFacts) -> list[str]:
    if run.info().store.hash == store.meta.hash:
        return []
    have, want = store.facts, facts
    same = all(getattr(have, name) == getattr(want, name) for name in ("height", "width", "channels", "class_names"))
    if not same:
        raise RunError(
            f"{store.root} is not the store of {run.root}: {_shape(have)}, the run has {_shape(want)}. "
            "Name the right one with --data"
        )
    return [f"the reference is not the store that the run was trained on, though classes and size agree: {store.root}"]


def _shape(facts: DataFacts) -> str:
    names = ", ".join(facts.class_names[:3])
    return f"{facts.classes} classes ({names} …) of {facts.height}x{facts.width}x{facts.channels}"


@dataclass(frozen=True)
class _Sampled:
    """Images of a run's weights, kept in the evaluation's folder."""

    run: RunDir
    folder: EvalDir
    model: Model
    spec: EvalSpec
    progress: Progress

    def at(self, guidance: float, seed: int) -> Drawn:
        """Every class equally often, class after class; made when asked for."""
        labels = np.repeat(np.arange(self.model.facts.classes), self.spec.per_class)
        sampling = self.spec.sampling.model_copy(update={"seed": seed})
        key = digest(self.model.weights_hash, sampling.model_dump(mode="json"), guidance, self.spec.per_class)
        return Drawn(guidance, seed, labels, key, partial(self._images, guidance, seed, labels, key))

    def _images(self, guidance: float, seed: int, labels: Labels, key: str) -> Images:
        """Images (N, H, W, C); kept ones where there are."""
        own = self.folder.images(guidance)
        if seed != self.spec.all_seeds[0]:
            own = own.with_name(f"{own.stem}-seed{seed}{own.suffix}")
        images = read_images(own, key, labels)
        if images is not None:
            return images
        for path in sorted(self.run.evals.glob(f"*/images-g{guidance:g}*.npz")):
            images = read_images(path, key, labels)
            if images is not None:
                break
        if images is None:
            sampling = self.spec.sampling.model_copy(update={"seed": seed})
            with image_array(own, self.model.facts, len(labels), key) as array:
                images = generate(self.model, labels, sampling, guidance, progress=self.progress, array=array)
                _write_images(own, images, labels, key)
        else:
            _write_images(own, images, labels, key)
        return images


def _write_images(path: Path, images: Images, labels: Labels, key: str) -> None:
    write_atomic(path, lambda file: np.savez_compressed(file, images=images, labels=labels, key=np.array(key)))


def read_images(path: Path, key: str, labels: np.ndarray) -> Images | None:
    """Images made with just these weights and settings; None when there are none, or the file is damaged."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if str(file["key"]) == key and np.array_equal(file["labels"], labels):
                return file["images"]
    except NPZ_DAMAGE:
        return None
    return None
