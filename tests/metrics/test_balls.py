"""One pass in float32 over all groupings gives what each group alone gives by the definition, however points lie."""

from collections import Counter
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taildiff.metrics.balls import Grouped, radii, weights_of
from taildiff.metrics.distances import Block, Distances
from taildiff.metrics.neighbours import Neighbourhoods, grouped_neighbourhoods, neighbourhoods
from taildiff.metrics.search import nearest_of

KS = (1, 3)
LAYOUTS = ("normal", "grid", "clusters", "copies", "far")


def points(rng: np.random.Generator, n: int, layout: str) -> np.ndarray:
    """Points in three dimensions: ties, clusters far narrower than float32 resolves, copies, or far from the origin."""
    normal = rng.normal(size=(n, 3))
    match layout:
        case "grid":
            return np.round(normal)
        case "clusters":
            return np.round(normal) + 1e-7 * rng.normal(size=(n, 3))
        case "copies":
            return normal[rng.integers(0, max(2, n // 2), n)]
        case "far":
            return normal + 1e6
    return normal


def by_definition(real: np.ndarray, generated: np.ndarray, k: int) -> dict[str, Any]:
    """All distances from differences, pair by pair."""

    def squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((a[:, None] - b[None]) ** 2).sum(axis=2)

    def radius(point: np.ndarray, others: np.ndarray, weights: np.ndarray) -> float:
        far = ((others - point) ** 2).sum(axis=1)
        return next((size for size in np.sort(far) if weights[far <= size].sum() - 1 >= k - 1e-9), 0.0)

    once, first = np.unique(real, axis=0, return_index=True)
    made, copies = np.unique(generated, axis=0, return_counts=True)
    missing = max(0, min(len(generated), len(once)) - len(made)) / max(1, len(generated) - len(made))
    cross = squared(real, generated)
    in_real = cross < np.array([radius(x, once, np.ones(len(once))) for x in real])[:, None]
    in_generated = cross < np.array([radius(x, made, 1 + (copies - 1) * missing) for x in generated])
    original = np.isin(np.arange(len(real)), first)
    lonely = in_real[original].sum(axis=0) == 1
    return {
        "balls": in_real[original].sum(axis=0),
        "entered": in_real.sum(axis=1) * original,
        "covered": in_real.any(axis=1),
        "reached": in_generated.any(axis=1),
        "holds_alone": (in_real & original[:, None])[:, lonely].sum(axis=1),
        "enters_alone": in_real[in_real.sum(axis=1) == 1].sum(axis=0),
        "reaches_alone": in_generated[in_generated.sum(axis=1) == 1].sum(axis=0),
        "n_real": len(once),
        "n_generated": len(made),
    }


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**31), st.integers(8, 22), st.integers(8, 22), st.integers(1, 12), st.sampled_from(LAYOUTS),
    st.booleans(),
)  # fmt: skip
def test_every_group_of_every_grouping_is_that_group_alone(seed, n, m, chunk, layout, single):
    rng = np.random.default_rng(seed)
    dtype = np.float32 if single else np.float64
    real, generated = (points(rng, size, layout).astype(dtype) for size in (n, m))
    ids = [np.stack([np.zeros(size, dtype=int), rng.integers(-1, 3, size)]) for size in (n, m)]
    found = grouped_neighbourhoods(Grouped.of(real, ids[0]), Grouped.of(generated, ids[1]), KS, chunk)
    for level, group, k in [(level, group, k) for level in (0, 1) for group in range(3) for k in KS]:
        own, other = real[ids[0][level] == group], generated[ids[1][level] == group]
        if min(len(own), len(other)) <= k:
            continue
        expected = by_definition(own.astype(np.float64), other.astype(np.float64), k)
        result = found.of(level, group, k)
        for name, value in expected.items():
            np.testing.assert_array_equal(getattr(result, name), value, err_msg=f"{name}, {level}, {group}, {k}")


def test_known_radii_of_the_real_points_change_nothing():
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(2, 60, 5)).astype(np.float32)
    ids = np.stack([np.zeros(60, dtype=int), np.repeat([0, 1, 2], 20)])
    sides = Grouped.of(real, ids), Grouped.of(generated, ids)
    known = radii(sides[0], KS, 16)
    results = [grouped_neighbourhoods(*sides, KS, 16, given).of(1, 2, 3) for given in (None, known)]
    assert_equal(*results)
    assert known.shape == (2, 2, 60)
    np.testing.assert_array_equal(weights_of(sides[1], sides[0]), 1)


def assert_equal(a: Neighbourhoods, b: Neighbourhoods) -> None:
    for field in fields(Neighbourhoods):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), err_msg=field.name)


@pytest.mark.parametrize(("spread", "upgraded"), [(1.0, False), (1e-5, True)])
def test_clusters_too_narrow_for_float32_are_measured_in_float64(
    monkeypatch: pytest.MonkeyPatch, spread: float, upgraded: bool
):
    """Ten clusters: float32 decides all but a few pairs of wide ones and none of narrow ones; both are exact."""
    made: Counter[str] = Counter()
    precise, exact = Block.precise, Block.exact
    monkeypatch.setattr(Block, "precise", lambda self: (made.update(["precise"]), precise(self))[1])
    monkeypatch.setattr(Block, "exact", lambda self, r, c: (made.update(exact=len(r)), exact(self, r, c))[1])
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(10, 64))
    real, generated = (centres[np.arange(400) % 10] + spread * rng.normal(size=(400, 64)) for _ in range(2))
    near = neighbourhoods(real, generated, 3, chunk=200)
    expected = by_definition(real, generated, 3)
    for name, value in expected.items():
        np.testing.assert_array_equal(getattr(near, name), value, err_msg=name)
    assert bool(made["precise"]) == upgraded
    assert made["exact"] < 0.25 * 3 * 400**2


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
@pytest.mark.parametrize("dim", [1, 40, 3000])
def test_products_in_float32_keep_their_bound(scale: float, dim: int):
    rng = np.random.default_rng(dim)
    a = (scale * rng.normal(size=(30, dim)) * np.geomspace(1e-3, 1, 30)[:, None]).astype(np.float64)
    b = (a[::-1] * (1 + 1e-5)).astype(np.float64)
    for block in Distances(a, b, chunk=16).blocks():
        row, column = map(np.ravel, np.indices(block.squared.shape))
        true = block.exact(row, column).reshape(block.squared.shape)
        assert (np.abs(block.squared - true) <= block.doubt(row, column).reshape(true.shape)).all()
        assert (block.doubt(row, column).reshape(true.shape) <= block.most_doubt(1)[:, None]).all()
        assert (block.doubt(row, column).reshape(true.shape) <= block.most_doubt(0)).all()
        np.testing.assert_allclose(true / block.of.scale, ((a[block.rows, None] - b[block.columns]) ** 2).sum(axis=2))


@pytest.mark.parametrize("chunk", [7, 1024])
def test_the_nearest_of_another_set(chunk: int):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(50, 4)), rng.normal(size=(90, 4))
    b[80:] = a[:10]
    squared, index = nearest_of(a, b, chunk)
    true = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared, true.min(axis=1), rtol=1e-12)
    assert (squared[:10] == 0).all()
    np.testing.assert_array_equal(index, true.argmin(axis=1))
