"""Tails, laws and groups against the published rule's golden numbers, and for the cases that rule leaves open."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taildiff.data import longtail
from taildiff.data.longtail import Groups, Split
from taildiff.data.store import SourceMeta, StoreWriter
from taildiff.errors import DataError, SpecError
from taildiff.spec import DataSpec, parse


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
    with pytest.raises(DataError, match="class 3 would keep no image: it has none"):
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


def test_step_counts_equal_those_of_cao():
    """The released loop: n_max for the first half of the classes, int(n_max ratio) for the other."""
    assert longtail.step_counts([5000] * 10, 0.01) == (5000,) * 5 + (50,) * 5
    assert longtail.step_counts([500] * 100, 0.02) == (500,) * 50 + (10,) * 50
    assert longtail.step_counts([90] * 9, 0.1, share=1 / 3) == (90,) * 6 + (9,) * 3


@given(st.lists(st.integers(1, 60), min_size=2, max_size=12), st.floats(1e-3, 1), st.floats(0.01, 0.99))
def test_a_step_has_two_heights(available, ratio, share):
    counts = longtail.step_counts(available, ratio, share, min_per_class=1)
    rare = min(max(int(share * len(available) + 1e-9), 1), len(available) - 1)
    peak = sum(available) / len(available)
    for k, count in enumerate(counts):
        want = peak * ratio if k >= len(available) - rare else peak
        assert count == min(available[k], max(int(want), 1))


def test_a_step_of_a_store(store):
    split = Split.cut(store, DataSpec(tail="step", ratio=0.3, step_share=0.7))
    assert split.counts == (10, 3, 3)
    exp = Split.cut(store, DataSpec(tail="exp", ratio=1))
    assert split.hash != exp.hash
    with pytest.raises(DataError, match=r"class 2 would keep no image: ratio 0\.05 is too small.*min-per-class"):
        Split.cut(store, DataSpec(tail="step", ratio=0.05))
    assert Split.cut(store, DataSpec(tail="step", ratio=0.05, min_per_class=1)).counts == (10, 10, 1)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_step_needs_two_kinds_of_classes(share):
    with pytest.raises(DataError, match="step share"):
        longtail.step_counts([5, 5], 0.5, share)


@pytest.fixture
def named(tmp_path):
    """12 images of 3 classes, the last of each class held out, named a/0.png …"""
    labels = np.repeat(np.arange(3), 4)
    names = tuple(f"{'abc'[label]}/{k % 4}.png" for k, label in enumerate(labels))
    with StoreWriter(tmp_path / "named", "toy", ("a", "b", "c"), (4, 4, 1), SourceMeta(source="test")) as writer:
        writer.append(np.zeros((12, 4, 4, 1), np.uint8), labels, np.arange(12) % 4 == 3, names)
        return writer.close()


def cut_list(store, path, text, **options):
    path.write_text(text)
    return Split.cut(store, DataSpec(tail="list", list=path, **options))


def test_a_list_is_what_is_trained_on(named, tmp_path):
    split = cut_list(named, tmp_path / "l.txt", "b/1.png 1\na/0.png 0\n./a/2.png 0\nc/1.png 2\n")
    np.testing.assert_array_equal(split.index, [0, 2, 5, 9])
    assert split.counts == (2, 1, 1)
    assert split.tail == f"list {tmp_path / 'l.txt'} seed=0 min_per_class=0"


def test_a_list_is_floored_by_choice_of_a_seed(named, tmp_path):
    path, text = tmp_path / "l.txt", "a/0.png 0\na/1.png 0\na/2.png 0\nb/1.png 1\n"
    with pytest.raises(DataError, match=r"l\.txt has no image of class 'c'; add one, or give --data.min-per-class 1"):
        cut_list(named, path, text)
    assert cut_list(named, path, text, min_per_class=1).counts == (3, 1, 1)
    splits = [cut_list(named, path, text, min_per_class=2, tail_seed=seed) for seed in range(9)]
    assert {split.counts for split in splits} == {(3, 2, 2)}
    assert len({split.hash for split in splits}) > 1
    assert all({0, 1, 2, 5} <= set(split.index) and not named.test[split.index].any() for split in splits)
    assert cut_list(named, path, text, min_per_class=9).counts == (3, 3, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x/0.png 0\n", r"line 1: 'x/0\.png' is not in .*named, whose images are named like 'a/0\.png'"),
        ("a/0.png 0\na/3.png 0\n", r"line 2: 'a/3\.png' is held out"),
        ("a/0.png 0\na/0.png 0\n", "line 2: .*is listed twice"),
        ("a/0.png 1\n", "has the class 1, in .* it is 'a'"),
        ("a/0.png 3\n", "has the class 3, in .* it is 'a'"),
        ("a/0.png\n", "is not `path class_id`"),
        ("", "is empty"),
    ],
)
def test_a_list_that_does_not_fit(named, tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        cut_list(named, tmp_path / "l.txt", text)


def test_classes_that_are_numbers_are_meant_by_name(tmp_path):
    """A folder's classes 1, 10, 2 have the labels 0, 1, 2; a list says 10 and means that class."""
    with StoreWriter(tmp_path / "s", "toy", ("1", "10", "2"), (4, 4, 1), SourceMeta(source="test")) as writer:
        writer.append(np.zeros((3, 4, 4, 1), np.uint8), np.arange(3), np.zeros(3, bool), ("1/x", "10/x", "2/x"))
        numbers = writer.close()
    assert cut_list(numbers, tmp_path / "l.txt", "10/x 10\n1/x 1\n2/x 2\n").counts == (1, 1, 1)
    with pytest.raises(DataError, match=r"has the class 1, in .* it is '10'"):
        cut_list(numbers, tmp_path / "l.txt", "10/x 1\n")


def test_a_list_needs_names_and_a_file(store, named, tmp_path):
    with pytest.raises(DataError, match="does not record file names, which a list needs; prepare it from a folder"):
        cut_list(store, tmp_path / "l.txt", "a/0.png 0\n")
    with pytest.raises(DataError, match="nowhere does not exist"):
        Split.cut(named, DataSpec(tail="list", list=tmp_path / "nowhere"))
    for values in ({"tail": "list"}, {"list": "x"}, {"tail": "exp", "list": "x"}):
        with pytest.raises(SpecError, match="need each other"):
            parse(DataSpec, values)


def test_a_natural_tail_without_a_class_is_refused(tmp_path):
    with StoreWriter(tmp_path / "s", "toy", ("a", "b"), (4, 4, 1), SourceMeta(source="test")) as writer:
        writer.append(np.zeros((2, 4, 4, 1), np.uint8), np.arange(2), np.array([False, True]))
        store = writer.close()
    with pytest.raises(DataError, match=r"class 'b' of .* has no training image"):
        Split.cut(store, DataSpec())


def test_a_split_changed_by_hand_is_not_believed(tmp_path, make_store):
    split = Split.cut(make_store(tmp_path / "store"), DataSpec())
    path = tmp_path / "split.json"
    split.save(path)
    path.write_text(path.read_text().replace('"tail": "natural"', '"tail": "exp"'))
    with pytest.raises(DataError, match="is damaged, was changed, or is not a split"):
        Split.load(path)
