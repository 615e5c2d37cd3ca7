"""What generated images are held against: real images as features, the extractor, and the judge of classes."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taildiff.data.store import Store
from taildiff.evaluation.cache import digest, kept_features
from taildiff.evaluation.classifier import DomainClassifier, domain_classifier, domain_hash
from taildiff.evaluation.extractors import extractor
from taildiff.evaluation.extractors.base import Extractor
from taildiff.evaluation.images import Chosen, Images, Pictures
from taildiff.evaluation.lesson import Lesson, lesson
from taildiff.evaluation.scopes import Pool, interleave, reference
from taildiff.evaluation.table import ExtractorRecord
from taildiff.log import Progress, silent
from taildiff.spec import EvalSpec

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Yardstick:
    """The real side of every number of an evaluation."""

    extractor: Extractor
    judge: DomainClassifier
    real: Pool
    key: str
    """Names the real images and the extractor."""
    train: Pool | None = None
    """What a model was trained on, where memorisation is asked for and it is known."""
    holdout: Pool | None = None
    """Real images that it was not trained on, equally many of each class."""
    notes: tuple[str, ...] = field(default=())
    lesson: Lesson | None = None
    """Where utility is asked for."""

    def of(self, folder: Path, images: Images, labels: Labels, name: str, progress: Progress, stage: str) -> Pool:
        """Generated images as features, each with the judge's opinion; kept in `folder` under their `name`."""
        features = _kept(folder, self.extractor, images, name, progress, stage)
        judged = features
        if self.extractor is not self.judge:
            judged = _kept(folder, self.judge, images, name, progress, f"{stage}, for the judge")
        return Pool.interleaved(features, labels, self.judge.predict(judged))


def record(name: str, store: Store, progress: Progress = silent, device: str = "cpu") -> ExtractorRecord:
    """Which features a definition is made with; trains nothing."""
    if name == "domain":
        return ExtractorRecord(name=name, dim=DomainClassifier.dim, hash=domain_hash(store.meta.hash))
    found = extractor(name, store, progress, device)
    return ExtractorRecord(name=name, dim=found.dim, hash=found.hash, is_fid=found.is_fid)


def yardstick(
    store: Store, spec: EvalSpec, trained: NDArray[np.intp] | None, progress: Progress = silent, device: str = "cpu"
) -> Yardstick:
    """Train or load what judges, and take the features of the real images, kept in the store's folder.

    `trained` are the positions in the store that the model was trained on; None where that is not known.
    """
    chosen = reference(store, spec.reference)
    teach = lesson(store, trained, device) if spec.utility else None
    judge = domain_classifier(store, progress, device)
    found = judge if spec.features == "domain" else extractor(spec.features, store, progress, device)

    def pool(index: NDArray[np.intp], stage: str) -> Pool:
        in_order = np.sort(index)  # a mapped file is read from front to back
        name = digest(store.meta.hash, in_order.tolist())
        features = _kept(store.cache_dir, found, Chosen(store.images, in_order), name, progress, stage)
        return Pool(features[np.searchsorted(in_order, index)], np.asarray(store.labels)[index])

    train = holdout = None
    if "memorized" in spec.metrics and trained is not None:
        train = pool(trained, "features of the training images")
        rest = _held_out(store, trained)
        holdout = pool(rest, "features of the hold-out images") if len(rest) else None
    real = pool(chosen.index, "features of the real images")
    notes = (*judge.notes, *(found.notes if found is not judge else ()), *([chosen.note] if chosen.note else []))
    own = "" if trained is None else digest(np.sort(trained).tolist())
    against = digest(np.sort(chosen.index).tolist())
    key = digest(store.meta.hash, spec.reference, against, found.hash, judge.hash, own)
    return Yardstick(found, judge, real, key, train, holdout, notes, teach)


def _held_out(store: Store, trained: NDArray[np.intp]) -> NDArray[np.intp]:
    """Real images that were not trained on, equally many of each class; none where a class has none."""
    labels = np.asarray(store.labels)
    rest = np.setdiff1d(np.arange(len(labels)), trained)
    rest = rest[interleave(labels[rest])] if len(rest) else rest
    classes = len(store.meta.class_names)
    return rest[: int(np.bincount(labels[rest], minlength=classes).min()) * classes] if len(rest) else rest


def _kept(
    folder: Path, by: Extractor, images: Pictures, name: str, progress: Progress, stage: str
) -> NDArray[np.float32]:
    def make() -> NDArray[np.float32]:
        return by.features(images, lambda _, done, total: progress(stage, done, total))

    return kept_features(folder, digest(by.hash, name), make)
