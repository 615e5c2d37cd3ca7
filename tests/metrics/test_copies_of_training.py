"""Copies of training images are named with what they copy; new images are not copies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taildiff.errors import InputError
from taildiff.metrics import CopyRule
from taildiff.metrics.copies import FEWEST

RNG = np.random.default_rng(0)
SIZES = (300, 60, 8)
SPREAD = (1.0, 4.0, 20.0)
"""Classes of many dense and few scattered images."""


def draw(sizes: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    points = 1e3 + 200 * labels[:, None] + rng.normal(size=(len(labels), 12)) * np.array(SPREAD)[labels, None]
    return points, labels


TRAIN, LABELS = draw(SIZES, 1)
HOLDOUT, HOLDOUT_LABELS = draw((75, 15, 2), 2)
NEW, NEW_LABELS = draw((400, 400, 400), 3)


@pytest.mark.parametrize("holdout", [True, False])
def test_all_24_copies_of_8_images_are_named_and_hardly_a_new_one(holdout: bool):
    rule = CopyRule.fit(TRAIN, LABELS, *((HOLDOUT, HOLDOUT_LABELS) if holdout else ()))
    assert rule.real.tolist() == ([75, 15, 2] if holdout else list(SIZES))
    few = np.flatnonzero(LABELS == 2)
    planted = np.repeat(TRAIN[few], 3, axis=0) + RNG.normal(size=(24, 12)) * np.array([0, 0.05, 0.5] * 8)[:, None]
    found = rule.measure(planted, np.full(24, 2))
    assert found.copied.all()
    np.testing.assert_array_equal(found.nearest, np.repeat(few, 3))
    assert (found.distance[::3] == 0).all()
    new = rule.measure(NEW, NEW_LABELS).copied
    assert [new[label == NEW_LABELS].mean() <= 0.05 for label in range(3)] == [True] * 3


def test_a_mirrored_copy_is_a_copy_where_mirror_images_are_given():
    turned = TRAIN[:, ::-1]
    plain = CopyRule.fit(TRAIN, LABELS).measure(turned[:5], LABELS[:5])
    both = CopyRule.fit(TRAIN, LABELS, mirrored=turned).measure(turned[:5], LABELS[:5])
    assert not plain.copied.any()
    assert both.copied.all()
    np.testing.assert_array_equal(both.nearest, np.arange(5))


def test_exact_copies_among_real_images_do_not_count():
    doubled, twice = np.tile(TRAIN, (3, 1)), np.tile(LABELS, 3)
    clean, oversampled = CopyRule.fit(TRAIN, LABELS), CopyRule.fit(doubled, twice)
    assert oversampled.threshold == pytest.approx(clean.threshold)
    np.testing.assert_allclose(oversampled.scale, clean.scale)
    leaking = CopyRule.fit(
        TRAIN, LABELS, np.concatenate([TRAIN[:9], HOLDOUT]), np.concatenate([LABELS[:9], HOLDOUT_LABELS])
    )
    assert leaking.threshold == CopyRule.fit(TRAIN, LABELS, HOLDOUT, HOLDOUT_LABELS).threshold > 0
    few = CopyRule.fit(TRAIN, LABELS, HOLDOUT[: FEWEST - 1], HOLDOUT_LABELS[: FEWEST - 1])
    assert few.threshold == clean.threshold
    assert few.known_from == "training images, each left out"


def test_a_class_of_one_image_has_a_scale():
    rule = CopyRule.fit(TRAIN[:301], LABELS[:301])
    assert rule.real.tolist() == [300, 1]
    assert rule.scale[1] > 0
    assert rule.measure(TRAIN[300:301] + 1e-3, LABELS[300:301]).copied.all()


def test_images_that_are_all_equal_have_no_threshold():
    rule = CopyRule.fit(np.ones((4, 3)), np.array([0, 0, 1, 1]))
    assert np.isnan(rule.threshold)
    assert not rule.measure(np.ones((1, 3)), np.array([0])).copied.any()


@settings(max_examples=12)
@given(st.integers(0, 2**31), st.integers(2, 40), st.integers(1, 30), st.integers(1, 9))
def test_blocks_give_the_definition(seed: int, n: int, m: int, block: int):
    rng = np.random.default_rng(seed)
    train, generated = (rng.integers(0, 4, (size, 3)).astype(np.float32) for size in (n, m))
    labels, own = rng.integers(0, 3, n), rng.integers(0, 3, m)
    labels[0] = 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taildiff.metrics.copies._BLOCK", block)
        rule = CopyRule.fit(train, labels)
        found = rule.measure(generated, own)
    far = np.linalg.norm(generated[:, None] - train[None], axis=2)
    np.testing.assert_allclose(found.distance, far.min(axis=1), atol=1e-6)
    np.testing.assert_allclose(far[np.arange(m), found.nearest], found.distance, atol=1e-6)
    apart = np.linalg.norm(train[:, None] - train[None], axis=2)
    apart[apart == 0] = np.inf
    different = np.sort(np.unique(train, axis=0, return_index=True)[1])
    for label in np.unique(labels[different]):
        alone = apart[different[labels[different] == label]].min(axis=1)
        if len(different) > 1:
            assert rule.scale[label] == pytest.approx(np.median(alone), rel=1e-5)


def test_unusable_features_are_refused():
    with pytest.raises(InputError, match="training features have 12 dimensions, hold-out ones 3"):
        CopyRule.fit(TRAIN, LABELS, HOLDOUT[:, :3], HOLDOUT_LABELS)
    with pytest.raises(InputError, match="at least 2 training features"):
        CopyRule.fit(TRAIN[:1], LABELS[:1])
    with pytest.raises(InputError, match="label 3 of a generated image"):
        CopyRule.fit(TRAIN, LABELS).measure(NEW[:1], np.array([3]))
