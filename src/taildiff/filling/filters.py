"""What is admitted: images that show their class, copy no training image and repeat no other new one.

    copy     a copy of a training image, or of its mirror image, by the rule of `metrics/copies.py`
    class    p(label) of the classifier below the 5 % quantile of that of real images of the class: held-out ones;
             of all classes together where the class has fewer than 20, or cross-fitted training images where fewer than
             20 are held out at all
    repeat   as near to a new image of the class that was admitted before as a copy is to a training image

Images are decided in the order of their ranks, so the result does not depend on how many are drawn at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from taildiff.data.store import Store
from taildiff.evaluation import classifier_network
from taildiff.evaluation.cache import cache_key, cached_features
from taildiff.evaluation.copies import CopyFinder, flattened, pictures
from taildiff.evaluation.images import Images, ImageSequence, SelectedImages
from taildiff.log import Progress, silent

Filter = Literal["copy", "class", "repeat"]
FILTERS: tuple[Filter, ...] = get_args(Filter)
QUANTILE = 0.05
FEWEST = 20
"""Real images that a quantile of their own needs."""


class Recogniser(Protocol):
    """The classifier, as `evaluation.classifier.DomainClassifier` is one."""

    @property
    def hash(self) -> str:
        """Covers everything that determines its probabilities."""
        ...

    def features(self, images: ImageSequence, progress: Progress = silent) -> NDArray[np.float32]:
        """Features (N, D) of 8-bit images (N, H, W, C)."""
        ...

    def probabilities(self, features: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Class probabilities (N, C) of its own features (N, D)."""
        ...


@dataclass(frozen=True, eq=False)
class ClassThresholds:
    """The smallest p(label) of each class that is admitted."""

    least: NDArray[np.float64]
    """(C,)."""
    pooled: NDArray[np.bool_]
    """(C,) whether it is from all classes together."""
    known_from: Literal["held-out images", "cross-fitted training images"]

    @classmethod
    def of(cls, store: Store, by: Recogniser, progress: Progress = silent, device: str = "cpu") -> Self:
        """Those of a store's real images."""
        held_out, classes = store.test_index, len(store.meta.class_names)
        if len(held_out) >= FEWEST:
            labels = np.asarray(store.labels)[held_out]
            probabilities = by.probabilities(by.features(SelectedImages(store.images, held_out)))
            return cls.from_real(probabilities, labels, classes, "held-out images")
        index = store.train_index
        labels = np.asarray(store.labels)[index]

        def make() -> NDArray[np.float32]:
            images = SelectedImages(store.images, index)
            return classifier_network.cross_fitted(images, labels, classes, 0, progress, device)

        key = cache_key(store.meta.hash, classifier_network.VERSION, "cross-fitted scores")
        probabilities = softmax(cached_features(store.cache_dir, key, make), axis=1)
        several = (
            np.bincount(labels, minlength=classes)[labels] > 1
        )  # without a second image there is none to learn from
        return cls.from_real(probabilities[several], labels[several], classes, "cross-fitted training images")

    @classmethod
    def from_real(
        cls,
        probabilities: NDArray[np.float32],
        labels: NDArray[np.int64],
        classes: int,
        known_from: Literal["held-out images", "cross-fitted training images"],
    ) -> Self:
        """Those of real images with these class probabilities (N, C) and labels (N,)."""
        own = probabilities[np.arange(len(labels)), labels]
        pool = float(np.quantile(own, QUANTILE)) if len(own) else 0.0
        pooled = np.bincount(labels, minlength=classes) < FEWEST
        least = [pool if pooled[k] else float(np.quantile(own[labels == k], QUANTILE)) for k in range(classes)]
        return cls(np.array(least), pooled, known_from)


