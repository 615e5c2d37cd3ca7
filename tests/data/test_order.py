"""The order is a pure function of (seed, step, slot) and follows its law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from taildiff.data.longtail import class_law, class_law_by_count
from taildiff.data.order import Order
from taildiff.errors import DataError

sizes = st.integers(1, 40)


@given(size=sizes, batch=st.integers(1, 60), seed=st.integers(-5, 5))
def test_each_epoch_visits_each_image_once(size, batch, seed):
    order = Order(np.zeros(size, np.int64), seed)
    steps = -(-3 * size // batch)
    drawn = np.concatenate([order.batch(step, batch) for step in range(steps)])
    for epoch in range(3):
        np.testing.assert_array_equal(np.sort(drawn[epoch * size : (epoch + 1) * size]), np.arange(size))


@given(size=sizes, batch=st.integers(1, 9), steps=st.permutations(range(12)), law=st.booleans())
def test_random_access_equals_sequential(size, batch, steps, law):
    labels = np.arange(size) % 3
    weights = class_law(min(size, 3), 0.3) if law else None
    first, second = Order(labels, 7, weights), Order(labels, 7, weights)
    sequential = [first.batch(step, batch) for step in range(12)]
    for step in steps:
        np.testing.assert_array_equal(second.batch(step, batch), sequential[step])
        np.testing.assert_array_equal(second.flips(step, batch), first.flips(step, batch))


@given(small=st.integers(1, 20), more=st.integers(0, 20), step=st.integers(0, 10**6))
def test_by_a_law_a_slot_does_not_depend_on_the_batch_size(small, more, step):
    order = Order(np.arange(30) % 4, 3, class_law(4, 0.1))
    np.testing.assert_array_equal(order.batch(step, small), order.batch(step, small + more)[:small])
    np.testing.assert_array_equal(order.flips(step, small), order.flips(step, small + more)[:small])


def test_epochs_and_seeds_differ():
    labels = np.zeros(50, np.int64)
    order = Order(labels, 0)
    assert (order.batch(0, 50) != order.batch(1, 50)).any()
    assert (order.batch(0, 50) != Order(labels, 1).batch(0, 50)).any()


def test_the_law_and_the_images_within_a_class_are_drawn_right():
    counts = [7, 400, 3, 60]
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), counts))
    law = class_law_by_count(counts, 0.1)
    order = Order(labels, 11, law)
    drawn = np.concatenate([order.batch(step, 500) for step in range(200)])
    classes = np.bincount(labels[drawn], minlength=4)
    assert chisquare(classes, law * len(drawn)).pvalue > 0.001
    for label, count in enumerate(counts):
        within = np.bincount(drawn, minlength=len(labels))[labels == label]
        assert len(within) == count
        assert chisquare(within).pvalue > 0.001


def test_a_class_of_probability_zero_is_never_drawn():
    order = Order(np.array([0, 1, 2, 2]), 0, np.array([0.0, 1.0, 0.0]))
    assert set(order.batch(0, 500)) == {1}


def test_half_of_the_slots_are_mirrored():
    order = Order(np.zeros(1, np.int64), 5)
    share = np.mean([order.flips(step, 100) for step in range(100)])
    assert abs(share - 0.5) < 0.02


@pytest.mark.parametrize(
    ("labels", "law", "message"),
    [
        ([], None, "no images"),
        ([0, 0, 2], [0.5, 0.3, 0.2], "class number 1 has no images"),
        ([0, 1], [0.5, 0.3, 0.2], "class number 2 has no images"),
        ([0, 1, 2], [0.5, 0.5], "2 classes"),
        ([0, 1], [1.5, -0.5], "not negative"),
        ([0, 1], [np.nan, 1.0], "finite"),
        ([0, 1], [0.0, 0.0], "not all zero"),
    ],
)
def test_what_cannot_be_drawn_is_refused(labels, law, message):
    with pytest.raises(DataError, match=message):
        Order(np.array(labels, np.int64), 0, None if law is None else np.array(law))
