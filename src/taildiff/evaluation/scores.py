"""The numbers of one scope: which images each metric is taken over, and when there are too few for it.

- Accuracy: all generated images. Fréchet distance: all real and all generated ones; needs more of each than
  dimensions, else it mostly measures how few images there were. Kernel distance: all of both.
- Precision, recall, density, coverage, PRD: equally many real and generated images, since they depend on both counts.
  In neighbourhoods exact copies count once (`metrics/neighbours.py`), and so they do in the numbers of images.
- Diversity and Vendi score: generated images, the mean over the scope's classes.
- Memorised: share of generated images that are copies of training images, by the rule of `metrics/copies.py`.
- A scope with fewer than `FEWEST_REAL` real images has no values of metrics that compare distributions. Accuracy and
  memorised have one; what they are measured with is then known from these few images alone, so their interval is that
  of 1/(1/n_generated + 1/n_real) images.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from taildiff import metrics
from taildiff.data.longtail import FEWEST_REAL
from taildiff.evaluation.sample import Number, Sample
from taildiff.evaluation.shared import Labels, Near
from taildiff.metrics.influence import (
    Contributions,
    of_coverage,
    of_density,
    of_frechet,
    of_precision,
    of_recall,
    of_share,
)
from taildiff.metrics.intervals import Interval, percentiles, widened, wilson
from taildiff.metrics.points import Floats
from taildiff.metrics.prd import CLUSTERS
from taildiff.spec.metrics import METRICS, MetricName, families

DENSITY_K = 5
"""Neighbours in density and coverage, as in their paper."""


def numbers(sample: Sample, family: str) -> list[Number]:
    """The metrics of one family in one scope, without values where there are too few images."""
    sample = sample if sample.shared else sample.alone()
    real, generated, members = sample.real, sample.generated, families()[family]
    too_few = len(real) < FEWEST_REAL and not all(METRICS[metric].few_real for metric in members)
    if too_few or not len(generated):
        return [Number(metric, None, len(real), len(generated)) for metric in members]
    found = list(FAMILIES[family](sample))
    given = tuple(number.metric for number in found)
    assert given == members, f"{family} must give the metrics {members}"
    return found


def share(metric: MetricName, value: float, n: int, n_real: int, n_generated: int) -> Number:
    """A share of n, with Wilson's interval."""
    interval = wilson(value, n)
    return Number(metric, value, n_real, n_generated, interval.low, interval.high)


def _accuracy(sample: Sample) -> Iterator[Number]:
    generated = sample.generated
    if generated.predicted is None:
        yield Number("accuracy", None, len(sample.real), len(generated))
    else:
        yield _share("accuracy", generated.predicted == generated.labels, len(sample.real), sample)


def _frechet(sample: Sample) -> Iterator[Number]:
    real, generated = sample.real, sample.generated
    if min(len(real), len(generated)) <= real.features.shape[1]:
        yield Number("frechet", None, len(real), len(generated))
        return
    fits = metrics.GaussianStatistics.of(real.features), metrics.GaussianStatistics.of(generated.features)
    moved = of_frechet(real.features, generated.features, fits) if sample.intervals else None
    yield _smooth("frechet", metrics.frechet_from_statistics(*fits), moved, sample)


def _kernel(sample: Sample) -> Iterator[Number]:
    assert sample.shared
    if len(sample.generated) < 2:
        yield Number("kernel_distance", None, len(sample.real), len(sample.generated))
    else:
        yield _smooth("kernel_distance", *sample.shared.kernel(sample.scope, sample.intervals), sample)


def _neighbours(sample: Sample) -> Iterator[Number]:
    near = _near(sample, sample.k)
    if isinstance(near, tuple):
        yield from (Number(name, None, *near) for name in ("precision", "recall"))
        return
    found = near.neighbourhoods
    value = found.precision_recall
    yield _share_of("generated", "precision", value.precision, of_precision(found), sample, near)
    yield _share_of("real", "recall", value.recall, of_recall(found), sample, near)


def _balls(sample: Sample) -> Iterator[Number]:
    near = _near(sample, DENSITY_K)
    if isinstance(near, tuple):
        yield from (Number(name, None, *near) for name in ("density", "coverage"))
        return
    found = near.neighbourhoods
    value = found.density_coverage
    if sample.intervals:
        replicates, real_side = _of_near(value.density, of_density(found), sample, near)
        yield bootstrapped("density", value.density, found.n_real, found.n_generated, replicates, real_side)
    else:
        yield Number("density", value.density, found.n_real, found.n_generated)
    yield _share_of("real", "coverage", value.coverage, of_coverage(found), sample, near)


def _near(sample: Sample, k: int) -> Near | tuple[int, int]:
    """The neighbourhoods of equally many images; the numbers of different ones where they are not more than k."""
    assert sample.shared
    n = min(len(sample.real), len(sample.generated))
    if n <= k:
        return n, n
    near = sample.shared.near(sample.scope, k)
    found = near.neighbourhoods
    return near if found.n_real > k else (found.n_real, found.n_generated)


def _prd(sample: Sample) -> Iterator[Number]:
    n = min(len(sample.real), len(sample.generated))
    real, generated = sample.real.first(n), sample.generated.first(n)
    classes = len(np.unique(real.labels))
    enough = 2 * n >= CLUSTERS * classes
    scores = metrics.prd_f_scores(real.features, generated.features, classes) if enough else None
    yield Number("prd_f8", scores.f8 if scores else None, n, n)
    yield Number("prd_f1_8", scores.f1_8 if scores else None, n, n)


