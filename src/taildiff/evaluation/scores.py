"""The numbers of one scope: which images each is taken over, and when there are too few for it.

- Accuracy: all generated images. Fréchet distance: all real and all generated ones; needs more of each than
  dimensions, else it mostly says how few images there were. Kernel distance: all of both.
- Precision, recall, density, coverage, PRD: equally many real and generated images: they depend on the two numbers.
- Diversity and Vendi score: generated images, the mean over the scope's classes.
- Memorised: share of generated images nearer to a training image than any held-out real image of the scope is.
- Below `FEWEST_REAL` real images nothing is said about a scope.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taildiff import metrics
from taildiff.data.longtail import FEWEST_REAL
from taildiff.evaluation.scopes import Pool
from taildiff.evaluation.table import Metric
from taildiff.metrics.influence import Contributions, of_frechet, of_kernel, of_share
from taildiff.metrics.intervals import Interval, bootstrap, percentiles, wilson
from taildiff.metrics.prd import CLUSTERS
from taildiff.spec import MetricName

Floats = NDArray[np.float64]
DENSITY_K = 5
"""Neighbours in density and coverage, as in their paper."""
FAMILIES: tuple[tuple[MetricName, ...], ...] = (
    ("accuracy",),
    ("frechet",),
    ("kernel_distance",),
    ("precision", "recall"),
    ("density", "coverage"),
    ("prd_f8", "prd_f1_8"),
    ("diversity", "vendi"),
    ("memorized",),
    ("inception_score",),
)
"""Metrics that are worked out together."""


@dataclass(frozen=True, eq=False)
class Number:
    """A value with its 95 % interval, where there are enough images for it, and how many images it was taken over."""

    metric: Metric
    value: float | None
    n_real: int
    n_generated: int
    low: float | None = None
    high: float | None = None
    replicates: Floats | None = None
    """(R,) of the bootstrap; None where there are none."""


@dataclass(frozen=True, eq=False)
class Sample:
    """What one set of generated images is held against; all pools are of the same scope."""

    real: Pool
    generated: Pool
    train: Pool | None = None
    """What the model was trained on, where it is known."""
    holdout: Pool | None = None
    """Real images that it was not trained on."""
    probabilities: NDArray[np.float32] | None = None
    """(M, K) class probabilities of the generated images, where the extractor has classes."""
    real_key: int = 0
    generated_key: int = 0
    """Equal keys are resampled alike: that makes differences paired."""

    def of(self, classes: tuple[int, ...]) -> "Sample":
        """The part of some classes."""
        known = self.probabilities
        return Sample(
            self.real.of(classes),
            self.generated.of(classes),
            self.train.of(classes) if self.train else None,
            self.holdout.of(classes) if self.holdout else None,
            known[np.isin(self.generated.labels, classes)] if known is not None else None,
            self.real_key,
            self.generated_key,
        )


def share(metric: Metric, value: float, n: int, n_real: int, n_generated: int) -> Number:
    """A share of n, with Wilson's interval."""
    interval = wilson(value, n)
    return Number(metric, value, n_real, n_generated, interval.low, interval.high)


def numbers(sample: Sample, family: tuple[MetricName, ...], k: int) -> Iterator[Number]:
    """The metrics of one family in one scope."""
    real, generated = sample.real, sample.generated
    if len(real) < FEWEST_REAL or not len(generated):
        for metric in family:
            yield Number(metric, None, len(real), len(generated))
        return
    match family:
        case ("accuracy",):
            yield _accuracy(sample)
        case ("frechet",):
            yield _frechet(sample)
        case ("kernel_distance",):
            yield _kernel(sample)
        case ("precision", "recall"):
            yield from _neighbours(sample, k)
        case ("density", "coverage"):
            yield from _balls(sample)
        case ("prd_f8", "prd_f1_8"):
            yield from _prd(sample)
        case ("diversity", "vendi"):
            yield from _diversity(generated)
        case ("memorized",):
            yield _memorized(sample)
        case _:
            yield _inception_score(sample)


def _accuracy(sample: Sample) -> Number:
    generated = sample.generated
    if generated.predicted is None:
        return Number("accuracy", None, 0, len(generated))
    return _share("accuracy", generated.predicted == generated.labels, generated, 0, sample.generated_key)


def _frechet(sample: Sample) -> Number:
    real, generated = sample.real, sample.generated
    if min(len(real), len(generated)) <= real.features.shape[1]:
        return Number("frechet", None, len(real), len(generated))
    value = metrics.frechet_distance(real.features, generated.features)
    return _smooth("frechet", value, of_frechet(real.features, generated.features), sample, floor=0.0)