@dataclass(frozen=True)
class Verdict:
    """One drawn image, with what the filters measured."""

    rank: int
    p_label: float
    predicted: int
    copy_ratio: float
    nearest: int
    """Position in the store of the nearest training image."""
    distance: float
    repeat_ratio: float | None
    repeat_of: int | None
    """Rank of the nearest image that was admitted before."""
    rejected_by: tuple[Filter, ...]

    @property
    def admitted(self) -> bool:
        """Whether no filter rejects it."""
        return not self.rejected_by


@dataclass(frozen=True, eq=False)
class Filters:
    """All filters, for the images of any class."""

    classifier: Recogniser
    thresholds: ClassThresholds
    copies: CopyFinder

    @classmethod
    def of(
        cls, store: Store, trained: NDArray[np.intp], by: Recogniser, progress: Progress = silent, device: str = "cpu"
    ) -> Self:
        """Those for a model that was trained on these positions of a store."""
        return cls(by, ClassThresholds.of(store, by, progress, device), CopyFinder.of(store, trained))


class ClassFilter:
    """Decides on the images of one class, rank after rank."""

    def __init__(self, filters: Filters, label: int):
        self._filters, self._label = filters, label
        self._ranks: list[int] = []
        self._admitted: list[NDArray[np.float32]] = []

    def decide(self, images: Images, first: int, most: int) -> list[Verdict]:
        """Verdicts on the images (n, H, W, C) of the ranks from `first` on, until `most` more are admitted."""
        filters, label = self._filters, self._label
        labels = np.full(len(images), label)
        probabilities = filters.classifier.probabilities(filters.classifier.features(images))
        small = flattened(pictures(images))
        found = filters.copies.measure_points(small, labels)
        verdicts: list[Verdict] = []
        for k in range(len(images)):
            if not most:
                break
            ratio, of = self._repeat(small[k])
            rejects = {
                "copy": bool(found.copied[k]),
                "class": bool(probabilities[k, label] < filters.thresholds.least[label]),
                "repeat": ratio is not None and ratio < filters.copies.rule.threshold,
            }
            verdict = Verdict(
                first + k,
                float(probabilities[k, label]),
                int(probabilities[k].argmax()),
                float(found.ratio[k]),
                int(found.nearest[k]),
                float(found.distance[k]),
                ratio,
                of,
                tuple(name for name in FILTERS if rejects[name]),
            )
            verdicts.append(verdict)
            if verdict.admitted:
                most -= 1
                self._ranks.append(verdict.rank)
                self._admitted.append(small[k])
        return verdicts

    def _repeat(self, picture: NDArray[np.float32]) -> tuple[float | None, int | None]:
        """The ratio to the nearest image admitted before, and its rank."""
        if not self._admitted:
            return None, None
        rule = self._filters.copies.rule
        ratio, index = rule.among(picture[None], np.stack(self._admitted), self._label)
        return float(ratio[0]), self._ranks[int(index[0])]


@dataclass(frozen=True)
class Counts:
    """The images of one class."""

    training: int
    asked: int
    drawn: int
    rejected: dict[str, int]
    """By filter; an image is counted once, under the first that rejects it."""
    admitted: int

    @classmethod
    def of(cls, verdicts: Sequence[Verdict], asked: int, training: int) -> Self:
        """Count verdicts."""
        first = [verdict.rejected_by[0] for verdict in verdicts if verdict.rejected_by]
        rejected: dict[str, int] = {name: first.count(name) for name in FILTERS}
        return cls(training, asked, len(verdicts), rejected, len(verdicts) - len(first))

    @property
    def missing(self) -> int:
        """Images asked for and not admitted."""
        return self.asked - self.admitted


def reference_note(filters: Filters) -> str:
    """What the filters' thresholds rest on, in a sentence."""
    rule, thresholds = filters.copies.rule, filters.thresholds
    return (
        f"copy: ratio below {rule.threshold:.3f}, from {int(rule.real.sum())} {rule.known_from}; class: the "
        f"{QUANTILE:.0%} quantile of {thresholds.known_from}"
    )
