"""Wilson's interval against its defining equation and published values; replicates against one resampling at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taildiff.metrics import intervals
from taildiff.metrics.intervals import Z95, Resampling, wilson
from taildiff.rng import stream


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_ends_are_where_the_score_test_just_rejects(case: tuple[int, int]):
    hits, n = case
    share = hits / n
    interval = wilson(share, n)
    assert 0 <= interval.low <= share + 1e-12
    assert share - 1e-12 <= interval.high <= 1
    for end in (interval.low, interval.high):
        if 0 < end < 1:
            assert (share - end) ** 2 == pytest.approx(Z95**2 * end * (1 - end) / n, rel=1e-9, abs=1e-15)


def test_published_values():
    interval = wilson(81 / 263, 263)  # Newcombe (1998), table I: 0.2553 to 0.3662
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20).low == 0
    assert wilson(0, 20).high == pytest.approx(0.1611, abs=1e-4)  # Newcombe: 0 of 20


@pytest.mark.parametrize(("share", "n"), [(0.5, 0), (1.2, 10)])
def test_impossible_shares(share: float, n: int):
    with pytest.raises(ValueError, match="at least one trial"):
        wilson(share, n)


def one_by_one(contributions: np.ndarray, labels: np.ndarray, key: int, count: int) -> np.ndarray:
    """Means of images drawn again with replacement within each class, by the same stream."""
    total = np.zeros(count)
    for label in np.unique(labels):
        values = contributions[labels == label]
        rng = stream(key, "evaluation/bootstrap", int(label), len(values))
        total += [values[rng.integers(0, len(values), len(values))].sum() for _ in range(count)]
    return total / len(contributions)


@pytest.mark.parametrize("kept", [0, 100, 2**20])
def test_replicates_are_means_over_resampled_images(kept: int, monkeypatch: pytest.MonkeyPatch):
    """Whether the draws are kept, dropped for others, or never fit."""
    monkeypatch.setattr(intervals, "_KEPT", kept)
    monkeypatch.setattr(intervals, "_AT_ONCE", 64)
    monkeypatch.setattr(intervals, "_IN_CACHE", 50)
    resampling, rng = Resampling(40), np.random.default_rng(0)
    for n in (300, 300, 60):
        labels, values = rng.integers(0, 3, n), rng.normal(size=n)
        labels[0] = 9  # a class of one image
        for key in (1, 5):
            expected = one_by_one(values, labels, key, 40)
            np.testing.assert_allclose(resampling.replicates(values, labels, key), expected, rtol=1e-12, atol=1e-15)
    with pytest.raises(ValueError, match="nothing to resample"):
        resampling.replicates(np.empty(0), np.empty(0, dtype=np.int64), 1)
