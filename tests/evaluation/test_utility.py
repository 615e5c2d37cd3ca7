"""Utility: training sets, good images help and bad ones hurt, and results are reproducible."""

from functools import cache

import numpy as np
import pytest
from scipy.stats import binomtest

from evaluation.tiny import images
from taildiff.errors import DataError
from taildiff.evaluation import classifier_network
from taildiff.evaluation.utility import TRAINING_SETS, Labelled, UtilityResult, _paired, first, shortfall, utility

COUNTS = (30, 6, 2)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (40, 40))
    monkeypatch.setattr(classifier_network, "_BATCH", 32)


@pytest.fixture
def _hardly_trained(monkeypatch: pytest.MonkeyPatch):
    """For what does not depend on what a classifier learns."""
    monkeypatch.setattr(classifier_network, "_STEPS", (2, 2))


def measure(
    generated: tuple[int, int, int] = (30, 30, 30), to: int | None = None, wrong: bool = False
) -> UtilityResult:
    """Generated images are as good as real ones, or each has a wrong label."""
    real, test = Labelled(*images(COUNTS)), Labelled(*images((25, 25, 25), seed=2))
    pictures, asked = images(generated, seed=1)
    return utility(real, Labelled(pictures, (asked + 1) % 3 if wrong else asked), test, 3, to=to)


measured = cache(measure)
"""With forty steps."""


def test_each_is_trained_on_what_it_is_named_after():
    assert shortfall(COUNTS, (30, 30, 30), 30) == ()
    found = measured()
    assert (found.real.real, found.real.generated) == (COUNTS, (0, 0, 0))
    assert (found.completed.real, found.completed.generated) == (COUNTS, (0, 24, 28))
    assert (found.generated.real, found.generated.generated) == ((0, 0, 0), (30, 30, 30))
    every = found.accuracy("completed", (0, 1, 2))
    assert (every.n_real, every.n_generated) == (75, 52)


@pytest.mark.usefixtures("_hardly_trained")
def test_all_train_for_the_same_steps(monkeypatch: pytest.MonkeyPatch):
    train, steps = classifier_network.train, []
    monkeypatch.setattr(classifier_network, "train", lambda *args: (steps.append(args[-1]), train(*args)))
    measure()
    assert steps == [2, 2, 2]


def test_good_images_help_the_rare_class_and_mislabelled_ones_hurt():
    good, bad = measured(), measured(wrong=True)
    for kind in ("completed", "generated"):
        value = good.accuracy(kind, (0, 1, 2)).value
        assert value is not None
        assert value > 0.95
    gain, loss = good.gain((2,)), bad.gain((1, 2))
    assert gain.value is not None
    assert loss.high is not None
    assert gain.value >= 0
    assert loss.high < 0
    worst = bad.accuracy("generated", (0, 1, 2)).value
    assert worst is not None
    assert worst < 0.05
    np.testing.assert_array_equal(good.real.right, bad.real.right)  # whatever was generated


@pytest.mark.usefixtures("_hardly_trained")
def test_more_than_the_largest_class_and_too_few_generated():
    found = measure((30, 30, 10), to=40)
    assert found.completed.generated == (10, 30, 10)
    notes = shortfall(COUNTS, (30, 30, 10), 40)
    assert notes[0] == (
        "utility: 2 of 3 classes lack 32 generated images to be filled up to 40: --per-class 40 has enough"
    )
    assert notes[1] == "utility: the set of generated images alone has 10 to 30 per class, not 40"


@pytest.mark.usefixtures("_hardly_trained")
def test_classes_above_the_target_keep_all_their_images():
    found = measure(to=10)
    assert found.completed.generated == (0, 4, 8)
    assert found.completed.real == COUNTS
    assert found.generated.generated == (10, 10, 10)


def test_results_are_reproducible():
    first_time, again = measured(), measure()
    for kind in TRAINING_SETS:
        np.testing.assert_array_equal(getattr(first_time, kind).right, getattr(again, kind).right)
        assert vars(first_time.accuracy(kind, (1,))) == vars(again.accuracy(kind, (1,)))


def test_intervals_and_too_few_test_images():
    found = measured()
    one = found.accuracy("real", (1,))
    right = int(found.real.right[25:50].sum())
    theirs = binomtest(right, 25).proportion_ci(method="wilson")
    assert (one.low, one.high) == pytest.approx((theirs.low, theirs.high))
    few = UtilityResult(found.real, found.real, found.real, np.repeat([0, 1, 2], [50, 19, 6]))
    rare = few.accuracy("real", (2,))  # 6 test images give an answer, with the width that 6 images have
    assert rare.value is not None
    theirs = binomtest(round(6 * rare.value), 6).proportion_ci(method="wilson")
    assert (rare.low, rare.high) == pytest.approx((theirs.low, theirs.high))
    gain = few.gain((2,))
    assert gain.low is not None
    assert gain.high is not None
    assert gain.high - gain.low > 0.4
    nothing = UtilityResult(found.real, found.real, found.real, np.repeat([0, 1], [50, 25]))
    assert nothing.accuracy("real", (2,)).value is None
    assert nothing.gain((2,)).value is None


def test_the_paired_interval_holds_its_level():
    rng = np.random.default_rng(0)
    for n, gained, lost in ((30, 0.1, 0.05), (100, 0.2, 0.05), (200, 0.02, 0.02)):
        counts = rng.multinomial(n, [gained, lost, 1 - gained - lost], 4000)
        covered = [_paired(b, c, n) for b, c, _ in counts.tolist()]
        share = np.mean([interval.low <= gained - lost <= interval.high for interval in covered])
        assert 0.94 < share < 0.99


def test_the_first_of_each_class_in_their_order():
    labels = np.array([2, 0, 0, 1, 2, 2, 0])
    assert first(labels, np.array([2, 5, 1])).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "no generated images of class 1"),
        ("none", "no held-out images"),
        ("shape", "do not fit"),
        ("label", "go from 0 to 3; there are 3 classes"),
    ],
)
def test_mistakes_are_reported(change: str, message: str):
    real, labels = images(COUNTS)
    generated, asked = images((5, 0, 5) if change == "missing" else (5, 5, 5))
    test, truth = images((0, 0, 0) if change == "none" else (5, 5, 5))
    if change == "shape":
        generated = generated[:, :4]
    if change == "label":
        truth = truth + (truth == 2)
    with pytest.raises(DataError, match=message):
        utility(Labelled(real, labels), Labelled(generated, asked), Labelled(test, truth), 3)
