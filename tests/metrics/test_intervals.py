"""Wilson's interval against its defining equation and published values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taildiff.metrics.intervals import Z95, wilson


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
