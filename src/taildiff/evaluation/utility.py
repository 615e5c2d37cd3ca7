"""Utility: do generated images make a classifier better on real images that it has never seen?

Three classifiers of the same kind (the network of `domain`, every class drawn equally often, the same steps, the same
seed) are trained on

    real        the long-tailed real images of the run
    completed   the same, each class filled with generated images up to the largest class's count (or `to`)
    generated   generated images only, as many of each class as the completed set has in all

and tested on the same held-out real images. `real` draws rare classes as often as common ones already, so what
`completed` adds is new images, not balance. The classification accuracy of `generated` is Ravuri & Vinyals' 2019
(arXiv:1905.10887). Intervals cover the draw of the test images, not that of the training.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from taildiff.data.store import Store
from taildiff.errors import DataError
from taildiff.evaluation import classifier_network
from taildiff.evaluation.cache import cache_key, cached_array
from taildiff.evaluation.images import ConcatenatedImages, ImageSequence, SelectedImages
from taildiff.evaluation.sample import Number
from taildiff.evaluation.scopes import Scope
from taildiff.evaluation.scores import share
from taildiff.evaluation.shared import Keep, compute
from taildiff.log import Progress, silent
from taildiff.metrics.intervals import Z95, Interval
from taildiff.metrics.points import Floats

Labels = NDArray[np.int64]  # (N,)
TrainingSet = Literal["real", "completed", "generated"]
TRAINING_SETS: tuple[TrainingSet, ...] = get_args(TrainingSet)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images with their labels."""

    images: ImageSequence
    labels: Labels


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
    """Three classifiers on the same held-out images, for any group of classes."""

    real: Trained
    completed: Trained
    generated: Trained
    test_labels: Labels

    def accuracy(self, trained_on: TrainingSet, classes: Sequence[int]) -> Number:
        """Share of the test images of some classes that is recognised; no value without any."""
        trained = {"real": self.real, "completed": self.completed, "generated": self.generated}[trained_on]
        right = trained.right[np.isin(self.test_labels, classes)]
        name, n, n_generated = f"utility_{trained_on}", len(right), sum(trained.generated[c] for c in classes)
        if not n:
            return Number(name, None, n, n_generated)
        return share(name, float(right.mean()), n, n, n_generated)

    def gain(self, classes: Sequence[int]) -> Number:
        """Accuracy of `completed` minus that of `real`; the interval is paired, as both see the same test images."""
        member = np.isin(self.test_labels, classes)
        before, after = self.real.right[member], self.completed.right[member]
        n, n_generated = len(before), sum(self.completed.generated[c] for c in classes)
        if not n:
            return Number("utility_gain", None, n, n_generated)
        interval = _paired(int((after & ~before).sum()), int((before & ~after).sum()), n)
        value = float(after.mean() - before.mean())
        return Number("utility_gain", value, n, n_generated, interval.low, interval.high)

    def numbers(self, classes: Sequence[int]) -> list[Number]:
        """The metrics of the family `utility` over some classes."""
        return [*(self.accuracy(kind, classes) for kind in TRAINING_SETS), self.gain(classes)]


@dataclass(frozen=True, eq=False)
class UtilityTest:
    """The real images that the classifiers are trained on and tested with."""

    store: Store
    trained: NDArray[np.intp]
    """Positions of the run's training images."""
    tested: NDArray[np.intp]
    """Positions of the held-out images that it has not seen."""
    device: str

    def numbers(
        self, images: ImageSequence, labels: Labels, scopes: Sequence[Scope], progress: Progress
    ) -> Iterator[Number]:
        """Train the classifiers with these generated images; their numbers scope after scope."""
        found = utility(
            self._labelled(np.sort(self.trained)),
            Labelled(images, labels),
            self._labelled(self.tested),
            len(self.store.meta.class_names),
            progress=progress,
            device=self.device,
            keep=self._keep,
        )
        return (number for scope in scopes for number in found.numbers(scope.labels))

    def _keep(self, make: Callable[[], Floats], what: str) -> Floats:
        """What depends on the real images alone, cached in the store's folder."""
        images = self.store.meta.hash, np.sort(self.trained).tolist()
        version = classifier_network.VERSION, classifier_network.DIM, self.device
        return cached_array(self.store.cache_dir, cache_key("utility", *images, *version, what), make)

    def _labelled(self, index: NDArray[np.intp]) -> Labelled:
        return Labelled(SelectedImages(self.store.images, index), np.asarray(self.store.labels)[index])


