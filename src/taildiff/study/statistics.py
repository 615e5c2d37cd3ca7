"""The statistics of a study: a stated family of paired t tests, and description. Imports no torch.

Per dataset, the primary family compares every method with the first one in the tail's Fréchet distance, recall and
accuracy and in the Fréchet distance over all classes. With d_1 … d_n the differences of runs that share a training
seed, p is two-sided from t = mean(d) / (s_d / sqrt(n)) with n - 1 degrees of freedom; Holm (1979) corrects over the
family, so that the probability of any false "clear" is at most 5 % per dataset. A Fréchet distance whose difference is
below 1.3 % of the first method's is never clear: published differences of that size are reversed by retraining (the
FID Lottery, arXiv 2606.20536). Fewer than three pairs give no p. Everything else is description.

Aggregates over datasets (Agarwal et al., NeurIPS 2021, rliable) need at least ten runs per method: the interquartile
mean of values divided by the first method's mean on that dataset, and the probability that a run of a method is better
than one of the first, each with an interval of the bootstrap stratified by dataset.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from taildiff.comparison.difference import Difference
from taildiff.comparison.seeds import mean_row, student
from taildiff.comparison.table import Cell, Line, Verdict
from taildiff.comparison.verdict import at_own, corrected, marked
from taildiff.evaluation.replicates import Key
from taildiff.evaluation.table import Group, Row
from taildiff.rng import stream
from taildiff.spec import METRICS, MetricName
from taildiff.study.file import FEWEST_SEEDS

Floats = NDArray[np.float64]
PRIMARY: tuple[tuple[MetricName, Group], ...] = (
    ("frechet", "tail"),
    ("recall", "tail"),
    ("accuracy", "tail"),
    ("frechet", "all"),
)
SMALLEST_FRECHET = 0.013
"""Relative difference of Fréchet distances below which there is no difference."""
FEWEST_CELLS = 10
"""Runs per method from which on there are aggregates."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Measured:
    """A method at its choice on one dataset: the rows of each run, by the place of its seed."""

    name: str
    guidance: float | None
    """None where no run is complete."""
    rows: Mapping[int, Mapping[Key, Row]]
    """On sampling seed B; only of complete runs."""
    search: Mapping[int, Mapping[Key, Row]]
    """The same runs and guidance on sampling seed A."""

    def values(self, number: tuple[MetricName, Group], search: bool = False) -> dict[int, float]:
        """One number of each run that has it, by place."""
        key = (*number, "", self.guidance)
        by_place = self.search if search else self.rows
        rows = {place: own.get(key) for place, own in by_place.items()}
        return {place: row.value for place, row in rows.items() if row is not None and row.value is not None}


def judged(methods: Sequence[Measured], tested: bool = True) -> Verdict:
    """The primary family; without p-values where not `tested`."""
    guidances = tuple(method.guidance for method in methods)
    keys = [[(*number, "", guidance) for guidance in guidances] for number in PRIMARY]
    found = [line for each in keys if (line := line_of(methods, each, tested)) is not None]
    return Verdict(tuple(method.name for method in methods), tuple(map(marked, corrected(found))), guidances)


def described(methods: Sequence[Measured]) -> tuple[Line, ...]:
    """Every number of each method at its own guidance, without p-values."""
    keys = dict.fromkeys(key for method in methods for rows in method.rows.values() for key in rows)
    shown = [key for key in keys if METRICS[key[0]].option]
    return at_own(shown, [method.guidance for method in methods], partial(line_of, methods, tested=False))


def line_of(methods: Sequence[Measured], keys: Sequence[Key], tested: bool) -> Line | None:
    """Means of one number with Student's intervals, and paired differences to the first; None if the first has none."""
    numbers = [_rows(method, key) for method, key in zip(methods, keys, strict=True)]
    if not numbers[0] or sum(map(bool, numbers)) < 2:
        return None
    metric, first = keys[0][0], numbers[0]
    cells = [
        Cell(
            mean_row(method.name, list(rows.values())),
            difference=paired(metric, _values(first), _values(rows), tested) if place else None,
            seeds=len(rows),
        )
        for place, (method, rows) in enumerate(zip(methods, numbers, strict=True))
    ]
    return Line(*keys[0], tuple(cells))


def _rows(method: Measured, key: Key) -> dict[int, Row]:
    found = {place: rows.get(key) for place, rows in sorted(method.rows.items())}
    return {place: row for place, row in found.items() if row is not None and row.value is not None}


def _values(rows: Mapping[int, Row]) -> dict[int, float]:
    return {place: row.value for place, row in rows.items() if row.value is not None}


