"""Tails, laws and groups against the published rule's golden numbers, and for the cases that rule leaves open."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taildiff.data import longtail
from taildiff.data.longtail import Groups, Split
from taildiff.data.store import SourceMeta, StoreWriter
from taildiff.errors import DataError
from taildiff.spec import DataSpec


@pytest.fixture
def store(tmp_path):
    """60 images of 3 classes, 30 of them held out; class names do not sort like their labels."""
    labels = np.tile(np.arange(3), 20)
    with StoreWriter(tmp_path / "store", "toy", ("c", "a", "b"), (4, 4, 1), SourceMeta(source="test")) as writer:
        writer.append(np.zeros((60, 4, 4, 1), np.uint8), labels, np.arange(60) >= 30)
        return writer.close()


@pytest.mark.parametrize(
    ("key", "classes", "each", "ratio", "total"),
    [
        ("counts_cifar10_100", 10, 5000, 0.01, 12406),
        ("counts_cifar10_1000", 10, 5000, 0.001, None),
        ("counts_cifar100_100", 100, 500, 0.01, 10847),
        ("counts_cifar100_50", 100, 500, 0.02, None),
        ("counts_tiny_100", 200, 500, 0.01, 21549),
    ],
)
def test_counts_equal_the_golden_ones(golden, key, classes, each, ratio, total):
    counts = longtail.exponential_counts([each] * classes, ratio)
    np.testing.assert_array_equal(counts, golden("longtail")[key])
    assert total is None or sum(counts) == total


def test_counts_of_the_demo():
    assert longtail.exponential_counts([400] * 10, 0.01) == (400, 239, 143, 86, 51, 30, 18, 11, 6, 4)


def test_index_equals_the_golden_one(golden):
    numbers = golden("longtail")
    index = longtail.exponential(numbers["labels"], ratio=0.05, max_per_class=400)
    np.testing.assert_array_equal(index, numbers["subset_index"])
    np.testing.assert_array_equal(np.bincount(numbers["labels"][index]), numbers["subset_counts"])


def test_seeds_choose_other_images_and_may_be_negative(golden):
    labels = golden("longtail")["labels"]
    cuts = [longtail.exponential(labels, 0.05, seed) for seed in (0, 1, -1)]
    assert len({tuple(cut) for cut in cuts}) == 3
    assert len({tuple(np.bincount(labels[cut])) for cut in cuts}) == 1


@given(
    available=st.lists(st.integers(1, 60), min_size=2, max_size=12),
    ratio=st.floats(1e-3, 1),
    floor=st.integers(1, 9),
)
def test_a_floored_cut_keeps_what_it_promises(available, ratio, floor):
    labels = np.repeat(np.arange(len(available)), available)
    index = longtail.exponential(labels, ratio, min_per_class=floor)
    counts = np.bincount(labels[index], minlength=len(available))
    assert len(set(index)) == len(index)
    assert (np.diff(labels[index]) >= 0).all()  # class after class
    assert (counts >= np.minimum(floor, available)).all()
    assert (counts <= available).all()
    np.testing.assert_array_equal(counts, longtail.exponential_counts(available, ratio, min_per_class=floor))


def test_a_tail_that_empties_a_class_is_refused():
    labels = np.repeat(np.arange(3), 10)
    with pytest.raises(DataError, match=r"class 2 would keep no image: ratio 0\.01 is too small"):
        longtail.exponential(labels, 0.01)
    with pytest.raises(DataError, match="class 3 would keep no image: there is none"):
        longtail.exponential(labels, 0.5, min_per_class=1, classes=4)


@pytest.mark.parametrize("bad", [{"available": [5], "ratio": 0.1}, {"available": [5, 5], "ratio": 0.0}])
def test_meaningless_tails_are_refused(bad):
    with pytest.raises(DataError):
        longtail.exponential_counts(**bad)


def test_class_law_equals_the_golden_one(golden):
    np.testing.assert_allclose(longtail.class_law(10, 0.1), golden("longtail")["brs_class_prob_f0.1_C10"], rtol=1e-12)


def test_class_law_at_its_ends():
    np.testing.assert_allclose(longtail.class_law(4, 1.0), [0.25] * 4)
    np.testing.assert_allclose(longtail.class_law(1, 0.1), [1.0])
    np.testing.assert_allclose(longtail.class_law(2, 0.25), [0.8, 0.2])
    with pytest.raises(DataError):
        longtail.class_law(3, 0.0)


def test_class_law_by_count_ranks_with_ties_by_label():
    law = longtail.class_law_by_count([5, 90, 5, 7], 0.1)
    np.testing.assert_allclose(law[[1, 3, 0, 2]], longtail.class_law(4, 0.1))


def test_split_points_into_the_training_part_of_the_store(store):
    split = Split.cut(store, DataSpec(tail="exp", ratio=0.2))
    assert split.counts == (10, 4, 2)
    assert not store.test[split.index].any()
    np.testing.assert_array_equal(np.bincount(store.labels[split.index]), split.counts)
    whole = Split.cut(store, DataSpec())
    np.testing.assert_array_equal(whole.index, np.arange(30))
    assert len({whole.hash, split.hash, Split.cut(store, DataSpec(tail="exp", ratio=0.2, tail_seed=1)).hash}) == 3


def test_split_survives_saving(store, tmp_path):
    split = Split.cut(store, DataSpec(tail="exp", ratio=0.2))
    split.save(tmp_path / "split.json")
    loaded = Split.load(tmp_path / "split.json")
    np.testing.assert_array_equal(loaded.index, split.index)
    assert loaded.index.dtype == np.int64
    assert (loaded.store_hash, loaded.tail, loaded.counts, loaded.hash) == (
        store.meta.hash,
        "exp ratio=0.2 seed=0 min_per_class=0",
        split.counts,
        split.hash,
    )


@pytest.mark.parametrize("damage", ["missing", "other index", "cut off", "no field", "a list", "text"])
def test_a_damaged_split_is_refused(store, tmp_path, damage):
    path = tmp_path / "split.json"
    Split.cut(store, DataSpec()).save(path)
    values = json.loads(path.read_text())
    match damage:
        case "missing":
            path.unlink()
        case "other index":
            path.write_text(json.dumps(values | {"index": [*values["index"][:-1], 31]}))
        case "cut off":
            path.write_text(path.read_text()[:-40])
        case "no field":
            path.write_text(json.dumps({"index": []}))
        case "a list":
            path.write_text("[1]")
        case "text":
            path.write_text(json.dumps(values | {"index": ["x"]}))
    with pytest.raises(DataError, match=r"split\.json"):
        Split.load(path)


def test_thirds_lose_no_class():
    groups = Groups.thirds([10, 40, 30, 20, 5, 50, 1, 2, 3, 4])
    assert dict(groups) == {"head": (5, 1, 2), "body": (3, 0, 4, 9), "tail": (8, 7, 6)}
    assert [groups.of(label) for label in (5, 9, 6)] == ["head", "body", "tail"]


@given(st.lists(st.integers(0, 200), min_size=2, max_size=40))
def test_groups_hold_each_class_once(counts):
    for groups in (Groups.thirds(counts), Groups.shots(counts)):
        assert sorted(label for _, labels in groups for label in labels) == list(range(len(counts)))
        assert all(groups.labels)
        in_order = [counts[label] for _, labels in groups for label in labels]
        assert in_order == sorted(counts, reverse=True)


def test_two_and_three_classes_have_a_head_and_a_tail():
    assert dict(Groups.thirds([3, 9])) == {"head": (1,), "tail": (0,)}
    assert dict(Groups.thirds([3, 9, 4])) == {"head": (1,), "body": (2,), "tail": (0,)}


def test_shots_at_their_borders():
    groups = Groups.shots([100, 101, 20, 19])
    assert dict(groups) == {"many": (1,), "medium": (0, 2), "few": (3,)}
    with pytest.raises(DataError, match="class 4"):
        groups.of(4)
