"""Kernel distance against golden numbers and its definition."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taildiff.errors import InputError
from taildiff.metrics import kernel, kernel_distance
from taildiff.metrics.kernel import Atoms, kernel_sums, sums_of_others

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "metrics.npz")


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """Pair by pair."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    n, m = len(x), len(y)
    within = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    other = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within + other - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_golden():
    real, fake = GOLDEN["real"], GOLDEN["fake"]
    expected = float(GOLDEN["kid_subset_mean"])
    assert kernel_distance(real, fake, size=130) == pytest.approx(expected, rel=0.1)
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=0.1)
    assert kernel_distance(torch.from_numpy(real), torch.from_numpy(fake)) == kernel_distance(real, fake)


@given(st.integers(0, 2**31), st.integers(2, 12), st.integers(1, 5), st.integers(12, 1000))
def test_all_points_of_both_give_the_definition_in_any_order(seed, n, dim, size):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, dim)), 0.5 + rng.normal(size=(n, dim))
    expected = pytest.approx(by_definition(x, y), rel=1e-9, abs=1e-9)
    assert kernel_distance(x, y, size=size) == expected
    assert kernel_distance(rng.permutation(x), rng.permutation(y), size=size, seed=seed) == expected


def test_subsets_are_unbiased_and_drawn_by_the_seed_alone():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 4)), 0.3 + rng.normal(size=(400, 4))
    whole = kernel_distance(x, y)
    parts = kernel_distance(x, y, subsets=400, size=50)
    assert parts == pytest.approx(whole, rel=0.1)
    assert kernel_distance(x, y, size=50, seed=1) == kernel_distance(x, y, size=50, seed=1)
    assert kernel_distance(x, y, size=50, seed=1) != kernel_distance(x, y, size=50, seed=2)


def test_equal_distributions_give_zero_on_average_even_for_few_points():
    """What the Fréchet distance cannot: n = 20 in 32 dimensions, on both sides of 0."""
    rng = np.random.default_rng(0)
    result = [kernel_distance(rng.normal(size=(20, 32)), rng.normal(size=(20, 32))) for _ in range(400)]
    assert min(result) < 0 < max(result)
    assert abs(np.mean(result)) < 3 * np.std(result) / np.sqrt(len(result))


@pytest.mark.parametrize(("subsets", "size"), [(0, 10), (1, 1)])
def test_no_subset_is_refused(subsets, size):
    with pytest.raises(InputError, match="give at least 1 subset of at least 2 points"):
        kernel_distance(np.eye(3), np.eye(3), subsets, size)


@pytest.mark.parametrize("rows", [4, 512])
def test_sums_over_groups_are_those_pair_by_pair(rows: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernel, "_ROWS", rows)
    rng = np.random.default_rng(0)
    first, second = (Atoms(rng.normal(size=(n, 3)), np.sort(rng.integers(0, 4, n))) for n in (17, 11))
    groups = np.array([[0, 0, 0, 0], [0, 1, 1, -1]])
    pairs = (first.points @ second.points.T / 3 + 1) ** 3
    own = (first.points @ first.points.T / 3 + 1) ** 3
    np.fill_diagonal(own, 0)
    found, others = kernel_sums(first, second, groups), sums_of_others(first, groups)
    for level, group in enumerate(groups):
        rows_of, columns_of = group[first.labels], group[second.labels]
        used, used_columns = rows_of >= 0, columns_of >= 0
        same = rows_of[:, None] == columns_of
        np.testing.assert_allclose(found[0][level][used], (pairs * same).sum(axis=1)[used])
        np.testing.assert_allclose(found[1][level][used_columns], (pairs * same).sum(axis=0)[used_columns])
        np.testing.assert_allclose(others[level][used], (own * (rows_of[:, None] == rows_of)).sum(axis=1)[used])
