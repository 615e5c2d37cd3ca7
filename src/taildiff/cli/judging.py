"""What `taildiff evaluate` does: finds both sides of an evaluation, whatever they are, and has them compared."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taildiff.data.latents import LatentStore, is_latents, pixels_of
from taildiff.data.locate import store_of
from taildiff.data.longtail import Split
from taildiff.data.store import Store, is_store
from taildiff.errors import SpecError
from taildiff.log import Progress, silent
from taildiff.run.layout import EvalDir, RunDir
from taildiff.sampling.folders import folder_names
from taildiff.spec import EvalSpec


@dataclass(frozen=True)
class Asked:
    """An evaluation as it was asked for."""

    source: Path
    data: Path | None
    trained_on: Path | None
    out: Path | None
    step: int | None
    spec: EvalSpec
    per_class: int = 0
    """Of images that are there already; 0: as many as there are."""
    vae: str | None = None
    """Where the VAE of a run on latents is now."""

    def store_of_run(self, run: RunDir, progress: Progress = silent) -> Store:
        """The real images that a run is held against."""
        if self.data is None:
            return store_of(run)
        if is_latents(self.data):
            return pixels_of(LatentStore.open(self.data))
        if not self.data.exists() or is_store(self.data):
            return Store.open(self.data)
        from taildiff.evaluation.image_sources import to_store

        facts = run.info().facts
        return to_store(self.data, evals_of(self.data) / ".cache", facts.height, facts.class_names, progress)[0]


def evals_of(source: Path) -> Path:
    """Where evaluations of images lie that are there already: beside them."""
    whole = source.resolve()
    return whole.with_name(f"{whole.name}-evals")


def judge_run(run: RunDir, asked: Asked, progress: Progress) -> EvalDir:
    """Sample and judge a run."""
    store = asked.store_of_run(run, progress)
    from taildiff.evaluation.evaluate import evaluate  # torch: not before it is needed
    from taildiff.sampling.generate import best_device

    return evaluate(run, store, asked.spec, progress, best_device(), asked.step, asked.vae)


def judge_images(asked: Asked, progress: Progress) -> EvalDir:
    """Judge images that are there already."""
    if asked.data is None:
        raise SpecError(f"what is {asked.source} to be held against? Name the real images: --data STORE, FOLDER or NPZ")
    from taildiff.evaluation.image_sets import TrainingImages, evaluate_images, evaluate_statistics
    from taildiff.evaluation.image_sources import ImageSource, is_npz, open_images, read_statistics, to_store
    from taildiff.evaluation.pipeline import EvaluationsDir
    from taildiff.sampling.generate import best_device

    home = EvaluationsDir(asked.out or evals_of(asked.source))
    if is_npz(asked.data) and (known := read_statistics(asked.data)) is not None:
        store, notes = to_store(asked.source, home.cache, progress=progress)
        subject = ImageSource(asked.source.resolve().name, store, np.asarray(store.labels), notes)
        return evaluate_statistics(subject, known, asked.spec, home, progress, best_device())
    beside = EvaluationsDir(evals_of(asked.data))  # what judges is trained once, whatever it judges
    real, about = to_store(asked.data, beside.cache, progress=progress)
    subject = open_images(asked.source, real, folder_names(real.meta.class_names), home.cache, progress)
    subject = ImageSource(subject.name, subject.store, subject.labels, (*about, *subject.notes))
    trained = None
    if asked.trained_on:
        counts, index = _trained_on(asked.trained_on, real, home.cache, progress)
        trained = TrainingImages(counts, index)
    spec = asked.spec.model_copy(update={"per_class": asked.per_class})
    return evaluate_images(subject, real, spec, home, trained, progress, best_device())


def _trained_on(path: Path, real: Store, cache: Path, progress: Progress) -> tuple[tuple[int, ...], np.ndarray | None]:
    """Training images by class, and where in the real images' store they are, if that is known."""
    from taildiff.evaluation.image_sources import open_images

    run = RunDir(path)
    if run.exists():
        split = Split.load(run.split)
        if len(split.counts) != len(real.meta.class_names):
            raise SpecError(
                f"--trained-on {path}: {len(split.counts)} classes, the real images have {len(real.meta.class_names)}"
            )
        return split.counts, split.index if split.store_hash == real.meta.hash else None
    found = open_images(path, real, folder_names(real.meta.class_names), cache, progress)
    kept = found.labels[~np.asarray(found.store.test)]
    counts = np.bincount(kept, minlength=len(real.meta.class_names))
    return tuple(counts.tolist()), found.store.train_index if found.store.meta.hash == real.meta.hash else None
