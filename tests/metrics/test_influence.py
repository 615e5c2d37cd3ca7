"""The influence of an image on a share of neighbourhoods is what leaving its ball, or it, out changes."""

import numpy as np
import pytest

from taildiff.metrics.influence import of_coverage, of_density, of_precision, of_recall
from taildiff.metrics.intervals import widened, wilson
from taildiff.metrics.neighbours import neighbourhoods


@pytest.mark.parametrize("chunk", [7, 1024])
def test_contributions_equal_leaving_one_image_out(chunk: int):
    rng = np.random.default_rng(0)
    real, generated, k = rng.normal(size=(40, 2)), 1.5 * rng.normal(size=(40, 2)), 2
    near = neighbourhoods(real, generated, k, chunk)
    far = np.linalg.norm(real[:, None] - generated[None], axis=2)
    in_real, in_generated = far < radius(real, k)[:, None], far < radius(generated, k)[None]

    def left_out(share, count: int) -> np.ndarray:
        """The change by each image, to first order in its weight, with the mean taken off."""
        everything = np.ones(count, dtype=bool)
        drops = [share(everything) - share(everything & (np.arange(count) != one)) for one in range(count)]
        return count * (np.array(drops) - np.mean(drops))

    def share_of(inside: np.ndarray, axis: int):
        """The share of points of the other side in some ball, by the kept points of this side."""
        return lambda kept: np.compress(kept, inside, axis).any(axis).mean()

    def density(axis: int):
        return lambda kept: np.compress(kept, in_real, axis).sum() / (k * 40)

    for moved, share in (
        (of_recall(near).generated, share_of(in_generated, 1)),
        (of_coverage(near).generated, share_of(in_real, 1)),
        (of_precision(near).real, share_of(in_real, 0)),
        (of_density(near).generated, density(1)),
        (of_density(near).real, density(0)),
    ):
        np.testing.assert_allclose(moved, left_out(share, 40), atol=1e-12)
        assert np.ptp(moved) > 0
    np.testing.assert_array_equal(near.covered, in_real.any(axis=1))


def radius(points: np.ndarray, k: int) -> np.ndarray:
    return np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)[:, k]


def test_an_interval_is_widened_by_independent_errors_as_squares():
    deviations = np.random.default_rng(0).normal(scale=0.04, size=100_000)
    known = wilson(0.5, 100)
    wide = widened(known, 0.5, deviations)
    assert wide.high - 0.5 == pytest.approx(np.hypot(known.high - 0.5, 1.96 * 0.04), rel=0.02)
    alone = widened(wilson(0.0, 50), 0.0, np.zeros(10))  # nothing reached: Wilson's interval stays
    assert (alone.low, alone.high) == pytest.approx((0, wilson(0.0, 50).high))
