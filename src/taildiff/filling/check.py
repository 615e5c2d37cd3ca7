"""Did it help? Classifiers with and without the generated images, tested on held-out photographs.

Networks of the evaluation's classifier, newly trained with seeds of their own, on

    real         the run's training images as they are
    augmented    the same with ordinary augmentation (shifts, and mirror images of colour photographs)
    generated    the same with augmentation and a share of each class's admitted images

all at the size of the store, every class drawn equally often, for the same number of steps. The share is chosen among
`SHARES` by three-fold cross-validation on the training images; the generator has seen all of them, which favours no
share. Only the chosen one is tested on the held-out images, with three seeds.

The gain is the difference of balanced accuracy (the mean over classes) between `generated` and `augmented`. With e_i
the difference of image i, averaged over seeds, n_c held-out images of class c and v_s the variance of the gain over
seeds,

    centre = mean_c Σ e_i / (n_c + 2)
    variance = Σ_c [Σ e_i² + 1 - (Σ e_i)² / (n_c + 2)] / (n_c + 2)² / C² + v_s / seeds

which for one class and one seed is Agresti & Min's 2005 interval of paired shares; classes of one or two held-out
images make it wide, as they should.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taildiff.data.longtail import Groups
from taildiff.errors import InputError
from taildiff.evaluation import classifier_network
from taildiff.evaluation.cache import cache_key, cached_features
from taildiff.evaluation.copies import new_images
from taildiff.evaluation.images import ConcatenatedImages, Images, SelectedImages
from taildiff.filling.fill import FillJob
from taildiff.filling.manifest import CHECK, MANIFEST
from taildiff.io.atomic import write_json
from taildiff.log import Progress, log, silent
from taildiff.metrics.intervals import Z95
from taildiff.sampling.folders import info_of

SHARES = (0.25, 0.5, 1.0)
"""Of the admitted images of each class."""
SEEDS = (1, 2, 3)
"""Of the classifiers; the filter's has 0."""
VERSION = 1  # raise it with every change of the numbers
_TIMED = 4  # steps


@dataclass(frozen=True)
class Accuracy:
    """Some classes on held-out photographs; shares are means over classes and seeds."""

    group: str
    """`all`, a group (`head`, `body`, `tail`), or `class`."""
    name: str
    images: int
    real: float
    augmented: float
    generated: float
    gain: float
    """`generated` minus `augmented`."""
    low: float
    high: float

    @property
    def line(self) -> str:
        """For a terminal."""
        shares = f"real {self.real:.1%}, augmented {self.augmented:.1%}, with generated {self.generated:.1%}"
        gain = f"{100 * self.gain:+.1f} points ({100 * self.low:+.1f} to {100 * self.high:+.1f})"
        return f"{self.name} ({self.images:,} held out): {shares}: {gain}"


@dataclass(frozen=True)
class CheckResult:
    """Whether the generated images make a classifier better."""

    share: float
    """Of the generated images, chosen by cross-validation."""
    by_share: dict[str, float] = field(repr=False)
    """Balanced accuracy in cross-validation, by share."""
    rows: tuple[Accuracy, ...] = field(repr=False)
    """All classes, groups, then each class."""

    @property
    def recommended(self) -> bool:
        """Whether the interval of the gain over all classes lies above 0."""
        return self.rows[0].low > 0

    @property
    def verdict(self) -> str:
        """The answer in a sentence."""
        whole = self.rows[0]
        by = f"{100 * whole.gain:+.1f} points ({100 * whole.low:+.1f} to {100 * whole.high:+.1f})"
        what = f"Balanced accuracy on {whole.images:,} held-out photographs, beyond ordinary augmentation: {by}"
        if self.recommended:
            return f"The generated images help. {what}. Recommended: {self.share:.0%} of them"
        if whole.high < 0:
            return f"The generated images do harm. {what}. Leave them out"
        return f"The generated images add nothing that can be measured. {what}. Not recommended"

    @property
    def lines(self) -> list[str]:
        """The verdict, then the numbers by group and class."""
        return [self.verdict, *(row.line for row in self.rows)]


