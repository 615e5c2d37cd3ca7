"""Metrics of generated images alone: Inception score, diversity, accuracy, confusion."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taildiff.errors import InputError
from taildiff.metrics import accuracy, confusion, inception_score, intra_class_diversity, precision_recall

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "metrics.npz")


def test_inception_score_golden():
    result = inception_score(GOLDEN["inception_probs"], splits=1)
    assert float(result) == result.mean == pytest.approx(GOLDEN["inception_score_1split"], rel=1e-9)
    assert result.std == 0
    halves = np.array_split(GOLDEN["inception_probs"], 2)
    each = [float(inception_score(half, splits=1)) for half in halves]
    both = inception_score(torch.from_numpy(GOLDEN["inception_probs"]), splits=2)
    assert (both.mean, both.std) == pytest.approx((np.mean(each), np.std(each)))


def test_inception_score_runs_from_one_to_the_number_of_classes():
    assert float(inception_score(np.full((50, 4), 0.25))) == pytest.approx(1)
    certain = np.eye(4)[np.arange(40) % 4]
    assert float(inception_score(certain)) == pytest.approx(4)
    assert float(inception_score(np.eye(4)[np.sort(np.arange(40) % 4)], splits=4)) == pytest.approx(
        1
    )  # a class a split


@pytest.mark.parametrize(
    ("values", "splits", "match"),
    [
        (np.ones((3, 2)), 1, "softmax"),
        (np.array([[1.5, -0.5]]), 1, "softmax"),
        (np.full((3, 2), 0.5), 4, "from 1 to the number of images, 3"),
    ],
)
def test_no_probabilities(values, splits, match):
    with pytest.raises(InputError, match=match):
        inception_score(values, splits)


def test_diversity_of_copies_and_of_orthogonal_features():
    copies = intra_class_diversity(np.full((30, 8), 1e3))
    assert copies.mean_distance == 0
    assert copies.vendi == pytest.approx(1, abs=1e-9)
    apart = intra_class_diversity(torch.eye(8))
    assert apart.mean_distance == pytest.approx(2**0.5)
    assert apart.vendi == pytest.approx(8)
    kinds = intra_class_diversity(np.repeat(np.eye(8)[:3], 20, axis=0))  # three images, twenty times each
    assert kinds.vendi == pytest.approx(3)
    assert intra_class_diversity(np.zeros((4, 3))).vendi == 1


@given(st.integers(0, 2**31), st.integers(2, 30), st.integers(1, 8), st.integers(1, 12))
def test_diversity_by_the_definition_in_any_order_and_block_size(seed, n, dim, chunk):
    x = 3 + np.random.default_rng(seed).normal(size=(n, dim))
    distances = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    p = np.linalg.eigvalsh(unit @ unit.T / n)
    p = p[p > 1e-12]
    result = intra_class_diversity(x[::-1], chunk=chunk)
    assert result.mean_distance == pytest.approx(distances.sum() / (n * (n - 1)), rel=1e-9)
    assert result.vendi == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-6)


def test_diversity_of_several_classes_is_their_mean():
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(size=(20, 4)), 9 + 3 * rng.normal(size=(20, 4))
    one, other = intra_class_diversity(narrow), intra_class_diversity(wide)
    both = intra_class_diversity(np.concatenate([narrow, wide]), np.repeat([0, 1], 20))
    assert both.mean_distance == pytest.approx((one.mean_distance + other.mean_distance) / 2)
    assert both.vendi == pytest.approx((one.vendi + other.vendi) / 2)
    with pytest.raises(InputError, match="a single sample"):
        intra_class_diversity(narrow[:3], np.array([0, 0, 1]))
    with pytest.raises(InputError, match="one label per feature"):
        intra_class_diversity(narrow, np.array([0, 1]))


def test_accuracy_and_confusion():
    requested, result = np.array([0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 2, 0])
    table = confusion(result, requested, classes=3)
    np.testing.assert_array_equal(table, [[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    assert accuracy(result, requested) == table.trace() / table.sum() == 0.6
    with pytest.raises(InputError, match="from 0 to 1, got 0 to 2"):
        confusion(result, requested, classes=2)
    with pytest.raises(InputError, match="one predicted and one true label"):
        accuracy(result[:3], requested)
    with pytest.raises(InputError, match="must be integers"):
        accuracy(result.float(), requested)


def test_samples_of_the_wrong_class_raise_recall_and_lower_accuracy():
    """Why recall never stands alone: a tenth of a rare class's samples come from a wider class beside it."""
    rng = np.random.default_rng(0)
    real = rng.normal(size=(300, 4))
    right = 0.3 * rng.normal(size=(300, 4))
    wrong = np.concatenate([right[:240], [3, 0, 0, 0] + 2 * rng.normal(size=(60, 4))])

    def predicted(points: np.ndarray) -> np.ndarray:
        return (points[:, 0] > 1.5).astype(int)  # class 1 lies around 3

    requested = np.zeros(300, dtype=int)
    assert accuracy(predicted(right), requested) == 1
    assert accuracy(predicted(wrong), requested) < 0.9
    assert precision_recall(real, wrong).recall > precision_recall(real, right).recall + 0.1
