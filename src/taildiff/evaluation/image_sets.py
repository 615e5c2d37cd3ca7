"""Evaluate existing images from any source against a store, or against statistics of another tool."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taildiff.data.longtail import NEARLY_EQUAL
from taildiff.data.store import Store
from taildiff.errors import InputError
from taildiff.evaluation import checks
from taildiff.evaluation.cache import cache_key, cached_features
from taildiff.evaluation.extractors import extractor
from taildiff.evaluation.image_sources import ImageSource
from taildiff.evaluation.pipeline import EvaluationsDir, GeneratedSet, finished, measure_and_write, to_row
from taildiff.evaluation.reference import extractor_info, load_reference
from taildiff.evaluation.scopes import Scope
from taildiff.evaluation.scores import Number
from taildiff.evaluation.table import Definition, ExtractorInfo, Table
from taildiff.log import Progress, silent
from taildiff.metrics import GaussianStatistics, frechet_from_statistics
from taildiff.run.layout import EvalDir
from taildiff.spec import EvalSpec

VERSION = 2  # raise it with every change that changes numbers


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """Known facts about the training set of the model that generated the images."""

    counts: tuple[int, ...] = ()
    """Images per class, which decide head, body and tail; empty if unknown."""
    index: NDArray[np.intp] | None = None
    """Positions in the reference's store, if known."""


def evaluate_images(
    source: ImageSource,
    store: Store,
    spec: EvalSpec,
    home: EvaluationsDir,
    trained: TrainingImages | None = None,
    progress: Progress = silent,
    device: str = "cpu",
) -> EvalDir:
    """Compare images with the real ones of a store; returns the folder with the table.

    Takes equal numbers per class: `spec.per_class`, or with 0 as many as the rarest has, unless the classes are too
    unequal for that. Raises `InputError` if a class has fewer than `spec.per_class` images.
    """
    trained = trained or TrainingImages(_long_tail(store))
    classes = store.meta.class_names
    index = _select(source, len(classes), spec.per_class)
    labels = source.labels[index]
    drawn = tuple(np.bincount(labels, minlength=len(classes)).tolist())
    spec = spec.model_copy(update={"guidance": (), "seeds": (), "per_class": drawn[0] if len(set(drawn)) == 1 else 0})
    found = extractor_info(spec.features, store, progress, device)
    key = cache_key(source.store.meta.hash, index.tolist())
    definition = _definition(source.name, spec, found, store.meta.hash, key, classes, trained.counts, drawn)
    folder = home.evaluation(definition.name)
    if finished(folder, definition):
        return folder
    reference = load_reference(store, spec, trained.index, progress, device)
    real = np.bincount(reference.real.labels, minlength=len(classes)).tolist()
    notes = (*source.notes, *checks.priors(drawn, real))
    images = GeneratedSet(None, None, labels, key, lambda: source.images(index, store.meta.channels))
    measure_and_write(home, definition, reference, [images], notes, progress)
    return folder


def evaluate_statistics(
    source: ImageSource,
    real: GaussianStatistics,
    spec: EvalSpec,
    home: EvaluationsDir,
    progress: Progress = silent,
    device: str = "cpu",
) -> EvalDir:
    """The Fréchet distance of all images to a mean and covariance, the only metric that these allow.

    Raises `InputError` for features of another dimension, and for `domain`, which learns from the real images.
    """
    if spec.features == "domain":
        raise InputError("statistics belong to a pretrained network; name it, as in --features inception")
    by = extractor(spec.features, source.store, progress, device)
    if len(real.mean) != by.dim:
        raise InputError(
            f"the statistics have {len(real.mean)} dimensions, {by.name} has {by.dim}; choose another extractor"
        )
    store_hash = cache_key(real.mean.tolist(), float(real.cov.sum()), float(np.abs(real.cov).sum()))
    key, count = source.store.meta.hash, len(source.labels)
    spec = spec.model_copy(update={"guidance": (), "seeds": (), "per_class": 0, "metrics": ("frechet",)})
    found = ExtractorInfo(name=by.name, dim=by.dim, hash=by.hash, is_fid=by.is_fid)
    names = source.store.meta.class_names
    definition = _definition(source.name, spec, found, store_hash, key, names, (), (count,))
    folder = home.evaluation(definition.name)
    if finished(folder, definition):
        return folder

    def make() -> NDArray[np.float32]:
        images = source.store.images
        return by.features(images, lambda _, done, total: progress("features of the images", done, total))

    features = cached_features(home.cache, cache_key(by.hash, key), make)
    enough = count > by.dim
    value = frechet_from_statistics(real, GaussianStatistics.of(features)) if enough else None
    row = to_row(definition, None, None, Scope("all", ()), Number("frechet", value, real.n, count))
    notes = [*source.notes, "the reference is only statistics: no other metric, no classes, no interval"]
    notes += [] if real.n else ["the statistics do not state their number of images"]
    notes += [*checks.missing((row,), by.dim), *checks.few_images((row,), by.dim)]
    Table((row,), definition, tuple(notes)).write(folder)
    return folder


def _definition(
    name: str,
    spec: EvalSpec,
    found: ExtractorInfo,
    store_hash: str,
    images_hash: str,
    class_names: tuple[str, ...],
    counts: tuple[int, ...],
    drawn: tuple[int, ...],
) -> Definition:
    own = cache_key(VERSION, spec.model_dump(mode="json"), store_hash, found.hash, drawn, counts)[:8]
    size = f"n{spec.per_class}" if spec.per_class else f"all{sum(drawn)}"
    return Definition(
        name=f"{found.name}-{size}-{own}",
        run=name,
        step=0,
        spec=spec,
        weights_hash=images_hash,
        store_hash=store_hash,
        extractor=found,
        class_names=class_names,
        counts=counts,
        source="images",
        drawn=drawn,
    )


def _long_tail(store: Store) -> tuple[int, ...]:
    """Training counts of a long-tailed store; empty for a balanced one, which has no head and tail."""
    counts = store.facts.counts
    return counts if max(counts) > NEARLY_EQUAL * min(counts) else ()


def _select(source: ImageSource, classes: int, per_class: int) -> NDArray[np.intp]:
    """Positions of the first images of each class, in equal numbers if possible."""
    counts = np.bincount(source.labels, minlength=classes)
    least, most = int(counts[counts > 0].min()), int(counts.max())
    if per_class > least:
        raise InputError(f"{source.name} has only {least} images of a class; use --per-class {least} or less")
    n = per_class or (least if most <= NEARLY_EQUAL * least else most)
    return np.sort(np.concatenate([np.flatnonzero(source.labels == label)[:n] for label in range(classes)]))