def paired(
    metric: MetricName, first: Mapping[int, float], other: Mapping[int, float], tested: bool = True
) -> Difference | None:
    """The mean difference over shared places with Student's interval; None without any."""
    places = sorted(first.keys() & other.keys())
    if not places:
        return None
    difference = student([other[place] - first[place] for place in places])
    if not tested or len(places) < FEWEST_SEEDS:
        difference = replace(difference, p=None)
    mean = fmean(first[place] for place in places)
    small = metric == "frechet" and abs(difference.value) < SMALLEST_FRECHET * abs(mean)
    return replace(difference, negligible=small)


@dataclass(frozen=True)
class Spread:
    """The standard deviation of one number between training runs, and between sampling seeds of the same weights."""

    metric: MetricName
    group: Group
    method: str
    training: float | None
    """None for fewer than two runs."""
    sampling: float | None
    runs: int


def spreads(methods: Sequence[Measured]) -> list[Spread]:
    """Of the primary family's numbers; sampling seeds A and B of each run give (a - b)²/2, pooled over runs."""
    return [_spread(method, number) for number in PRIMARY for method in methods if method.values(number)]


def _spread(method: Measured, number: tuple[MetricName, Group]) -> Spread:
    reported, searched = method.values(number), method.values(number, search=True)
    both = [(reported[place] - searched[place]) ** 2 / 2 for place in reported.keys() & searched.keys()]
    training = stdev(reported.values()) if len(reported) > 1 else None
    return Spread(*number, method.name, training, sqrt(fmean(both)) if both else None, len(reported))


@dataclass(frozen=True)
class Aggregate:
    """One number of one method over all datasets."""

    metric: MetricName
    group: Group
    method: str
    ratio: tuple[float, float, float]
    """Interquartile mean of values divided by the first method's, with its interval."""
    improvement: tuple[float, float, float] | None
    """Probability of being better than the first method, with its interval; None for that one."""
    cells: int


def aggregates(datasets: Sequence[Sequence[Measured]]) -> list[Aggregate]:
    """Over datasets, each with the same methods; none of a method with fewer than `FEWEST_CELLS` runs."""
    if len(datasets) < 2:
        return []
    found: list[Aggregate] = []
    for number in PRIMARY:
        ratios = [_ratios(methods, number) for methods in datasets]
        usable = [each for each in ratios if each is not None]
        for name in [method.name for method in datasets[0]]:
            own = [each[name] for each in usable if len(each.get(name, ()))]
            first = [each[datasets[0][0].name] for each in usable if len(each.get(name, ()))]
            if len(own) >= 2 and sum(map(len, own)) >= FEWEST_CELLS:
                found.append(_aggregate(number, name, own, None if name == datasets[0][0].name else first))
    return found


def _ratios(methods: Sequence[Measured], number: tuple[MetricName, Group]) -> dict[str, Floats] | None:
    """Values divided by the first method's mean, by method; None where that is 0 or unknown."""
    first = methods[0].values(number).values()
    if not first or (mean := fmean(first)) == 0:
        return None
    return {method.name: np.array([*method.values(number).values()]) / mean for method in methods}


def _aggregate(
    number: tuple[MetricName, Group], name: str, own: Sequence[Floats], first: Sequence[Floats] | None
) -> Aggregate:
    random = stream(0, f"study bootstrap {number} {name}")
    draws = [_resampled(own, random) for _ in range(RESAMPLES)]
    ratio = _with_interval(
        interquartile_mean(np.concatenate(own)), (interquartile_mean(np.concatenate(d)) for d in draws)
    )
    improvement = None
    if first is not None:
        lower = METRICS[number[0]].better == "lower"
        others = (_resampled(first, random) for _ in range(RESAMPLES))
        chances = (better_share(draw, other, lower) for draw, other in zip(draws, others, strict=True))
        improvement = _with_interval(better_share(own, first, lower), chances)
    return Aggregate(*number, name, ratio, improvement, sum(map(len, own)))


def _resampled(values: Sequence[Floats], random: np.random.Generator) -> list[Floats]:
    """Runs drawn with replacement within each dataset."""
    return [random.choice(own, len(own)) for own in values]


def _with_interval(value: float, draws: Iterable[float]) -> tuple[float, float, float]:
    low, high = np.quantile(list(draws), (0.025, 0.975))
    return value, float(low), float(high)


def interquartile_mean(values: Floats) -> float:
    """The mean without the lowest and the highest quarter, of n values floor(n/4) each."""
    cut = len(values) // 4
    return float(np.mean(np.sort(values)[cut : len(values) - cut]))


def better_share(own: Sequence[Floats], first: Sequence[Floats], lower: bool) -> float:
    """The probability that a run is better than one of the first method, ties half, mean over datasets."""
    sign = -1 if lower else 1
    wins = [sign * (a[:, None] - b[None, :]) for a, b in zip(own, first, strict=True)]
    return fmean(float(np.mean((w > 0) + 0.5 * (w == 0))) for w in wins)
