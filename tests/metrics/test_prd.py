"""PRD scores: the golden histograms, closed forms, and distributions with missing or invented modes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taildiff.errors import InputError
from taildiff.metrics import prd_f_scores, prd_from_histograms
from taildiff.metrics.prd import k_means

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "metrics.npz")
shares = st.lists(st.floats(0, 1), min_size=6, max_size=6).filter(lambda values: sum(values) > 0.01)


def modes(seed: int, means: tuple[float, ...], n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([mean + rng.normal(size=(n // len(means), 4)) for mean in means])


def test_golden_histograms():
    result = prd_from_histograms(GOLDEN["prd_bins_real"], GOLDEN["prd_bins_fake"])
    assert result.f8 == pytest.approx(GOLDEN["prd_f8"], rel=1e-9)
    assert result.f1_8 == pytest.approx(GOLDEN["prd_f1_8"], rel=1e-9)


@given(shares, shares)
def test_swapped_histograms_swap_the_scores(p, q):
    one, other = prd_from_histograms(p, q), prd_from_histograms(q, p)
    assert (one.f8, one.f1_8) == pytest.approx((other.f1_8, other.f8), abs=1e-6)
    assert 0 <= one.f8 <= 1


@given(shares)
def test_equal_histograms_score_one_and_counts_are_normalised(p):
    result = prd_from_histograms(p, torch.tensor(p, dtype=torch.float64) * 300)
    assert (result.f8, result.f1_8) == pytest.approx((1, 1), abs=1e-6)


def test_disjoint_histograms_score_zero_and_half_the_modes_half():
    result = prd_from_histograms([1, 1, 0, 0], [0, 0, 1, 1])
    assert (result.f8, result.f1_8) == (0, 0)
    result = prd_from_histograms([1, 1, 1, 1], [1, 1, 0, 0])
    assert result.f8 == pytest.approx(65 * 1 * 0.5 / (64 * 1 + 0.5), abs=1e-3)  # precision 1, recall 1/2
    assert result.f1_8 == pytest.approx((1 + 1 / 64) * 0.5 / (1 / 64 + 0.5), abs=1e-3)


def test_missing_modes_lower_f8_and_invented_ones_f1_8():
    real = modes(0, (0, 8, 16, 24), 800)
    same = prd_f_scores(real, modes(1, (0, 8, 16, 24), 800), runs=3)
    missing = prd_f_scores(real, modes(2, (0, 8), 800), runs=3)
    invented = prd_f_scores(real, modes(3, (0, 8, 16, 24, 32, 40, 48, 56), 800), runs=3)
    assert min(same.f8, same.f1_8) > 0.9
    assert missing.f8 < 0.6 < 0.85 < missing.f1_8
    assert invented.f1_8 < 0.6 < 0.85 < invented.f8


def test_scores_depend_on_the_seed_alone():
    real, fake = GOLDEN["real"], GOLDEN["fake"]
    result = prd_f_scores(real, fake, classes=2, runs=2, seed=5)
    assert result == prd_f_scores(torch.from_numpy(real), torch.from_numpy(fake), classes=2, runs=2, seed=5)
    assert result != prd_f_scores(real, fake, classes=2, runs=2, seed=6)
    turned = prd_f_scores(real[::-1], fake[::-1], classes=2, runs=40)
    whole = prd_f_scores(real, fake, classes=2, runs=40)
    assert (turned.f8, turned.f1_8) == pytest.approx((whole.f8, whole.f1_8), abs=0.03)


def test_k_means_finds_separate_clusters_and_survives_copies():
    points = modes(0, (0, 50, 100), 90)
    result = k_means(points, 3, np.random.default_rng(0))
    assert [len(set(result[part])) for part in (slice(0, 30), slice(30, 60), slice(60, 90))] == [1, 1, 1]
    assert len(set(result)) == 3
    assert set(k_means(np.ones((9, 2)), 4, np.random.default_rng(0))) <= set(range(4))


@pytest.mark.parametrize(
    ("p", "q", "match"),
    [([1, -1], [1, 1], "real histogram"), ([1, 1], [0, 0], "generated histogram"), ([1, 1], [1, 1, 1], "2 and 3 bins")],
)
def test_unusable_histograms_are_refused(p, q, match):
    with pytest.raises(InputError, match=match):
        prd_from_histograms(p, q)


def test_too_few_points_are_refused():
    with pytest.raises(InputError, match=r"40 clusters \(20 per class\) need"):
        prd_f_scores(np.eye(4), np.eye(4), classes=2)
    with pytest.raises(InputError, match="classes and runs must be at least 1, got 0"):
        prd_f_scores(np.eye(4), np.eye(4), classes=0)
