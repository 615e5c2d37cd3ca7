"""What scopes share is what each of them has alone; what depends on the real images alone is computed once."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from taildiff.evaluation.sample import Number, Sample
from taildiff.evaluation.scopes import Pool
from taildiff.evaluation.scores import numbers
from taildiff.evaluation.shared import groupings
from taildiff.metrics import kernel as kernel_module
from taildiff.metrics import kernel_distance
from taildiff.metrics.intervals import Resampling
from taildiff.metrics.kernel import draws, mean_within, mean_within_draws

SCOPES = ((0, 1, 2, 3), (0,), (1, 2), (3,), (0, 1), (2,), (1,))
FAMILIES = ("accuracy", "frechet", "kernel_distance", "neighbours", "balls")


def pool(counts: tuple[int, ...], seed: int) -> Pool:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), counts)
    features = (rng.normal(size=(len(labels), 3)) + labels[:, None]).astype(np.float32)
    features[5] = features[1]  # a copy
    return Pool.interleaved(features, labels, rng.integers(0, 4, len(labels)))


def of_each(sample: Sample) -> list[Number]:
    return [n for scope in SCOPES for family in FAMILIES for n in numbers(sample.of(scope), family)]


@pytest.mark.parametrize("counts", [(30, 30, 30, 30), (60, 24, 40, 3), (25, 90, 21, 30)])
def test_one_pass_gives_each_scope_what_it_has_alone(counts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernel_module, "_ROWS", 32)
    pools = pool((50, 40, 25, 30), 0), pool(counts, 1)
    sample = Sample(*pools, real_key=1, generated_key=7, k=3, resampling=Resampling(50))
    together, alone = of_each(sample.sharing(SCOPES, (3, 5))), of_each(sample)
    for one, other in zip(together, alone, strict=True):
        assert (one.metric, one.n_real, one.n_generated) == (other.metric, other.n_real, other.n_generated)
        ends = [np.array([n.value, n.low, n.high], dtype=float) for n in (one, other)]  # None is NaN
        np.testing.assert_allclose(*ends, rtol=1e-9, atol=1e-12)
        for a, b in ((one.replicates, other.replicates), (one.real_side, other.real_side)):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [20, 1000])
def test_the_kernel_distance_is_that_of_the_metric(size: int, monkeypatch: pytest.MonkeyPatch):
    """Where a side is larger than what is drawn of it, and where it is drawn whole."""
    monkeypatch.setattr(kernel_module.draws, "__defaults__", (100, size, 0))
    real, generated = pool((50, 40, 25, 30), 0), pool((30, 30, 30, 30), 1)
    sample = Sample(real, generated).sharing(SCOPES)
    monkeypatch.setattr("taildiff.evaluation.shared.MOST_DRAWN", size)
    for scope in SCOPES:
        own = sample.of(scope)
        expected = kernel_distance(own.real.features, own.generated.features, size=size)
        (number,) = numbers(own, "kernel_distance")
        assert number.value == pytest.approx(expected, rel=1e-10)


def test_pairs_of_overlapping_draws_are_computed_once():
    points = np.random.default_rng(0).normal(size=(60, 4))
    for size in (6, 30):
        drawn = [i for i, _ in draws(60, 80, size=size)]
        expected = np.mean([mean_within(points[each]) for each in drawn])
        assert mean_within_draws(points, drawn) == pytest.approx(expected, rel=1e-12)


def test_the_real_side_is_computed_once_for_all_sets_of_images():
    kept: dict[str, np.ndarray] = {}
    made: list[str] = []

    def keep(make: Callable[[], np.ndarray], what: str) -> np.ndarray:
        if what not in kept:
            made.append(what)
            kept[what] = make()
        return kept[what]

    real = pool((50, 40, 25, 30), 0)
    for seed in (1, 2):
        sample = Sample(real, pool((30, 30, 30, 30), seed), real_key=1, generated_key=7, k=3, resampling=Resampling(50))
        shared, alone = of_each(sample.sharing(SCOPES, (3, 5), keep)), of_each(sample)
        values = [np.array([n.value for n in each], dtype=float) for each in (shared, alone)]
        np.testing.assert_allclose(*values, rtol=1e-9, atol=1e-12)
        assert sorted(what.split()[0] for what in made) == ["kernel", "kernel", "radii"]


def test_without_intervals_the_values_are_the_same():
    sample = Sample(pool((50, 40, 25, 30), 0), pool((30, 30, 30, 30), 1), k=3).sharing(SCOPES, (3, 5))
    bare = of_each(replace(sample, intervals=False))
    assert [(n.metric, n.value, n.n_real) for n in bare] == [(n.metric, n.value, n.n_real) for n in of_each(sample)]
    assert all(n.replicates is None and n.real_side is None for n in bare)


def test_scopes_without_common_classes_form_a_grouping():
    groups, where = groupings(SCOPES)
    assert groups.tolist() == [[0, 0, 0, 0], [0, 1, 1, 2], [0, 0, 1, -1], [-1, 0, -1, -1]]
    assert where[(3,)] == (1, 2)
    assert groupings([(0, 1), (0, 1), (0,), (1,)])[0].tolist() == [[0, 0], [0, 1]]
