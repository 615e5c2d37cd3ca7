"""What generated images are good for: do they make a classifier better on real images it has never seen?

Three classifiers of one and the same kind (the network of `domain`, every class drawn equally often, the same steps,
the same seed) are trained on

    real        the long-tailed real images of the run
    completed   the same, each class filled with generated images up to the largest class's count (or `to`)
    generated   generated images only, as many of each class as the completed set has in all

and tested on the same held-out real images. `real` draws rare classes as often as common ones already, so what
`completed` adds is new images, not balance. The classification accuracy of `generated` is Ravuri & Vinyals' 2019
(arXiv:1905.10887). Intervals cover the draw of the test images, not that of the training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from taildiff.data.longtail import FEWEST_REAL
from taildiff.errors import DataError
from taildiff.evaluation import classifier_network
from taildiff.evaluation.images import Joined, Pictures
from taildiff.log import Progress, silent
from taildiff.metrics.intervals import Z95, Interval, wilson

Labels = NDArray[np.int64]  # (N,)
TrainedOn = Literal["real", "completed", "generated"]
TRAINED_ON: tuple[TrainedOn, ...] = get_args(TrainedOn)


@dataclass(frozen=True)
class Accuracy:
    """Share of the held-out real images of some classes that is recognised; None where there are too few of them."""

    value: float | None
    low: float | None
    high: float | None
    n_test: int
    n_train_real: int
    """Real images of these classes that it was trained on."""
    n_train_generated: int
    """Generated ones."""


@dataclass(frozen=True)
class Gain:
    """Accuracy of `completed` minus that of `real`, with a 95 % interval that knows both saw the same images."""

    value: float
    low: float
    high: float
    n_test: int


@dataclass(frozen=True)
class Trained:
    """One classifier on the held-out images."""

    right: NDArray[np.bool_]
    """(N,) of the test images."""
    real: tuple[int, ...]
    """Real training images by class."""
    generated: tuple[int, ...]
    """Generated ones."""


@dataclass(frozen=True)
class UtilityResult:
    """Three classifiers on the same held-out images; ask it by classes, so that any grouping can be had."""

    real: Trained
    completed: Trained
    generated: Trained
    test_labels: Labels
    counts: tuple[int, ...]
    """Training images of the run by class: what makes groups."""
    target: int
    """What each class was filled up to."""
    steps: int
    """Each classifier's."""
    notes: tuple[str, ...] = ()

    def accuracy(self, trained_on: TrainedOn, classes: Sequence[int]) -> Accuracy:
        """Over the test images of some classes, with Wilson's interval; no value below 20 of them."""
        trained = {"real": self.real, "completed": self.completed, "generated": self.generated}[trained_on]
        right = trained.right[np.isin(self.test_labels, classes)]
        n = len(right)
        seen = (sum(trained.real[c] for c in classes), sum(trained.generated[c] for c in classes))
        if n < FEWEST_REAL:
            return Accuracy(None, None, None, n, *seen)
        interval = wilson(float(right.mean()), n)
        return Accuracy(float(right.mean()), interval.low, interval.high, n, *seen)

    def gain(self, classes: Sequence[int]) -> Gain | None:
        """What completing gained on some classes; None where there are too few test images."""
        member = np.isin(self.test_labels, classes)
        if member.sum() < FEWEST_REAL:
            return None
        before, after = self.real.right[member], self.completed.right[member]
        interval = _paired(int((after & ~before).sum()), int((before & ~after).sum()), len(before))
        return Gain(float(after.mean() - before.mean()), interval.low, interval.high, len(before))


