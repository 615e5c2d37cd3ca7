"""The reference of an evaluation: real images as features, the extractor, and the classifier."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taildiff.data.store import Store
from taildiff.data.verify import verify
from taildiff.evaluation.cache import cache_key, cached_array, cached_features
from taildiff.evaluation.classifier import DomainClassifier, domain_classifier, domain_hash
from taildiff.evaluation.copies import VERSION as COPIES
from taildiff.evaluation.copies import CopyFinder, new_images
from taildiff.evaluation.extractors import extractor
from taildiff.evaluation.extractors.base import Extractor
from taildiff.evaluation.images import ImageSequence, SelectedImages
from taildiff.evaluation.scopes import Pool, reference_index
from taildiff.evaluation.table import ExtractorInfo
from taildiff.evaluation.utility import UtilityTest, utility_test
from taildiff.io.atomic import remove_temporary
from taildiff.io.lock import waiting
from taildiff.log import Progress, silent
from taildiff.spec import EvalSpec
from taildiff.spec.metrics import needed

Labels = NDArray[np.int64]
VERSION = 1  # raise it with every change of what `Reference.keep` caches


@dataclass(frozen=True, eq=False)
class Reference:
    """The real side of every number of an evaluation."""

    extractor: Extractor
    classifier: DomainClassifier
    real: Pool
    key: str
    """Identifies the real images, the extractor, the classifier and the training images."""
    real_key: str
    """Identifies the features of the real images."""
    cache: Path
    """The store's folder for what other evaluations on it share."""
    copies: CopyFinder | None = None
    """Finds copies of the model's training images, where a metric needs them and they are known."""
    notes: tuple[str, ...] = ()
    utility: UtilityTest | None = None
    """Where utility is requested."""

    def keep(self, make: Callable[[], NDArray[np.float64]], what: str) -> NDArray[np.float64]:
        """What depends on the real images alone, cached under its name in the store's folder."""
        return cached_array(self.cache, cache_key(VERSION, self.real_key, what), make)

    def pool(
        self, folder: Path, images: ImageSequence, labels: Labels, name: str, progress: Progress, stage: str
    ) -> Pool:
        """Features of generated images with the classifier's predictions, cached in `folder` under their `name`."""
        features = own = cached_image_features(folder, self.extractor, images, name, progress, stage)
        if self.extractor is not self.classifier:
            own = cached_image_features(folder, self.classifier, images, name, progress, f"{stage}, for the classifier")
        copied = self.copies.measure(images, labels).copied if self.copies else None
        return Pool.interleaved(features, labels, self.classifier.predict(own), copied)


def extractor_info(name: str, store: Store, progress: Progress = silent, device: str = "cpu") -> ExtractorInfo:
    """The features that a definition uses; trains nothing."""
    if name == "domain":
        return ExtractorInfo(name=name, dim=DomainClassifier.dim, hash=domain_hash(store.meta.hash))
    by = extractor(name, store, progress, device)
    return ExtractorInfo(name=name, dim=by.dim, hash=by.hash, is_fid=by.is_fid)


def check_reference(store: Store, spec: EvalSpec, trained: NDArray[np.intp] | None, device: str = "cpu") -> None:
    """Raise what `load_reference` would raise before it computes: no such images, no such features, none held out."""
    verify(store)
    reference_index(store, spec.reference)
    extractor_info(spec.features, store, device=device)
    if spec.utility:
        utility_test(store, trained, device)


def load_reference(
    store: Store, spec: EvalSpec, trained: NDArray[np.intp] | None, progress: Progress = silent, device: str = "cpu"
) -> Reference:
    """Train or load the classifier and compute the features of the real images, cached in the store's folder.

    One process at a time, so that the classifier of the cached features is the cached one.

    `trained` are the positions in the store that the model was trained on; None where that is not known.
    """
    with waiting(store.cache_dir / ".lock", f"is computing what evaluations on {store.root} share"):
        remove_temporary(store.cache_dir)
        return _load_reference(store, spec, trained, progress, device)


def _load_reference(
    store: Store, spec: EvalSpec, trained: NDArray[np.intp] | None, progress: Progress, device: str
) -> Reference:
    index = reference_index(store, spec.reference)
    utility = utility_test(store, trained, device) if spec.utility else None
    classifier = domain_classifier(store, progress, device)
    by = classifier if spec.features == "domain" else extractor(spec.features, store, progress, device)

    def pool(chosen: NDArray[np.intp], kind: str) -> Pool:
        in_order = np.sort(chosen)  # a mapped file is read from front to back
        name = cache_key(store.meta.hash, in_order.tolist())
        images, stage = SelectedImages(store.images, in_order), f"features of the {kind} images"
        features = cached_image_features(store.cache_dir, by, images, name, progress, stage)
        return Pool(features[np.searchsorted(in_order, chosen)], np.asarray(store.labels)[chosen])

    finder, leaks = None, ()
    if "training images" in needed(spec.metrics) and trained is not None:
        finder = CopyFinder.of(store, trained)
        leaks = tuple(_copy_notes(store, trained, finder))
    real = pool(index.index, "real")
    notes = (
        *classifier.notes,
        *(by.notes if by is not classifier else ()),
        *([index.note] if index.note else []),
        *leaks,
    )
    trained_key = "" if trained is None else cache_key(np.sort(trained).tolist(), *([COPIES] if finder else []))
    places = cache_key(np.sort(index.index).tolist())
    key = cache_key(store.meta.hash, spec.reference, places, by.hash, classifier.hash, trained_key)
    real_key = cache_key(store.meta.hash, index.index.tolist(), by.hash)
    return Reference(by, classifier, real, key, real_key, store.cache_dir, finder, notes, utility)


def _copy_notes(store: Store, trained: NDArray[np.intp], finder: CopyFinder) -> Iterator[str]:
    """Held-out images that are copies of training ones, and what the threshold rests on where too few are new."""
    rest = np.setdiff1d(np.arange(store.meta.count), trained)
    leaked = np.setdiff1d(rest, new_images(store, trained))
    if len(leaked):
        yield _leaks(store, leaked)
    if finder.rule.known_from != "held-out images":
        yield "too few real images are held out from training: memorised compares with training images, each left out"


def _leaks(store: Store, leaked: NDArray[np.intp]) -> str:
    names = [store.names[i] if store.names else f"image {i}" for i in leaked[:5].tolist()]
    more = " …" if len(leaked) > 5 else ""
    what = "1 held-out image is a copy" if len(leaked) == 1 else f"{len(leaked)} held-out images are copies"
    return f"{what} of a training image and left out where `memorized` looks for new ones: {', '.join(names)}{more}"


def cached_image_features(
    folder: Path, by: Extractor, images: ImageSequence, name: str, progress: Progress, stage: str
) -> NDArray[np.float32]:
    """Features (N, D) of the images that `name` identifies, cached in `folder`; progress is of `stage`."""

    def make() -> NDArray[np.float32]:
        return by.features(images, lambda _, done, total: progress(stage, done, total))

    return cached_features(folder, cache_key(by.hash, name), make)
