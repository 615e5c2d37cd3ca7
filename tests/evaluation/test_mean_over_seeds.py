"""Means over sampling seeds and their intervals: within the metric's bounds, and around the mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taildiff.evaluation.pipeline import mean_over_seeds
from taildiff.evaluation.scores import Number
from taildiff.evaluation.utility import _paired
from taildiff.metrics import wilson
from taildiff.metrics.intervals import percentiles
from taildiff.spec import METRICS


def number(metric: str, value: float | None, low: float | None = None, high: float | None = None, **more) -> Number:
    return Number(metric, value, 50, 20, low, high, **more)


def gain(gained: int, lost: int, n: int = 50) -> Number:
    interval = _paired(gained, lost, n)
    return number("utility_gain", (gained - lost) / n, interval.low, interval.high)


def test_the_gain_of_completing_has_an_interval_around_a_negative_mean():
    """Gains -0.10 and 0.02 of 50 test images; the ends are the means of Agresti & Min's ends."""
    first, other = gain(0, 5), gain(2, 1)
    assert (first.low, first.high) == pytest.approx((-0.184703, -0.007605), abs=1e-6)
    assert (other.low, other.high) == pytest.approx((-0.055971, 0.094433), abs=1e-6)
    mean = mean_over_seeds([first, other])
    assert mean.value == pytest.approx(-0.04)
    assert (mean.low, mean.high) == pytest.approx((-0.120337, 0.043414), abs=1e-6)
    swapped = mean_over_seeds([other, first])
    assert (swapped.low, swapped.high) == (mean.low, mean.high)


def test_shares_that_are_all_right_at_one_seed_and_all_wrong_at_another():
    """Resampling changes nothing there; the interval of the first seed would not contain the mean."""
    shares = [
        number("accuracy", value, wilson(value, 20).low, wilson(value, 20).high, replicates=np.full(100, value))
        for value in (1.0, 0.0)
    ]
    mean = mean_over_seeds(shares)
    end = wilson(0.0, 20).high / 2
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.5, 0.5 - end, 0.5 + end))
    same = mean_over_seeds([shares[0]] * 3)
    assert (same.low, same.high) == (shares[0].low, shares[0].high)


def test_bootstrapped_means_keep_their_bounds():
    spread = np.linspace(-1, 1, 101)
    for name, (low, high) in {
        "kernel_distance": (-0.95, 0.95),
        "frechet": (0, 0.95),
        "utility_gain": (-0.95, 0.95),
    }.items():
        sets = [number(name, 0.0, -1.0, 1.0, replicates=spread)] * 2
        mean = mean_over_seeds(sets)
        assert (mean.low, mean.high) == pytest.approx((low, high))
        assert percentiles(spread).high == pytest.approx(0.95)


def test_a_seed_without_a_value_or_an_interval_leaves_none():
    assert mean_over_seeds([number("recall", 0.5, 0.4, 0.6), number("recall", None)]).value is None
    some = mean_over_seeds([number("recall", 0.5, 0.4, 0.6), number("recall", 0.7)])
    assert (some.value, some.low, some.high) == (0.6, None, None)
    assert mean_over_seeds([number("vendi", 2.0), number("vendi", 4.0)]).value == 3.0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=4))
def test_the_interval_contains_the_mean_and_stays_within_bounds(counts: list[tuple[int, int]]):
    mean = mean_over_seeds([gain(gained, lost) for gained, lost in counts])
    low, high = METRICS["utility_gain"].bounds
    assert mean.value is not None
    assert mean.low is not None
    assert mean.high is not None
    assert low <= mean.low <= mean.value + 1e-12
    assert mean.value - 1e-12 <= mean.high <= high
