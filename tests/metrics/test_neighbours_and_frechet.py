"""Metrics against golden numbers, scipy, closed forms, and cases whose answer is known."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taildiff.errors import InputError
from taildiff.metrics import (
    GaussianStatistics,
    PrecisionRecall,
    density_coverage,
    frechet_distance,
    frechet_from_statistics,
    neighbourhoods,
    precision_recall,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "metrics.npz")


def normal(seed: int, n: int, dim: int, mean: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return mean + scale * np.random.default_rng(seed).normal(size=(n, dim))


def dense(real: np.ndarray, generated: np.ndarray, k: int) -> tuple[float, float, float, float]:
    """Precision, recall, density, coverage by the definition: every distance from its difference.

    Exact copies count once in radii, generated ones as far as the set has no fewer different points than the real one.
    """

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((a[:, None] - b[None]) ** 2).sum(axis=2)

    def radius(point: np.ndarray, different: np.ndarray, weights: np.ndarray) -> float:
        """Of the smallest ball with k neighbours in it, or 0."""
        squared = ((different - point) ** 2).sum(axis=1)
        inside = [weights[squared <= size].sum() - 1 for size in np.sort(squared)]
        return next((size for size, n in zip(np.sort(squared), inside, strict=True) if n >= k - 1e-9), 0.0)

    different, copies = np.unique(generated, axis=0, return_counts=True)
    once, first = np.unique(real, axis=0, return_index=True)
    missing, extra = max(0, min(len(generated), len(once)) - len(different)), len(generated) - len(different)
    weights = 1 + (copies - 1) * missing / max(extra, 1)
    cross = distances(real, generated)
    in_real = cross < np.array([radius(x, once, np.ones(len(once))) for x in real])[:, None]
    in_generated = cross < np.array([radius(x, different, weights) for x in generated])[None]
    return (
        in_real.any(0).mean(),
        in_generated.any(1).mean(),
        in_real[first].sum() / (k * len(generated)),
        in_real.any(1).mean(),
    )


def test_frechet_equals_golden_and_scipy():
    real, fake = GOLDEN["real"], GOLDEN["fake"]
    assert frechet_distance(real, fake) == pytest.approx(GOLDEN["frechet"], rel=1e-6)  # golden means are float32
    a, b = real.astype(float), fake.astype(float)
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(np.asarray(scipy.linalg.sqrtm(s1 @ s2)))
    oracle = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1 + s2 - 2 * root)
    assert frechet_distance(real, fake) == pytest.approx(oracle, rel=1e-10)


def test_frechet_of_known_gaussians():
    first = GaussianStatistics(np.array([1.0, 2.0]), np.diag([4.0, 9.0]), 100)
    second = GaussianStatistics(np.array([4.0, 6.0]), np.diag([1.0, 16.0]), 100)
    assert frechet_from_statistics(first, second) == pytest.approx(25 + (2 - 1) ** 2 + (3 - 4) ** 2, abs=1e-12)
    result = frechet_distance(normal(0, 200_000, 3), normal(1, 200_000, 3, mean=1, scale=2))
    assert result == pytest.approx(3 * 1 + 3 * 1, rel=0.02)


@given(st.integers(0, 2**31), st.integers(2, 12), st.integers(3, 40), st.integers(3, 40))
def test_frechet_equals_scipy_in_any_order_for_many_points(seed, dim, n, m):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(dim, dim))
    a, b = rng.normal(size=(n + 3 * dim, dim)) @ mix, 1 + rng.normal(size=(m + 3 * dim, dim))
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(np.asarray(scipy.linalg.sqrtm(s1 @ s2)))
    oracle = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1 + s2 - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(oracle, rel=1e-8)
    assert frechet_distance(rng.permutation(a), rng.permutation(b)) == pytest.approx(oracle, rel=1e-8)


@given(st.integers(0, 2**31), st.integers(2, 30), st.integers(2, 30), st.integers(1, 30))
def test_frechet_of_few_points_has_closed_forms(seed, n, m, dim):
    """Singular covariances, where scipy's root has no digits left: twice the points, and points in other dimensions."""
    a, b = normal(seed, n, dim, mean=1), normal(seed + 1, m, dim)
    variance = a.var(axis=0, ddof=1).sum()
    assert frechet_distance(a, 2 * a) == pytest.approx((a.mean(0) ** 2).sum() + variance, rel=1e-9)
    apart = frechet_distance(np.concatenate([a, 0 * a], axis=1), np.concatenate([0 * b, b], axis=1))
    means = (a.mean(0) ** 2).sum() + (b.mean(0) ** 2).sum()
    assert apart == pytest.approx(means + variance + b.var(axis=0, ddof=1).sum(), rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(10, 12), (10, 300), (300, 10), (20, 300)])
