"""Methods within a margin of another: by hand."""

import pytest

from study.synthetic import row
from taildiff.study.file import MarginSpec
from taildiff.study.margin import Standing, _sentences, standings, within
from taildiff.study.statistics import Measured

MARGIN = MarginSpec(reference="full")
COSTS = {"plain": 100.0, "full": 200.0, "near": 120.0, "nearer": 150.0, "far": 110.0}


def measured(name: str, recall: list[float], accuracy: list[float], frechet: list[float]) -> Measured:
    numbers = {("recall", "tail"): recall, ("accuracy", "tail"): accuracy, ("frechet", "tail"): frechet}
    rows = {
        seed: {(*number, "", 2.0): row(*number, 2.0, values[seed]) for number, values in numbers.items()}
        for seed in range(len(recall))
    }
    return Measured(name, 2.0, rows, {})


FULL = measured("full", [0.6, 0.7], [0.9, 1.0], [2.0, 2.2])
NEAR = measured("near", [0.55, 0.65], [0.85, 0.95], [2.2, 2.42])  # exactly at each limit
NEARER = measured("nearer", [0.7, 0.8], [1.0, 1.0], [1.0, 1.0])
FAR = measured("far", [0.6, 0.7], [0.9, 0.88], [2.4, 2.4])
PLAIN = measured("plain", [0.3, 0.3], [0.9, 1.0], [2.0, 2.2])


def test_a_method_is_within_if_every_mean_is():
    found = standings(MARGIN, [PLAIN, FULL, NEAR, NEARER, FAR], COSTS)
    assert found == [
        Standing("plain", 0.5, ("recall 30.0 % against 65.0 %",)),
        Standing("near", 0.6, ()),
        Standing("nearer", 0.75, ()),
        Standing("far", 0.55, ("accuracy 89.0 % against 95.0 %", "Fréchet distance 2.4 against 2.1")),
    ]
    first, second, third = _sentences(MARGIN, found, "plain")
    assert first == (
        "Within the margin of full (recall at most 5 points lower, accuracy at most 5 points lower, Fréchet distance "
        "at most 1.1 times; means over training seeds, the tail): near (0.60 of its time per step), nearer (0.75 of "
        "its time per step)."
    )
    assert "far (accuracy 89.0 % against 95.0 %, Fréchet distance 2.4 against 2.1)" in second
    assert third == "The cheapest within it: near, with 0.60 of the time of a step of full."


def test_without_a_variant_within_the_reference_stays():
    found = standings(MARGIN, [PLAIN, FULL, FAR], COSTS)
    assert found
    texts = list(_sentences(MARGIN, found, "plain"))
    assert texts[0].startswith("No method is within the margin of full")
    assert texts[-1] == "No cheaper variant takes the place of full."


def test_the_first_method_is_no_candidate_even_if_it_is_within():
    found = standings(MARGIN, [measured("plain", [0.6], [0.9], [2.0]), FULL, FAR], COSTS)
    assert found
    *_, cheapest, last = _sentences(MARGIN, found, "plain")
    assert cheapest == "No cheaper variant takes the place of full."
    assert last == "plain itself is within it: what full gains over it is no more than the margin."


def test_a_variant_that_costs_more_takes_no_place():
    found = standings(MARGIN, [PLAIN, FULL, NEARER], COSTS | {"nearer": 210.0})
    assert found
    texts = list(_sentences(MARGIN, found, "plain"))
    assert "nearer (1.05 of its time per step)" in texts[0]
    assert texts[-1] == "No cheaper variant takes the place of full."


def test_means_are_over_the_runs_that_both_have():
    one = measured("near", [0.6], [0.9], [2.0])  # its second run failed; the means of both would be outside
    (standing,) = standings(MARGIN, [FULL, one], COSTS) or ()
    assert not standing.worse
    none = Measured("near", None, {}, {})
    (standing,) = standings(MARGIN, [FULL, none], COSTS) or ()
    assert standing.worse == ("no recall", "no accuracy", "no Fréchet distance")
    assert standings(MARGIN, [Measured("full", None, {}, {}), one], COSTS) is None


@pytest.mark.parametrize(("mean", "inside"), [(2.09, True), (2.11, False), (0.1, True)])
def test_of_a_distance_higher_is_worse(mean: float, inside: bool):
    margin = MarginSpec(reference="full", difference={"frechet": 0.1}, ratio={})
    assert within(margin, "frechet", mean, 2.0) is inside
