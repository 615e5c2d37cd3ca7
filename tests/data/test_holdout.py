"""A share of each class is held out, whole groups of copies on one side."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import taildiff
from taildiff.data.copies import content_of
from taildiff.data.holdout import FEWEST, HoldOut
from taildiff.errors import DataError, InputError


def test_rare_classes_give_one_image_from_five_on():
    assert HoldOut(0.2).wanted([600, 50, 8, 5, 4, 1]) == (120, 10, 2, 1, 0, 0)
    assert HoldOut(0.05).wanted([600, 50, 8, 5, 4, 1]) == (30, 3, 1, 1, 0, 0)
    assert HoldOut(0.99).wanted([5, 1]) == (4, 0)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=60),
    st.floats(0.05, 0.9),
    st.integers(0, 5),
)
def test_copies_are_on_one_side_and_every_class_keeps_an_image(pairs, share, seed):
    content, labels = np.array(pairs).T
    hold = HoldOut(share, seed)
    test = hold.choose_among(content, labels)
    np.testing.assert_array_equal(test, hold.choose_among(content, labels))
    assert not np.isin(content[test], content[~test]).any()
    mixed = {c for c in content.tolist() if len(set(labels[content == c].tolist())) > 1}
    for label in np.unique(labels):
        mine = labels == label
        assert (mine & ~test).any()
        if mine.sum() >= FEWEST and len(set(content[mine].tolist())) > 1 and not mixed:
            assert (mine & test).any()


def test_another_seed_holds_out_others():
    content, labels = np.arange(100), np.repeat([0, 1], 50)
    chosen = [HoldOut(0.2, seed).choose_among(content, labels) for seed in (0, 1)]
    assert [test.sum() for test in chosen] == [20, 20]
    assert (chosen[0] != chosen[1]).any()


def photos(root: Path, counts: dict[str, int], different: int = 99) -> Path:
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for k in range(count):
            pixels = np.random.default_rng([label, k % different]).integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{k}.png")
    return root


def test_prepare_holds_out_and_a_resumed_preparation_holds_out_the_same(tmp_path: Path, monkeypatch):
    source = photos(tmp_path / "photos", {"cat": 40, "dog": 12, "owl": 4}, different=10)
    store = taildiff.prepare("folder", source, out=tmp_path / "a", size=8, hold_out=0.25)
    assert np.bincount(store.labels[store.test], minlength=3).tolist() == [8, 3, 1]
    content = content_of(store.images)
    assert not np.isin(content[store.test], content[~store.test]).any()

    calls = []

    def stop(stage: str, done: int, total: int) -> None:
        calls.append(done)
        if done >= 30 and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            raise KeyboardInterrupt

    monkeypatch.setattr("taildiff.data.prepare._CHUNK", 10)
    monkeypatch.setattr("taildiff.io.resumable_array.SHARD_SECONDS", 0)
    words = {"out": tmp_path / "b", "size": 8, "hold_out": 0.25, "progress": stop}
    with pytest.raises(KeyboardInterrupt):
        taildiff.prepare("folder", source, **words)
    again = taildiff.prepare("folder", source, **words)
    assert again.meta.hash == store.meta.hash
    assert 0 < calls[calls.index(30) + 1] <= 40  # it went on behind the first images


def test_what_cannot_be_held_out_is_refused(tmp_path: Path):
    for part in ("train", "test"):
        photos(tmp_path / "split" / part, {"cat": 5, "dog": 5})
    with pytest.raises(DataError, match="already holds out 10 images"):
        taildiff.prepare("folder", tmp_path / "split", out=tmp_path / "store", hold_out=0.2)
    with pytest.raises(InputError, match="between 0 and 1"):
        taildiff.prepare("folder", tmp_path / "split", out=tmp_path / "store", hold_out=1.0)
    assert not (tmp_path / "store").exists()
