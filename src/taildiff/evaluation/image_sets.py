"""Judge images that are there already, whoever made them, against a store, or against statistics made elsewhere."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taildiff.data.longtail import NEARLY_EQUAL
from taildiff.data.store import Store
from taildiff.errors import InputError
from taildiff.evaluation import checks
from taildiff.evaluation.cache import digest, kept_features
from taildiff.evaluation.extractors import extractor
from taildiff.evaluation.image_sources import Given
from taildiff.evaluation.pipeline import Drawn, Evaluations, finished, judge, to_row
from taildiff.evaluation.reference import record, yardstick
from taildiff.evaluation.scopes import Scope
from taildiff.evaluation.scores import Number
from taildiff.evaluation.table import Definition, ExtractorRecord, Table
from taildiff.log import Progress, silent
from taildiff.metrics import GaussianStatistics, frechet_from_statistics
from taildiff.run.layout import EvalDir
from taildiff.spec import EvalSpec

VERSION = 2  # raise it with every change that changes numbers


@dataclass(frozen=True, eq=False)
class TrainedOn:
    """What is known of the training set of the model that made the images."""

    counts: tuple[int, ...] = ()
    """Images of each class, which decide head, body and tail; empty: unknown."""
    index: NDArray[np.intp] | None = None
    """Positions in the reference's store, where they are known."""


def evaluate_images(
    subject: Given,
    store: Store,
    spec: EvalSpec,
    home: Evaluations,
    trained: TrainedOn | None = None,
    progress: Progress = silent,
    device: str = "cpu",
) -> EvalDir:
    """Judge images against the real ones of a store; gives the folder with the table.

    Equally many of each class are taken: `spec.per_class`, or with 0 as many as the rarest has, unless the classes are
    too unequal for that. Raises `InputError` where a class has fewer images than asked for.
    """
    trained = trained or TrainedOn(_long_tail(store))
    classes = store.meta.class_names
    index = _chosen(subject, len(classes), spec.per_class)
    labels = subject.labels[index]
    drawn = tuple(np.bincount(labels, minlength=len(classes)).tolist())
    spec = spec.model_copy(update={"guidance": (), "seeds": (), "per_class": drawn[0] if len(set(drawn)) == 1 else 0})
    found = record(spec.features, store, progress, device)
    key = digest(subject.store.meta.hash, index.tolist())
    definition = _definition(subject.name, spec, found, store.meta.hash, key, classes, trained.counts, drawn)
    folder = home.evaluation(definition.name)
    if finished(folder, definition):
        return folder
    yard = yardstick(store, spec, trained.index, progress, device)
    real = np.bincount(yard.real.labels, minlength=len(classes)).tolist()
    notes = (*subject.notes, *checks.priors(drawn, real))
    images = Drawn(None, None, labels, key, lambda: subject.images(index, store.meta.channels))
    judge(home, definition, yard, [images], notes, progress)
    return folder


def evaluate_statistics(
    subject: Given,
    real: GaussianStatistics,
    spec: EvalSpec,
    home: Evaluations,
    progress: Progress = silent,
    device: str = "cpu",
) -> EvalDir:
    """The Fréchet distance of all images to a mean and covariance; nothing else can be had of those.

    Raises `InputError` for features of another dimension, and for `domain`, which learns from the real images.
    """
    if spec.features == "domain":
        raise InputError("statistics are of some pretrained network: name it, as in --features inception")
    by = extractor(spec.features, subject.store, progress, device)
    if len(real.mean) != by.dim:
        raise InputError(f"the statistics have {len(real.mean)} dimensions, {by.name} has {by.dim}: name another")
    store_hash = digest(real.mean.tolist(), float(real.cov.sum()), float(np.abs(real.cov).sum()))
    key, count = subject.store.meta.hash, len(subject.labels)
    spec = spec.model_copy(update={"guidance": (), "seeds": (), "per_class": 0, "metrics": ("frechet",)})
    found = ExtractorRecord(name=by.name, dim=by.dim, hash=by.hash, is_fid=by.is_fid)
    names = subject.store.meta.class_names
    definition = _definition(subject.name, spec, found, store_hash, key, names, (), (count,))
    folder = home.evaluation(definition.name)
    if finished(folder, definition):
        return folder

    def make() -> NDArray[np.float32]:
        images = subject.store.images
        return by.features(images, lambda _, done, total: progress("features of the images", done, total))

    features = kept_features(home.cache, digest(by.hash, key), make)
    enough = count > by.dim
    value = frechet_from_statistics(real, GaussianStatistics.of(features)) if enough else None
    row = to_row(definition, None, None, Scope("all", ()), Number("frechet", value, real.n, count))
    notes = [*subject.notes, "the reference is statistics alone: no other metric, no classes, no interval"]
    notes += [] if real.n else ["the statistics do not tell over how many images they were taken"]
    notes += [*checks.missing((row,), by.dim), *checks.few_images((row,), by.dim)]
    Table((row,), definition, tuple(notes)).write(folder)
    return folder


def _definition(
    name: str,
    spec: EvalSpec,
    found: ExtractorRecord,
    store_hash: str,
    images_hash: str,
    class_names: tuple[str, ...],
    counts: tuple[int, ...],
    drawn: tuple[int, ...],
) -> Definition:
    own = digest(VERSION, spec.model_dump(mode="json"), store_hash, found.hash, drawn, counts)[:8]
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
    """Training counts of a store, where they are long-tailed: a balanced one says nothing of head and tail."""
    counts = store.facts.counts
    return counts if max(counts) > NEARLY_EQUAL * min(counts) else ()


def _chosen(subject: Given, classes: int, per_class: int) -> NDArray[np.intp]:
    """Positions of the first images of each class, equally many where that can be."""
    counts = np.bincount(subject.labels, minlength=classes)
    there = counts[counts > 0]
    if per_class and there.min() < per_class:
        name = subject.store.meta.class_names
        raise InputError(
            f"{subject.name} has {there.min()} images of a class ({len(name)} classes), not {per_class}: "
            f"give --per-class {there.min()} or less"
        )
    n = per_class or (int(there.min()) if there.max() <= NEARLY_EQUAL * there.min() else int(there.max()))
    return np.sort(np.concatenate([np.flatnonzero(subject.labels == label)[:n] for label in range(classes)]))