def check_possible(job: FillJob) -> NDArray[np.intp]:
    """Positions of the held-out photographs; `InputError` where none is known to be new to the generator."""
    held_out = job.store.test_index
    if len(held_out):
        held_out = np.intersect1d(held_out, new_images(job.store, job.split.index))
    if not len(held_out):
        raise InputError(
            f"--check needs photographs that the generator has not seen, and {job.store.root} holds out none; prepare "
            "with --hold-out 0.2 and train on that"
        )
    return held_out


def run_check(job: FillJob, device: str = "cpu", progress: Progress = silent) -> CheckResult:
    """Train and test the classifiers for a filled folder; the result is also in OUT-info/check.json.

    After an interruption, the same call continues behind the classifiers that it has kept.
    """
    trial = _Trial(job, check_possible(job), device, progress)
    count = len(SHARES) * classifier_network.FOLDS + 3 * len(SEEDS)
    minutes = count * trial.steps * trial.seconds_per_step() / 60
    log.info(f"checking with {count} classifiers: about {max(1, round(minutes))} minute{'s' * (round(minutes) > 1)}")
    by_share = {share: trial.cross_validated(share) for share in SHARES}
    share = max(SHARES, key=lambda each: by_share[each])
    kinds = {kind: trial.tested(kind, share) for kind in ("real", "augmented", "generated")}
    labels = np.asarray(job.store.labels)[trial.held_out]
    rows = tuple(_rows(kinds["real"], kinds["augmented"], kinds["generated"], labels, job))
    result = CheckResult(share, {f"{each:g}": value for each, value in by_share.items()}, rows)
    write_json(
        info_of(job.out) / CHECK, {**asdict(result), "recommended": result.recommended, "verdict": result.verdict}
    )
    return result


@dataclass(eq=False)
class _Trial:
    job: FillJob
    held_out: NDArray[np.intp]
    device: str
    progress: Progress

    def __post_init__(self) -> None:
        store, real = self.job.store, np.sort(self.job.split.index)
        images, labels = admitted_images(self.job)
        self.count = len(real)
        self.pool = ConcatenatedImages(SelectedImages(store.images, real), images)
        self.labels = np.concatenate([np.asarray(store.labels)[real], labels])
        self.steps = classifier_network.steps_for(len(self.labels))
        self.folds = classifier_network.folds(self.labels[: self.count], SEEDS[0])
        self.key = cache_key(VERSION, classifier_network.VERSION, store.meta.hash, real.tolist(), self._content)

    @cached_property
    def _content(self) -> str:
        return (info_of(self.job.out) / MANIFEST).read_text(encoding="utf-8")

    def seconds_per_step(self) -> float:
        """Measured on a few steps."""
        self._network(np.arange(self.count), 0, True, _TIMED, silent, "")
        start = time.perf_counter()
        self._network(np.arange(self.count), 0, True, _TIMED, silent, "")
        return (time.perf_counter() - start) / _TIMED

    def cross_validated(self, share: float) -> float:
        """Balanced accuracy on the training images, each predicted without it."""
        right = np.zeros(self.count, np.bool_)
        for fold, seed in enumerate(SEEDS):
            own = np.flatnonzero(self.folds == fold)
            index = np.concatenate([np.flatnonzero(self.folds != fold), self._generated(share)])
            stage = f"cross-validation, {share:.0%} of the images, {fold + 1}/{len(SEEDS)}"
            right[own] = self._right(index, own, seed, True, stage, False)
        labels = self.labels[: self.count]
        return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))

    def tested(self, kind: str, share: float) -> NDArray[np.bool_]:
        """(S, N) which held-out images are recognised, by seed."""
        index, augment = np.arange(self.count), kind != "real"
        if kind == "generated":
            index = np.concatenate([index, self._generated(share)])
        stages = {seed: f"classifier on {kind} images, seed {seed}" for seed in SEEDS}
        return np.stack([self._right(index, self.held_out, seed, augment, stages[seed], True) for seed in SEEDS])

    def _generated(self, share: float) -> NDArray[np.intp]:
        """Positions in the pool of the first images of each class, in the order of their ranks."""
        own, labels = np.arange(self.count, len(self.labels)), self.labels[self.count :]
        parts = [own[labels == label] for label in np.unique(labels)]
        return np.concatenate([np.empty(0, np.intp), *(part[: round(share * len(part))] for part in parts)])

    def _right(
        self, index: NDArray[np.intp], test: NDArray[np.intp], seed: int, augment: bool, stage: str, held_out: bool
    ) -> NDArray[np.bool_]:
        """Which test images (of the store if `held_out`, else the pool) a classifier trained on `index` gets right."""
        images = self.job.store.images if held_out else self.pool
        truth = np.asarray(self.job.store.labels)[test] if held_out else self.labels[test]

        def make() -> NDArray[np.float32]:
            net = self._network(index, seed, augment, self.steps, self.progress, stage)
            return (classifier_network.predict(net, images, test, self.device) == truth).astype(np.float32)[:, None]

        key = cache_key(self.key, index.tolist(), test.tolist(), seed, augment, held_out)
        return cached_features(info_of(self.job.out) / ".check", key, make)[:, 0] > 0

    def _network(
        self, index: NDArray[np.intp], seed: int, augment: bool, steps: int, progress: Progress, stage: str
    ) -> classifier_network.Network:
        net = classifier_network.network(self.pool.shape[3], len(self.job.names), seed)
        device = self.device
        classifier_network.train(net, self.pool, self.labels, index, seed, progress, stage, device, steps, augment)
        return net


