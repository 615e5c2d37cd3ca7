"""Evaluate existing images from any source against a store, or against statistics of another tool."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taildiff.data.longtail import NEARLY_EQUAL
from taildiff.data.store import Store
from taildiff.data.verify import verify
from taildiff.errors import InputError
from taildiff.evaluation import checks
from taildiff.evaluation.cache import cache_key, images_key
from taildiff.evaluation.copies import copies_version
from taildiff.evaluation.extractors import extractor
from taildiff.evaluation.extractors.base import Extractor
from taildiff.evaluation.image_arrays import refuse_other_order
from taildiff.evaluation.image_sources import ImageSource
from taildiff.evaluation.pipeline import (
    EvaluationsDir,
    GeneratedSet,
    finished,
    measure_and_write,
    one_evaluation,
    to_row,
)
from taildiff.evaluation.reference import cached_image_features, check_reference, extractor_info, load_reference
from taildiff.evaluation.sample import Number
from taildiff.evaluation.scopes import Scope
from taildiff.evaluation.table import Definition, ExtractorInfo, Table
from taildiff.evaluation.utility import first
from taildiff.log import Progress, silent
from taildiff.metrics import GaussianStatistics, frechet_from_statistics
from taildiff.run.layout import EvalDir
from taildiff.spec import EvalSpec

VERSION = 4  # raise it with every change that changes numbers


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
    index = _select(source, len(store.meta.class_names), spec.per_class)
    labels, key = source.labels[index], cache_key(source.store.meta.hash, index.tolist())
    drawn = tuple(np.bincount(labels, minlength=len(store.meta.class_names)).tolist())
    per_class = drawn[0] if len(set(drawn)) == 1 else 0
    definition = Definition(
        name="",
        run=source.name,
        step=0,
        spec=spec.model_copy(update={"guidance": (), "seeds": (), "per_class": per_class}),
        weights_hash=key,
        store_hash=store.meta.hash,
        extractor=extractor_info(spec.features, store, progress, device),
        class_names=store.meta.class_names,
        counts=trained.counts,
        drawn=drawn,
        source="images",
    )
    definition = _named(definition)
    with one_evaluation(home, definition) as folder:
        if finished(folder, definition):
            return folder
        verify(store)
        reference = load_reference(store, definition.spec, trained.index, progress, device)
        real = np.bincount(reference.real.labels, minlength=len(drawn)).tolist()
        notes = (*source.notes, *checks.priors(drawn, real))
        images = GeneratedSet(None, None, labels, key, lambda: source.images(index, store.meta.channels))
        if source.by_position:
            pictures, stage = images.images(), f"features {images.title}"
            pool = reference.pool(home.cache, pictures, labels, images_key(pictures, labels), progress, stage)
            if pool.predicted is not None:
                refuse_other_order(source.name, pool.predicted, pool.labels, store.meta.class_names)
        measure_and_write(home, definition, reference, [images], notes, progress)
    return folder


def check_images(
    source: ImageSource, store: Store, spec: EvalSpec, trained: TrainingImages | None = None, device: str = "cpu"
) -> None:
    """Raise what `evaluate_images` would raise before it measures."""
    _select(source, len(store.meta.class_names), spec.per_class)
    check_reference(store, spec, trained.index if trained else None, device)


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
    network = statistics_network(source, real, spec, progress, device)
    definition = Definition(
        name="",
        run=source.name,
        step=0,
        spec=spec.model_copy(update={"guidance": (), "seeds": (), "per_class": 0, "metrics": ("frechet",)}),
        weights_hash=source.store.meta.hash,
        store_hash=cache_key(real.mean.tolist(), float(real.cov.sum()), float(np.abs(real.cov).sum())),
        extractor=ExtractorInfo(name=network.name, dim=network.dim, hash=network.hash, is_fid=network.is_fid),
        class_names=source.store.meta.class_names,
        counts=(),
        drawn=(len(source.labels),),
        source="images",
    )
    definition = _named(definition)
    with one_evaluation(home, definition) as folder:
        if not finished(folder, definition):
            _write_statistics(source, real, definition, network, home, progress)
    return folder


def statistics_network(
    source: ImageSource, real: GaussianStatistics, spec: EvalSpec, progress: Progress = silent, device: str = "cpu"
) -> Extractor:
    """The network whose features the statistics are of; `InputError` for one that they cannot be of."""
    if spec.features == "domain":
        raise InputError("statistics belong to a pretrained network; name it, as in --features inception")
    network = extractor(spec.features, source.store, progress, device)
    if len(real.mean) != network.dim:
        dims = f"the statistics have {len(real.mean)} dimensions, {network.name} has {network.dim}"
        raise InputError(f"{dims}; choose another extractor")
    return network


def _write_statistics(
    source: ImageSource,
    real: GaussianStatistics,
    definition: Definition,
    network: Extractor,
    home: EvaluationsDir,
    progress: Progress,
) -> None:
    verify(source.store)
    images, name, stage = source.store.images, definition.weights_hash, "features of the images"
    features = cached_image_features(home.cache, network, images, name, progress, stage)
    enough = len(features) > network.dim
    value = frechet_from_statistics(real, GaussianStatistics.of(features)) if enough else None
    row = to_row(definition, None, None, Scope("all", ()), Number("frechet", value, real.n, len(features)))
    notes = [*source.notes, "the reference is only statistics: no other metric, no classes, no interval"]
    notes += [] if real.n else ["the statistics do not state their number of images"]
    notes += [*checks.missing((row,), network.dim), *checks.few_images((row,), network.dim)]
    Table((row,), definition, tuple(notes)).write(home.evaluation(definition.name))


def _named(definition: Definition) -> Definition:
    """The definition with its name, which ends in a hash over spec, store, features and numbers of images."""
    spec, extractor, drawn = definition.spec, definition.extractor, definition.drawn
    values = (spec.identity, definition.store_hash, extractor.hash, drawn, definition.counts, *copies_version(spec))
    size = f"n{spec.per_class}" if spec.per_class else f"all{sum(drawn)}"
    return definition.model_copy(update={"name": f"{extractor.name}-{size}-{cache_key(VERSION, *values)[:8]}"})


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
    return first(source.labels, np.full(classes, n))
