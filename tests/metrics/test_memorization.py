"""Copies of training images are found, new images are not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taildiff.errors import InputError
from taildiff.metrics import memorization

RNG = np.random.default_rng(0)
TRAIN, HOLDOUT, NEW = (1e3 + RNG.normal(size=(n, 8)) for n in (300, 200, 400))


def test_copies_are_found_with_what_they_copy():
    mixed = NEW.copy()
    mixed[:100] = TRAIN[:100]
    mixed[100:200] = TRAIN[100:200] + 1e-3  # all but copies
    result = memorization(mixed, TRAIN, HOLDOUT)
    assert result.copied == pytest.approx(0.5, abs=0.01)
    np.testing.assert_array_equal(result.nearest[:200], np.arange(200))
    assert (result.generated[:100] == 0).all()
    np.testing.assert_allclose(result.generated[100:200], 1e-3 * 8**0.5, rtol=1e-6)


def test_new_images_are_as_far_away_as_the_holdout():
    result = memorization(torch.from_numpy(NEW), torch.from_numpy(TRAIN), torch.from_numpy(HOLDOUT))
    assert result.copied <= 0.02
    assert result.ratio == pytest.approx(1, abs=0.1)
    assert result.threshold == result.holdout.min() > 0
    copies = memorization(TRAIN + 0.01 * RNG.normal(size=TRAIN.shape), TRAIN, HOLDOUT)
    assert copies.copied == 1
    assert copies.ratio < 0.05


@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 30), st.integers(1, 12), st.booleans())
def test_any_block_size_and_order_gives_the_definition(seed, n, m, chunk, grid):
    rng = np.random.default_rng(seed)
    generated, train, holdout = (rng.normal(size=(size, 3)) for size in (n, m, 5))
    if grid:
        generated, train, holdout = (np.round(x) for x in (generated, train, holdout))
    distances = np.sqrt(((generated[:, None] - train[None]) ** 2).sum(-1))
    order = rng.permutation(n)
    result = memorization(generated[order], rng.permutation(train), holdout, chunk=chunk)
    np.testing.assert_allclose(result.generated, distances.min(axis=1)[order], atol=1e-12)


def test_leaked_holdout_images_are_left_out_of_the_threshold():
    clean = memorization(TRAIN[:50], TRAIN, HOLDOUT)
    leaking = memorization(TRAIN[:50], TRAIN, np.concatenate([TRAIN[:3], HOLDOUT]))
    assert (leaking.threshold, leaking.copied, leaking.ratio) == (clean.threshold, 1.0, clean.ratio)
    assert leaking.leaked.tolist() == [0, 1, 2]
    assert clean.leaked.tolist() == []


def test_a_holdout_inside_the_training_set_gives_no_threshold():
    result = memorization(NEW, TRAIN, TRAIN[:20])
    assert np.isnan([result.threshold, result.copied, result.ratio]).all()
    assert len(result.leaked) == 20


def test_unusable_features_are_refused():
    with pytest.raises(InputError, match="training features have 8 dimensions, hold-out ones 3"):
        memorization(NEW, TRAIN, HOLDOUT[:, :3])
    with pytest.raises(InputError, match="at least 1 hold-out features"):
        memorization(NEW, TRAIN, HOLDOUT[:0])