def admitted_images(job: FillJob) -> tuple[Images, NDArray[np.int64]]:
    """The generated images (N, H, W, C) of a filled folder and their labels (N,), as the manifest lists them."""
    meta, lines = job.store.meta, (info_of(job.out) / MANIFEST).read_text(encoding="utf-8").splitlines()
    entries = [entry for entry in map(json.loads, lines) if entry["verdict"] == "admitted"]
    images = np.empty((len(entries), meta.height, meta.width, meta.channels), np.uint8)
    for k, entry in enumerate(entries):
        images[k] = _read(job.out / entry["file"]).reshape(images.shape[1:])
    return images, np.array([entry["label"] for entry in entries], np.int64)


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image)
    except OSError:
        raise InputError(f"{path} is missing or damaged, so the images cannot be checked; fill again") from None


def _rows(
    real: NDArray[np.bool_],
    augmented: NDArray[np.bool_],
    generated: NDArray[np.bool_],
    labels: NDArray[np.int64],
    job: FillJob,
) -> Iterator[Accuracy]:
    present = np.unique(labels).tolist()
    scopes = [("all", "all classes", present)]
    scopes += [(name, name, [k for k in members if k in present]) for name, members in Groups.thirds(job.split.counts)]
    scopes += [("class", job.names[k], [k]) for k in present]
    for group, name, classes in scopes:
        if classes:
            plain, more, new = (_balanced(kind, labels, classes) for kind in (real, augmented, generated))
            low, high = gain_interval(generated.astype(float) - augmented, labels, classes)
            count = int(np.isin(labels, classes).sum())
            yield Accuracy(group, name, count, plain, more, new, new - more, low, high)


def _balanced(right: NDArray[np.bool_], labels: NDArray[np.int64], classes: Sequence[int]) -> float:
    return float(np.mean([right[:, labels == label].mean() for label in classes]))


def gain_interval(
    difference: NDArray[np.float64], labels: NDArray[np.int64], classes: Sequence[int]
) -> tuple[float, float]:
    """The 95 % interval of the mean over classes of differences (S, N) by seed and image of labels (N,)."""
    centre = variance = 0.0
    by_seed = np.zeros(len(difference))
    for label in classes:
        own = difference[:, labels == label]
        each, n = own.mean(axis=0), own.shape[1] + 2
        centre += each.sum() / n / len(classes)
        variance += ((each**2).sum() + 1 - each.sum() ** 2 / n) / n**2 / len(classes) ** 2
        by_seed += own.mean(axis=1) / len(classes)
    if len(by_seed) > 1:
        variance += by_seed.var(ddof=1) / len(by_seed)
    half = Z95 * sqrt(variance)
    return float(max(-1.0, centre - half)), float(min(1.0, centre + half))