def test_frechet_of_few_points_equals_that_of_their_covariances(n: int, m: int):
    a, b = normal(0, n, 20), normal(1, m, 20, mean=0.5)
    statistics = GaussianStatistics.of(a), GaussianStatistics.of(b)
    assert frechet_distance(a, b) == pytest.approx(frechet_from_statistics(*statistics), rel=1e-6)


@pytest.mark.parametrize("smallest", [1e-3, 1e-6, 1e-9, 0])
def test_frechet_keeps_its_digits_near_singular_covariances(smallest: float):
    scale = np.append(np.geomspace(1, max(smallest, 1e-9), 11), smallest)
    turn = np.linalg.qr(normal(0, 12, 12))[0]
    result = [GaussianStatistics(np.zeros(12), (turn * (c * scale) ** 2) @ turn.T, 100) for c in (1, 3)]
    assert frechet_from_statistics(result[0], result[1]) == pytest.approx((2 * scale) @ (2 * scale), rel=1e-8)


def test_covariance_is_numpys():
    points = 100 + normal(0, 9000, 5)  # more than one block
    np.testing.assert_allclose(GaussianStatistics.of(points).cov, np.cov(points, rowvar=False), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n", [50, 10])  # 10 points in 20 dimensions: a singular covariance
def test_frechet_of_equal_statistics_is_zero(n: int):
    points = 5 + normal(0, n, 20)
    assert 0 <= frechet_distance(points, points[::-1]) < 1e-6
    statistics = GaussianStatistics.of(points)
    assert statistics.n == n
    assert 0 <= frechet_from_statistics(statistics, statistics) < 1e-6


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("chunk", [2048, 97])
def test_neighbour_metrics_equal_prdc(k: int, chunk: int):
    result = precision_recall(GOLDEN["real"], GOLDEN["fake"], k, chunk=chunk)
    assert result.precision == GOLDEN[f"precision_prdc{k}"]
    assert result.recall == GOLDEN[f"recall_prdc{k}"]
    spread = density_coverage(GOLDEN["real"], GOLDEN["fake"], k, chunk=chunk)
    assert spread.density == pytest.approx(GOLDEN[f"density_prdc{k}"], rel=1e-12)
    assert spread.coverage == GOLDEN[f"coverage_prdc{k}"]


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**31), st.integers(5, 20), st.integers(5, 20), st.integers(1, 4), st.integers(3, 12), st.booleans()
)
def test_any_block_size_and_order_gives_the_definition(seed, n, m, k, chunk, grid):
    rng = np.random.default_rng(seed)
    real, generated = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
    if grid:  # full of ties and duplicates, far from 0: where the product form fails
        real, generated = np.round(real) + 1e5, np.round(generated) + 1e5
    expected = dense(real, generated, k)
    shuffled = rng.permutation(real), rng.permutation(generated)
    for a, b in ((real, generated), shuffled):
        result, spread = precision_recall(a, b, k, chunk=chunk), density_coverage(a, b, k, chunk=chunk)
        assert (result.precision, result.recall, spread.density, spread.coverage) == pytest.approx(expected, abs=1e-12)


def test_memory_grows_with_the_points_and_not_with_their_pairs():
    def peak(n: int) -> int:
        real, generated = normal(0, n, 16), normal(1, n, 16)
        tracemalloc.start()
        precision_recall(real, generated, chunk=200)
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    assert peak(4000) < 2 * peak(800) < 4000**2  # bytes; all distances at once take eight times that


def test_copies_are_inside_and_equal_points_have_empty_balls():
    points = 1e6 + normal(0, 300, 16)
    result = precision_recall(points, points.copy())
    assert (result.precision, result.recall) == (1, 1)
    same = np.full((50, 16), 0.1)
    result = precision_recall(same, same)
    assert (result.precision, result.recall) == (0, 0)  # radius 0, and inside is strict