def _diversity(sample: Sample) -> Iterator[Number]:
    generated = sample.generated
    enough = np.bincount(generated.labels)[np.unique(generated.labels)].min() >= 2
    scores = metrics.intra_class_diversity(generated.features, generated.labels) if enough else None
    yield Number("diversity", scores.mean_distance if scores else None, 0, len(generated))
    yield Number("vendi", scores.vendi if scores else None, 0, len(generated))


def _memorized(sample: Sample) -> Iterator[Number]:
    generated, behind = sample.generated, sample.behind_copies
    if generated.copied is None or behind is None:
        yield Number("memorized", None, 0, len(generated))
        return
    own = int(behind[np.unique(generated.labels)].sum())
    yield _share("memorized", generated.copied, own, sample)


def _inception_score(sample: Sample) -> Iterator[Number]:
    n, known = len(sample.generated), sample.probabilities
    splits = min(10, n // 20)  # the mean of smaller parts is mostly bias
    value = None if known is None or not splits else float(metrics.inception_score(known, splits))
    yield Number("inception_score", value, 0, n)


def _share(metric: MetricName, counted: NDArray[np.bool_], n_real: int, sample: Sample) -> Number:
    """Share of generated images; Wilson's interval, which is right near 0 and 1 too, and replicates for differences.

    With fewer than `FEWEST_REAL` real images the interval is that of 1/(1/n + 1/n_real) images, at least one.
    """
    value, n = float(counted.mean()), len(counted)
    number = share(metric, value, n, n_real, n)
    if not sample.intervals:
        return number
    moved = sample.resampling.replicates(of_share(counted), sample.generated.labels, sample.generated_key)
    number = replace(number, replicates=value + moved)
    if n_real >= FEWEST_REAL:
        return number
    ends = wilson(value, max(1.0, 1 / (1 / n + 1 / max(1, n_real))))
    return replace(number, low=ends.low, high=ends.high)


def _share_of(
    counted: Literal["real", "generated"],
    metric: MetricName,
    value: float,
    moved: Contributions,
    sample: Sample,
    near: Near,
) -> Number:
    """Wilson's interval of the counted images, exact copies once, widened by the draw of those on the other side."""
    n_real, n_generated = near.neighbourhoods.n_real, near.neighbourhoods.n_generated
    if not sample.intervals:
        return Number(metric, value, n_real, n_generated)
    replicates, real_side = _of_near(value, moved, sample, near)
    n, other = (n_real, replicates - value) if counted == "real" else (n_generated, real_side)
    ends = _clamped(metric, widened(wilson(value, n), value, other))
    return Number(metric, value, n_real, n_generated, *ends, replicates, real_side)


def _smooth(metric: MetricName, value: float, moved: Contributions | None, sample: Sample) -> Number:
    """Without influence there is no interval."""
    real, generated = sample.real, sample.generated
    if moved is None:
        return Number(metric, value, len(real), len(generated))
    both = _resampled(value, moved, sample, real.labels, generated.labels)
    return bootstrapped(metric, value, len(real), len(generated), *both)


def _of_near(value: float, moved: Contributions, sample: Sample, near: Near) -> tuple[Floats, Floats]:
    return _resampled(value, moved, sample, near.real_labels, near.generated_labels)


def _resampled(
    value: float, moved: Contributions, sample: Sample, real: Labels, generated: Labels
) -> tuple[Floats, Floats]:
    """Replicates over the generated images, and deviations over the real ones, with the labels of both."""
    replicates = value + sample.resampling.replicates(moved.generated, generated, sample.generated_key)
    return replicates, sample.resampling.replicates(moved.real, real, sample.real_key)


def bootstrapped(
    metric: MetricName,
    value: float,
    n_real: int,
    n_generated: int,
    replicates: Floats,
    real_side: Floats | None = None,
) -> Number:
    """A value with the interval of its replicates, those of both sides together, within the metric's bounds."""
    ends = _clamped(metric, percentiles(replicates if real_side is None else replicates + real_side))
    return Number(metric, value, n_real, n_generated, *ends, replicates, real_side)


def _clamped(metric: MetricName, interval: Interval) -> tuple[float, float]:
    return METRICS[metric].clamp(interval.low), METRICS[metric].clamp(interval.high)


def check_families() -> None:
    """Raise `LookupError` for a family of the catalogue without a function here, and the reverse."""
    if odd := (FAMILIES.keys() | OF_WHOLE_SETS) ^ families().keys():
        raise LookupError(f"in only one of spec/metrics.py and evaluation/scores.py: {', '.join(sorted(odd))}")


FAMILIES: dict[str, Callable[[Sample], Iterator[Number]]] = {
    "accuracy": _accuracy,
    "frechet": _frechet,
    "kernel_distance": _kernel,
    "neighbours": _neighbours,
    "balls": _balls,
    "prd": _prd,
    "diversity": _diversity,
    "memorized": _memorized,
    "inception_score": _inception_score,
}
"""What computes each family of metrics, scope by scope."""
OF_WHOLE_SETS = frozenset({"classifier", "utility"})
"""Families that `pipeline` computes for all scopes at once."""
check_families()