def utility_test(store: Store, trained: NDArray[np.intp] | None, device: str) -> UtilityTest:
    """The real side of `--utility`; `DataError` where the training images are not known or none are held out."""
    if trained is None:
        raise DataError("--utility needs the training images: give the run's own store, or --trained-on RUN")
    tested = np.setdiff1d(store.test_index, trained)
    if not len(tested):
        raise DataError(
            f"--utility needs held-out real images, and {store.root} has no test column new to the run; prepare "
            "with --hold-out 0.2 and train on that"
        )
    return UtilityTest(store, trained, tested, device)


def utility(
    real: Labelled,
    generated: Labelled,
    test: Labelled,
    classes: int,
    *,
    to: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
    device: str = "cpu",
    keep: Keep = compute,
) -> UtilityResult:
    """Train the three classifiers and test them; the same inputs give the same result (on one device).

    `keep` may remember which test images the classifier of the real ones recognises; its key holds steps and seed.

    `to` is the number of images that each class is filled up to (default: the largest count of the real images).
    Classes with more real images keep them all. Generated images are taken in their order. Raises `DataError` when
    images differ in shape, a label has no class, a class lacks real or generated images, or none is held out.
    """
    for kind, part in (("real", real), ("generated", generated), ("held-out", test)):
        _check(kind, part, real.images.shape, classes)
    have_real = np.bincount(real.labels, minlength=classes)
    target, count = to or int(have_real.max()), len(real.labels)
    pool = Labelled(ConcatenatedImages(real.images, generated.images), np.concatenate([real.labels, generated.labels]))
    wanted = np.maximum(target - have_real, 0)
    fill, alone = (count + first(generated.labels, n) for n in (wanted, np.full(classes, target)))
    steps = classifier_network.steps_for(count + len(fill))
    everything = np.arange(count)
    chosen = {"real": everything, "completed": np.concatenate([everything, fill]), "generated": alone}

    def recognised(kind: TrainingSet) -> NDArray[np.bool_]:
        net, index = classifier_network.network(pool.images.shape[3], classes, seed), chosen[kind]
        stage = f"utility: classifier on {kind} images"
        classifier_network.train(net, pool.images, pool.labels, index, seed, progress, stage, device, steps)
        return classifier_network.predict(net, test.images, np.arange(len(test.labels)), device) == test.labels

    def trained(kind: TrainingSet, right: NDArray[np.bool_]) -> Trained:
        index = chosen[kind]
        parts = (index[index < count], index[index >= count])
        of_class = [tuple(np.bincount(pool.labels[part], minlength=classes).tolist()) for part in parts]
        return Trained(right, of_class[0], of_class[1])

    on_real = keep(lambda: recognised("real").astype(np.float64), f"real, {steps} steps, seed {seed}")
    return UtilityResult(
        real=trained("real", on_real.astype(bool)),
        completed=trained("completed", recognised("completed")),
        generated=trained("generated", recognised("generated")),
        test_labels=np.asarray(test.labels),
    )


def first(labels: Labels, wanted: NDArray[np.integer]) -> NDArray[np.intp]:
    """Positions of the first `wanted[c]` images of each class c, or all where there are fewer, in their order."""
    chosen = [np.flatnonzero(labels == label)[:n] for label, n in enumerate(wanted)]
    return np.sort(np.concatenate(chosen))


def _check(kind: str, given: Labelled, shape: tuple[int, ...], classes: int) -> None:
    images, labels = given.images, given.labels
    if not len(labels):
        raise DataError(f"there are no {kind} images to measure utility with")
    if len(images) != len(labels) or images.shape[1:] != shape[1:]:
        raise DataError(f"{kind} images {images.shape} do not fit {len(labels)} labels and {shape}")
    if labels.min() < 0 or labels.max() >= classes:
        least, most = labels.min(), labels.max()
        raise DataError(f"labels of the {kind} images go from {least} to {most}; there are {classes} classes")
    missing = np.setdiff1d(np.arange(classes), labels)
    if len(missing) and kind != "held-out":
        raise DataError(f"no {kind} images of class {', '.join(map(str, missing[:10]))}: utility needs every class")


def shortfall(real: Sequence[int], generated: Sequence[int], target: int) -> tuple[str, ...]:
    """Warnings where generated images (C,) do not fill real ones (C,) up to the target."""
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
        notes.append(f"utility: the set of generated images alone has {some} per class, not {target}")
    return tuple(notes)


def _paired(gained: int, lost: int, n: int) -> Interval:
    """The interval of a difference of paired shares, from the images that only one of the two gets right.

    Agresti & Min 2005 (+0.5 each): their adjustment of Wald's interval keeps its level for small n and few
    disagreements.
    """
    b, c, total = gained + 0.5, lost + 0.5, n + 2
    centre = (b - c) / total
    half = Z95 * sqrt(max(b + c - (b - c) ** 2 / total, 0.0)) / total
    return Interval(max(-1.0, centre - half), min(1.0, centre + half))