def test_copies_count_once_in_radii():
    """A training set oversampled by copying files scores as without the copies."""
    real, generated = normal(0, 40, 4), normal(1, 40, 4)
    expected = precision_recall(real, generated), density_coverage(real, generated)
    assert expected[0].recall > 0.8
    for a, b in ((4, 4), (4, 1), (1, 4), (2, 5)):
        copies = np.repeat(real, a, axis=0), np.repeat(generated, b, axis=0)
        assert (precision_recall(*copies), density_coverage(*copies)) == expected
        near = neighbourhoods(*copies)
        assert (near.n_real, near.n_generated) == (40, 40)
    few = np.repeat(normal(0, 6, 4), 4, axis=0)
    assert precision_recall(few, few) == PrecisionRecall(1, 1)
    negative_zero = np.array([[0.0, 1], [-0.0, 1], [0, 1], [0, 2], [0, 3]])
    assert neighbourhoods(negative_zero, negative_zero, k=1).n_real == 3


def test_a_generator_that_repeats_its_images_is_not_pardoned():
    real, many = normal(0, 200, 4), normal(1, 200, 4)
    shares = [precision_recall(real, np.repeat(many[:n], 200 // n, axis=0)).recall for n in (200, 100, 50, 10)]
    assert shares[0] > 0.85
    assert shares == sorted(shares, reverse=True)
    assert shares[2:] == [0, 0]


def test_collapsed_modes_lower_recall_not_precision():
    real = np.concatenate([normal(0, 200, 8), normal(1, 200, 8, mean=20)])
    whole = np.concatenate([normal(2, 200, 8), normal(3, 200, 8, mean=20)])
    half = normal(4, 400, 8)
    good, collapsed = precision_recall(real, whole), precision_recall(real, half)
    assert collapsed.precision == pytest.approx(good.precision, abs=0.1)
    assert collapsed.recall < 0.6 * good.recall
    assert density_coverage(real, half).coverage <= 0.5


def test_samples_of_the_wrong_class_raise_recall_where_variety_is_missing():
    """Why recall never stands alone: images of another class widen the balls over a rare class."""
    real = normal(0, 300, 4)
    narrow = normal(1, 300, 4, scale=0.2)
    wrong = np.concatenate([narrow[:200], normal(2, 100, 4, scale=4)])
    assert precision_recall(real, wrong).recall > precision_recall(real, narrow).recall + 0.1
    assert precision_recall(real, wrong).precision < precision_recall(real, narrow).precision


def test_torch_tensors_in_any_precision():
    real, fake = torch.from_numpy(GOLDEN["real"]), torch.from_numpy(GOLDEN["fake"]).requires_grad_()
    assert frechet_distance(real, fake) == pytest.approx(frechet_distance(GOLDEN["real"], GOLDEN["fake"]), rel=1e-12)
    assert precision_recall(real, fake) == precision_recall(GOLDEN["real"], GOLDEN["fake"])
    halves = real.bfloat16()
    assert frechet_distance(halves, halves) < 1e-9


GOOD = normal(0, 20, 4)


@pytest.mark.parametrize(
    ("real", "generated", "match"),
    [
        (GOOD[:, 0], GOOD, r"real features must be \(N, D\)"),
        (GOOD, GOOD[:, :3], "4 dimensions, generated ones 3"),
        (GOOD, np.where(GOOD > 1, np.nan, GOOD), "generated features contain NaN"),
        (GOOD[:1], GOOD, "at least . real points"),
        (GOOD, GOOD[:0], "at least . generated points"),
        (GOOD > 0, GOOD, "real numbers"),
    ],
)
def test_unusable_features_are_refused(real, generated, match):
    for metric in (frechet_distance, precision_recall, density_coverage):
        with pytest.raises(InputError, match=match):
            metric(real, generated)


def test_too_few_points_for_k():
    with pytest.raises(InputError, match="at least 4 real points"):
        precision_recall(GOOD[:3], GOOD, k=3)
    with pytest.raises(InputError, match="k must be at least 1"):
        precision_recall(GOOD, GOOD, k=0)
    assert precision_recall(GOOD[:4], GOOD[:4], k=3).recall == 1
    with pytest.raises(InputError, match="at least 2 points"):
        GaussianStatistics.of(GOOD[:1])
    with pytest.raises(InputError, match="different dimensions: 4 and 2"):
        frechet_from_statistics(GaussianStatistics.of(GOOD), GaussianStatistics.of(GOOD[:, :2]))