def utility(
    real_images: Pictures,
    real_labels: Labels,
    generated_images: Pictures,
    generated_labels: Labels,
    test_images: Pictures,
    test_labels: Labels,
    counts: Sequence[int],
    seed: int = 0,
    progress: Progress = silent,
    *,
    to: int | None = None,
    device: str = "cpu",
) -> UtilityResult:
    """Train the three classifiers and test them; the same inputs give the same result (on one device).

    `counts` (C,) are the run's training images by class; `to` is what each class is filled up to (default: the largest
    count). Classes with more real images keep them all. Generated images are taken in their order. Raises `DataError`
    when images differ in shape, a label has no class, a class lacks real or generated images, or none is held out.
    """
    classes, target = len(counts), to or max(counts)
    _check((real_images, generated_images, test_images), (real_labels, generated_labels, test_labels), classes)
    have_real, have = (np.bincount(labels, minlength=classes) for labels in (real_labels, generated_labels))
    wanted = np.maximum(target - have_real, 0)
    everything = np.arange(len(real_labels))
    images = Joined(real_images, generated_images)
    labels = np.concatenate([real_labels, generated_labels])
    fill, alone = (len(everything) + first(generated_labels, n) for n in (wanted, np.full(classes, target)))
    steps = classifier_network.steps_for(len(everything) + len(fill))
    chosen = {"real": everything, "completed": np.concatenate([everything, fill]), "generated": alone}

    def train(kind: TrainedOn) -> Trained:
        net, index = classifier_network.network(images.shape[3], classes, seed), chosen[kind]
        stage = f"utility: classifier on {kind} images"
        classifier_network.train(net, images, labels, index, seed, progress, stage, device, steps)
        right = classifier_network.predict(net, test_images, np.arange(len(test_labels)), device) == test_labels
        parts = (index[index < len(everything)], index[index >= len(everything)])
        of_class = [tuple(np.bincount(labels[part], minlength=classes).tolist()) for part in parts]
        return Trained(right, of_class[0], of_class[1])

    return UtilityResult(
        real=train("real"),
        completed=train("completed"),
        generated=train("generated"),
        test_labels=np.asarray(test_labels),
        counts=tuple(counts),
        target=target,
        steps=steps,
        notes=shortfall(have_real.tolist(), have.tolist(), target),
    )


def first(labels: Labels, wanted: NDArray[np.integer]) -> NDArray[np.intp]:
    """Positions of the first `wanted[c]` images of each class c, or all where there are fewer, in their order."""
    chosen = [np.flatnonzero(labels == label)[:n] for label, n in enumerate(wanted)]
    return np.sort(np.concatenate(chosen))


def _check(images: tuple[Pictures, ...], labels: tuple[Labels, ...], classes: int) -> None:
    for what, pictures, own in zip(("real", "generated", "held-out"), images, labels, strict=True):
        if not len(own):
            raise DataError(f"there are no {what} images to measure utility with")
        if len(pictures) != len(own) or pictures.shape[1:] != images[0].shape[1:]:
            raise DataError(f"{what} images {pictures.shape} do not fit {len(own)} labels and {images[0].shape}")
        if own.min() < 0 or own.max() >= classes:
            raise DataError(
                f"labels of the {what} images go from {own.min()} to {own.max()}; there are {classes} classes"
            )
        missing = np.setdiff1d(np.arange(classes), own)
        if len(missing) and what != "held-out":
            numbers = ", ".join(map(str, missing[:10]))
            raise DataError(f"no {what} images of class {numbers}: utility needs every class")


def shortfall(real: Sequence[int], generated: Sequence[int], target: int) -> tuple[str, ...]:
    """What a reader has to know where generated images (C,) do not fill real ones (C,) up to the target."""
    lack = np.maximum(target - np.asarray(real), 0) - np.asarray(generated)
    notes = []
    if (lack > 0).any():
        notes.append(
            f"utility: {(lack > 0).sum()} of {len(lack)} classes lack {lack[lack > 0].sum()} generated images to be "
            f"filled up to {target}: --per-class {target} has enough"
        )
    if min(generated) < target:
        most = min(max(generated), target)
        some = f"{min(generated)} to {most}" if min(generated) < most else f"{most}"
        notes.append(f"utility: the set of generated images alone has {some} a class, not {target}")
    return tuple(notes)


def _paired(gained: int, lost: int, n: int) -> Interval:
    """Of a difference of paired shares, from the images that only one of the two knows (Agresti & Min 2005, +0.5 each).

    Their adjustment of Wald's interval keeps its level for small n and few disagreements.
    """
    b, c, total = gained + 0.5, lost + 0.5, n + 2
    centre = (b - c) / total
    half = Z95 * sqrt(max(b + c - (b - c) ** 2 / total, 0.0)) / total
    return Interval(max(-1.0, centre - half), min(1.0, centre + half))
