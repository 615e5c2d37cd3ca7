"""The statistics of a study: by hand, by scipy, under the null and with planted effects."""

import numpy as np
import pytest
from scipy import stats

from study.synthetic import clear, measured, share_with_any, study
from taildiff.comparison.difference import Difference
from taildiff.comparison.table import Verdict
from taildiff.study.statistics import (
    PRIMARY,
    aggregates,
    better_share,
    interquartile_mean,
    judged,
    paired,
    spreads,
)

PLAIN, OURS, EQUAL = [1.0, 1.2, 1.1], [0.5, 0.71, 0.6], [1.02, 1.19, 1.13]


def differences(verdict: Verdict) -> list[Difference]:
    found = [cell.difference for line in verdict.lines for cell in line.cells[1:]]
    assert all(found)
    return [each for each in found if each]


def test_p_is_that_of_the_paired_t_test_corrected_by_holm():
    ours, equal = differences(judged(measured({"plain": PLAIN, "ours": OURS, "equal": EQUAL})))
    first, second = (stats.ttest_rel(other, PLAIN) for other in (OURS, EQUAL))
    assert (ours.p, equal.p) == pytest.approx((first.pvalue, second.pvalue))
    assert ours.p_holm == pytest.approx(2 * first.pvalue)
    assert equal.p_holm == pytest.approx(second.pvalue)
    interval = first.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    assert (ours.clear, equal.clear) == (True, False)


def test_a_frechet_difference_below_1_3_per_cent_is_none():
    plain, other = dict(enumerate([100.0, 110.0, 90.0])), dict(enumerate([101.2, 111.2, 91.21]))
    below = paired("frechet", plain, other)
    assert below
    assert below.p is not None
    assert below.p < 0.001
    assert below.negligible
    above = paired("frechet", plain, {place: value + 0.2 for place, value in other.items()})
    assert above
    assert not above.negligible
    share = paired("recall", plain, other)
    assert share
    assert not share.negligible
    (small,) = differences(judged(measured({"plain": [*plain.values()], "other": [*other.values()]})))
    assert small.p_holm is not None
    assert small.p_holm < 0.01
    assert not small.clear


def test_runs_are_paired_over_the_seeds_that_both_have():
    difference = paired("recall", {0: 1.0, 1: 2.0, 2: 3.0, 3: 9.0}, {0: 2.0, 1: 3.1, 2: 3.9})
    assert difference
    assert difference.p == pytest.approx(stats.ttest_rel([2.0, 3.1, 3.9], [1.0, 2.0, 3.0]).pvalue)
    two = paired("recall", {0: 1.0, 1: 2.0}, {0: 2.0, 1: 3.1, 2: 4.0})
    assert two
    assert (two.value, two.p) == (pytest.approx(1.05), None)
    assert paired("recall", {0: 1.0}, {1: 1.0}) is None


def test_nothing_is_clear_before_it_may_be_tested():
    methods = measured({"plain": PLAIN, "ours": OURS})
    assert clear(judged(methods)) == [("ours", "frechet", "all")]
    assert clear(judged(methods, tested=False)) == []
    assert not judged(methods, tested=False).judged


def test_the_family_is_four_numbers_of_every_method():
    verdict = judged(study(np.random.default_rng(0), methods=4))
    assert [(line.metric, line.group) for line in verdict.lines] == list(PRIMARY)
    assert len(differences(verdict)) == 12


def test_planted_effects_are_found():
    random = np.random.default_rng(1)
    found = [clear(judged(study(random, methods=3, seeds=8, effects={2: -6.0}))) for _ in range(20)]
    assert sum(("m2", "frechet", "tail") in each for each in found) >= 18
    assert sum(any(name == "m1" for name, *_ in each) for each in found) <= 3


def test_equal_methods_are_rarely_called_different():
    assert share_with_any(120, seeds=3, methods=4) <= 0.1


@pytest.mark.slow
def test_of_a_thousand_equal_studies_at_most_7_per_cent_have_a_clear_difference():
    """docs/study.md quotes both shares."""
    shares = [share_with_any(1000), share_with_any(1000, seed=1, methods=3, seeds=5)]
    assert max(shares) <= 0.07


def test_spreads_of_training_and_of_sampling():
    plain, ours = spreads(measured({"plain": PLAIN, "ours": OURS}))
    assert (plain.method, plain.training, plain.runs) == ("plain", pytest.approx(0.1), 3)
    assert plain.sampling == pytest.approx(0.1 / 2**0.5)
    assert ours.training == pytest.approx(np.std(OURS, ddof=1))


def test_the_interquartile_mean_drops_a_quarter_at_each_end():
    values = np.array([9.0, 1.0, 2.0, 3.0, 4.0, 100.0, 5.0, 6.0, 7.0])
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_the_probability_of_improvement_is_the_share_of_pairs_that_win():
    own, first = [np.array([1.0, 3.0])], [np.array([2.0, 3.0])]
    assert better_share(own, first, lower=True) == (2 + 0.5) / 4
    assert better_share(own, first, lower=False) == (1 + 0.5) / 4


def test_aggregates_need_two_datasets_and_ten_runs_and_are_ratios():
    one = {"plain": [1.0, 2.0, 3.0, 2.0, 2.0], "ours": [0.5, 1.0, 1.5, 1.0, 1.0]}
    other = {name: [10 * value for value in values] for name, values in one.items()}
    plain, ours = aggregates([measured(one), measured(other)])
    assert (plain.method, plain.improvement, plain.cells) == ("plain", None, 10)
    assert plain.ratio[0] == pytest.approx(1.0)
    assert ours.ratio[0] == pytest.approx(0.5)
    assert ours.ratio[1] < 0.5 < ours.ratio[2]
    assert ours.improvement
    assert ours.improvement[0] == pytest.approx((5 + 3 * 4.5 + 4) / 25)  # by value of ours, ties half
    assert aggregates([measured(one)]) == []
    few = [measured({name: values[:4] for name, values in each.items()}) for each in (one, other)]
    assert aggregates(few) == []