def _kernel(sample: Sample) -> Number:
    real, generated = sample.real, sample.generated
    if len(generated) < 2:
        return Number("kernel_distance", None, len(real), len(generated))
    value = metrics.kernel_distance(real.features, generated.features)
    return _smooth("kernel_distance", value, of_kernel(real.features, generated.features), sample)


def _neighbours(sample: Sample, k: int) -> Iterator[Number]:
    n, real, generated = _equally_many(sample)
    if n <= k:
        yield from (Number("precision", None, n, n), Number("recall", None, n, n))
        return
    found = metrics.neighbourhoods(real.features, generated.features, k)
    yield _share("precision", found.balls > 0, generated, n, sample.generated_key)
    yield _share("recall", found.reached, real, n, sample.real_key, n)


def _balls(sample: Sample) -> Iterator[Number]:
    n, real, generated = _equally_many(sample)
    if n <= DENSITY_K:
        yield from (Number("density", None, n, n), Number("coverage", None, n, n))
        return
    found = metrics.neighbourhoods(real.features, generated.features, DENSITY_K)
    value = found.density_coverage.density
    replicates = value + bootstrap(of_share(found.balls / DENSITY_K), generated.labels, sample.generated_key)
    interval = percentiles(replicates)
    yield Number("density", value, n, n, max(0.0, interval.low), interval.high, replicates)
    yield _share("coverage", found.covered, real, n, sample.real_key, n)


def _prd(sample: Sample) -> Iterator[Number]:
    n, real, generated = _equally_many(sample)
    classes = len(np.unique(real.labels))
    enough = 2 * n >= CLUSTERS * classes
    found = metrics.prd_f_scores(real.features, generated.features, classes) if enough else None
    yield Number("prd_f8", found.f8 if found else None, n, n)
    yield Number("prd_f1_8", found.f1_8 if found else None, n, n)


def _diversity(generated: Pool) -> Iterator[Number]:
    enough = np.bincount(generated.labels)[np.unique(generated.labels)].min() >= 2
    found = metrics.intra_class_diversity(generated.features, generated.labels) if enough else None
    yield Number("diversity", found.mean_distance if found else None, 0, len(generated))
    yield Number("vendi", found.vendi if found else None, 0, len(generated))


def _memorized(sample: Sample) -> Number:
    train, holdout, generated = sample.train, sample.holdout, sample.generated
    if not train or not holdout:
        return Number("memorized", None, len(holdout or ()), len(generated))
    found = metrics.memorization(generated.features, train.features, holdout.features)
    near = found.generated < found.threshold
    return _share("memorized", near, generated, len(holdout), sample.generated_key)


def _inception_score(sample: Sample) -> Number:
    n, known = len(sample.generated), sample.probabilities
    splits = min(10, n // 20)  # parts of fewer images say little of their mean
    if known is None or not splits:
        return Number("inception_score", None, 0, n)
    return Number("inception_score", float(metrics.inception_score(known, splits)), 0, n)


def _equally_many(sample: Sample) -> tuple[int, Pool, Pool]:
    n = min(len(sample.real), len(sample.generated))
    return n, sample.real.first(n), sample.generated.first(n)


def _share(
    metric: Metric, counted: NDArray[np.bool_], pool: Pool, n_real: int, key: int, n_generated: int | None = None
) -> Number:
    """Wilson's interval, which is right near 0 and 1 too; replicates for differences."""
    value = float(counted.mean())
    interval = wilson(value, len(counted))
    replicates = value + bootstrap(of_share(counted), pool.labels, key)
    n = len(pool) if n_generated is None else n_generated
    return Number(metric, value, n_real, n, interval.low, interval.high, replicates)


def _smooth(metric: Metric, value: float, moved: Contributions, sample: Sample, floor: float | None = None) -> Number:
    replicates = np.full(1, value)
    for contributions, pool, key in (
        (moved.real, sample.real, sample.real_key),
        (moved.generated, sample.generated, sample.generated_key),
    ):
        if contributions is not None:
            replicates = replicates + bootstrap(contributions, pool.labels, key)
    interval = percentiles(replicates)
    if floor is not None:
        interval = Interval(max(floor, interval.low), max(floor, interval.high))
    n_real, n_generated = len(sample.real), len(sample.generated)
    return Number(metric, value, n_real, n_generated, interval.low, interval.high, replicates)
