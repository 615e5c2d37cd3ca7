"""The images behind a number."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.tiny import make_store
from taildiff.errors import DataError
from taildiff.evaluation.pipeline import mean_over_seeds
from taildiff.evaluation.scopes import Pool, interleave, reference_index, scopes
from taildiff.evaluation.scores import FAMILIES, Number, Sample, numbers


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_every_prefix_has_the_classes_as_evenly_as_possible(values: list[int]):
    labels = np.array(values)
    order = interleave(labels)
    assert sorted(order.tolist()) == list(range(len(labels)))
    total = np.bincount(labels)
    for n in range(len(labels) + 1):
        counts = np.bincount(labels[order[:n]], minlength=len(total))
        short = counts < total  # classes that have images left are within one of the most frequent
        assert (counts[short] >= counts.max() - 1).all()


def test_a_nearly_balanced_column_is_cut_to_equal_numbers(tmp_path: Path):
    store = make_store(tmp_path / "s", (30, 24, 20), (9, 3, 9))
    found = reference_index(store, "train")
    assert not found.note
    assert np.bincount(store.labels[found.index]).tolist() == [20, 20, 20]
    assert not store.test[found.index].any()
    assert len(np.unique(found.index)) == 60
    np.testing.assert_array_equal(reference_index(store, "train").index, found.index)
    everything = reference_index(store, "all")
    assert np.bincount(store.labels[everything.index]).tolist() == [27, 27, 27]


def test_an_unbalanced_column_is_used_whole(tmp_path: Path):
    store = make_store(tmp_path / "s", (30, 24, 20), (9, 3, 9))
    found = reference_index(store, "test")
    assert "no balanced reference" in found.note
    assert sorted(found.index.tolist()) == store.test_index.tolist()


def test_a_column_without_images_is_an_error(tmp_path: Path):
    store = make_store(tmp_path / "s", (5, 5, 5))
    with pytest.raises(DataError, match="no test images"):
        reference_index(store, "test")


def test_scopes_are_all_both_schemes_and_each_class():
    found = {(scope.group, scope.class_name): scope.labels for scope in scopes((5, 500, 50), ("a", "b", "c"))}
    assert found == {
        ("all", ""): (0, 1, 2),
        ("head", ""): (1,),
        ("body", ""): (2,),
        ("tail", ""): (0,),
        ("many", ""): (1,),
        ("medium", ""): (2,),
        ("few", ""): (0,),
        ("class", "a"): (0,),
        ("class", "b"): (1,),
        ("class", "c"): (2,),
    }


def pool(n: int, dim: int = 4, seed: int = 0, right: int | None = None) -> Pool:
    features = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    predicted = None if right is None else (np.arange(n) >= right).astype(np.int64)
    return Pool(features, np.zeros(n, dtype=np.int64), predicted)


def measured(real: Pool, generated: Pool) -> dict[str, Number]:
    sample = Sample(real, generated, k=3)
    return {number.metric: number for family in list(FAMILIES)[:5] for number in numbers(sample, family)}


def test_each_number_names_its_own_images():
    found = measured(pool(100), pool(30, seed=1, right=24))
    assert {name: (n.n_real, n.n_generated) for name, n in found.items()} == {
        "accuracy": (100, 30),
        "frechet": (100, 30),
        "kernel_distance": (100, 30),
        "precision": (30, 30),
        "recall": (30, 30),
        "density": (30, 30),
        "coverage": (30, 30),
    }
    assert found["accuracy"].value == 0.8
    for name, number in found.items():
        assert number.value is not None, name
        assert number.low is not None, name
        assert number.high is not None, name
        assert number.low <= number.value <= number.high, name
        assert number.low < number.high, name


def test_too_few_images_give_no_number():
    def without(real: Pool, generated: Pool) -> set[str]:
        return {name for name, number in measured(real, generated).items() if number.value is None}

    everything = {"accuracy", "frechet", "kernel_distance", "precision", "recall", "density", "coverage"}
    assert without(pool(19), pool(30, right=30)) == everything - {"accuracy"}
    balls = {"density", "coverage"}  # of 5 neighbours
    assert without(pool(30), pool(4, right=4)) == {"frechet", *balls}  # 4 points in 4 dimensions
    assert without(pool(30), pool(3, right=3)) == {"frechet", "precision", "recall", *balls}


@pytest.mark.parametrize(
    ("real", "low", "high"),
    [(1, 0.168, 0.998), (2, 0.275, 0.995), (5, 0.453, 0.990), (12, 0.608, 0.981), (20, 0.826, 0.945)],
)
def test_accuracy_of_few_real_images_has_a_wide_interval(real: int, low: float, high: float):
    """Wilson's for 1/(1/100 + 1/n) images by hand, at least one; from 20 real ones on for the 100 generated."""
    (accuracy,) = numbers(Sample(pool(real), pool(100, seed=1, right=90)), "accuracy")
    assert (accuracy.value, accuracy.n_real, accuracy.n_generated) == (0.9, real, 100)
    assert (accuracy.low, accuracy.high) == pytest.approx((low, high), abs=0.0006)
    assert accuracy.replicates is not None  # differences hold the classifier fixed
    if real < 20:
        assert mean_over_seeds([accuracy, accuracy]).low == pytest.approx(accuracy.low)


def test_memorised_images_of_few_real_ones():
    copies = Pool(pool(40).features, np.zeros(40, dtype=np.int64), copied=np.arange(40) < 8)
    sample = Sample(pool(9), copies, behind_copies=np.array([3, 40]))
    (own,) = numbers(sample, "memorized")
    assert (own.value, own.n_real) == (0.2, 3)
    assert own.low is not None
    assert own.high is not None
    assert own.high - own.low > 0.5
    (many,) = numbers(replace(sample, behind_copies=np.array([40])), "memorized")
    assert many.low == pytest.approx(0.105, abs=0.001)  # Wilson's of 8 in 40
    (nothing,) = numbers(replace(sample, behind_copies=None), "memorized")
    assert nothing.value is None
