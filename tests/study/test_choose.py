"""Guidance and setting are chosen by the mean over training seeds."""

from pathlib import Path

from evaluation.test_best_guidance import REAL, run_of, with_distances
from taildiff.study.choose import Choice, best, swept
from taildiff.study.file import SelectionSpec


def test_the_lowest_mean_over_seeds_is_chosen():
    one = [{1.0: 3.0, 2.0: 2.0}, {1.0: 3.0, 2.0: 5.0}]
    two = [{1.0: 4.0, 2.0: 2.5}, {1.0: 4.0, 2.0: 2.7}]
    assert best([one, two], "frechet") == Choice(1, 2.0, 2.6)
    assert best([one, two], "accuracy") == Choice(1, 1.0, 4.0)


def test_ties_go_to_the_first_setting_and_the_lower_guidance():
    assert best([[{2.0: 1.0, 1.0: 1.0}], [{1.0: 1.0}]], "frechet") == Choice(0, 1.0, 1.0)


def test_only_guidances_that_all_seeds_have_are_compared():
    assert best([[{1.0: 3.0, 2.0: 1.0}, {1.0: 3.0}]], "frechet") == Choice(0, 1.0, 3.0)


def test_a_setting_with_failures_is_chosen_only_without_another():
    good, failing = [{1.0: 9.0}, {1.0: 9.0}], [{1.0: 1.0}, None]
    assert best([failing, good], "frechet") == Choice(1, 1.0, 9.0)
    assert best([failing], "frechet") == Choice(0, 1.0, 1.0)
    assert best([[None, None]], "frechet") is None


def test_the_mean_over_classes_is_of_those_that_have_a_value_everywhere(tmp_path: Path):
    values = {"many": (0.1, 0.3, 0.2), "some": (0.9, 0.5, 0.2), "few": (None, 0.0, 0.0)}
    table = with_distances(run_of(tmp_path / "run"), REAL, values)
    found = swept(table, SelectionSpec(metric="kernel_distance", group="class"))
    assert found == {1.0: 0.5, 2.0: 0.4, 3.0: 0.2}
    overall = swept(table, SelectionSpec())
    assert min(overall, key=lambda guidance: overall[guidance]) == 2.0
