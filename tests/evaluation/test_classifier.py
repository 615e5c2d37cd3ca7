"""The classifier of the dataset: knows it, is the same each time, and is never taken from a damaged file."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evaluation.tiny import images, make_store
from taildiff.errors import DataError
from taildiff.evaluation import classifier_network
from taildiff.evaluation.classifier import ClassifierAccuracy, DomainClassifier, domain_classifier, domain_hash
from taildiff.evaluation.images import ConcatenatedImages, Images, SelectedImages


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (40, 40))
    monkeypatch.setattr(classifier_network, "_BATCH", 32)


def test_it_knows_the_images_and_their_classes(tmp_path: Path):
    store = make_store(tmp_path / "store", (60, 60, 60), (10, 20, 10))
    classifier = domain_classifier(store)
    assert classifier.accuracy.kind == "test"
    assert classifier.accuracy.total == (10, 20, 10)
    assert sum(classifier.accuracy.correct) >= 38
    features = classifier.features(store.images)
    assert features.shape == (len(store.images), classifier.dim)
    assert features.dtype == np.float32
    assert (classifier.predict(features) == store.labels).mean() > 0.95
    np.testing.assert_allclose(classifier.features(store.images[7:9]), features[7:9], rtol=1e-4, atol=1e-5)


def test_trained_once_then_kept_and_the_same_when_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = make_store(tmp_path / "store", (30, 30, 30), (5, 5, 5))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = domain_classifier(store)
    torch.testing.assert_close(torch.get_rng_state(), before)
    (kept,) = store.cache_dir.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(classifier_network, "train", None)  # it would fail if it were called
        again = domain_classifier(store)
    kept.unlink()
    torch.manual_seed(6)
    anew = domain_classifier(store)
    expected = first.features(store.images)
    for other in (again, anew):
        np.testing.assert_array_equal(other.features(store.images), expected)
        assert other.accuracy == first.accuracy
        assert not other.notes


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "foreign"])
def test_a_damaged_cache_is_replaced_with_a_note(tmp_path: Path, damage: str):
    store = make_store(tmp_path / "store", (30, 30, 30), (5, 5, 5))
    good = domain_classifier(store).features(store.images)
    (kept,) = store.cache_dir.iterdir()
    data = bytearray(kept.read_bytes())
    data[-100] ^= 64  # a parameter, well past the header
    kept.write_bytes({"cut": data[:-50], "flip": data, "empty": b"", "foreign": b"PK" + bytes(100)}[damage])
    classifier = domain_classifier(store)
    assert "damaged" in classifier.notes[0]
    np.testing.assert_array_equal(classifier.features(store.images), good)
    assert not domain_classifier(store).notes


def test_without_a_test_column_each_image_is_predicted_by_a_network_that_never_saw_it(tmp_path: Path):
    store = make_store(tmp_path / "store", (60, 20, 1))
    classifier = domain_classifier(store)
    assert classifier.accuracy.kind == "cross-fitted"
    assert classifier.accuracy.total == (60, 20, 0)  # of the last class no other image can be learnt from
    assert classifier.accuracy.correct[1] >= 16  # rare classes are drawn as often as common ones
    assert classifier.accuracy.correct[2] == 0  # its only image was never among those trained on


def test_folds_spread_every_class():
    labels = np.repeat([0, 1, 2], [30, 7, 1])
    fold = classifier_network.folds(labels, 0)
    for label in range(3):
        sizes = np.bincount(fold[labels == label], minlength=3)
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 12, 3), (28, 28, 1), (65, 64, 3), (256, 256, 3)])
def test_any_size_and_colour(shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (1, 1))
    monkeypatch.setattr(classifier_network, "_BATCH", 4)
    pictures = np.random.default_rng(0).integers(0, 256, (6, *shape), dtype=np.uint8)
    net = classifier_network.network(shape[2], 3, 0)
    classifier_network.train(net, pictures, np.arange(6) % 3, np.arange(6), 0)
    assert classifier_network.predict(net, pictures, np.arange(5)).shape == (5,)
    assert net.body(classifier_network.to_tensor(pictures, "cpu")).shape == (6, classifier_network.DIM)


def test_shifts_keep_the_image_and_only_colour_is_mirrored():
    ramp = np.broadcast_to(np.arange(28, dtype=np.uint8)[None, None, :, None], (200, 28, 28, 1))
    grey = classifier_network._augment(ramp, np.random.default_rng(0)).astype(int)
    assert (np.diff(grey, axis=2) >= 0).all()
    assert set(np.unique(grey[:, 0, 14, 0])) == {12, 13, 14, 15, 16}
    colour = classifier_network._augment(np.repeat(ramp, 3, axis=3), np.random.default_rng(0)).astype(int)
    falling = (np.diff(colour, axis=2) <= 0).all(axis=(1, 2, 3))
    assert 70 < falling.sum() < 130


def test_a_class_without_training_images_is_named(tmp_path: Path):
    store = make_store(tmp_path / "store", (30, 30, 0), (5, 5, 5))
    with pytest.raises(DataError, match="no training images of top"):
        domain_classifier(store)


def test_a_folder_that_cannot_be_written_is_only_a_note(tmp_path: Path):
    store = make_store(tmp_path / "store", (30, 30, 30), (5, 5, 5))
    store.cache_dir.write_text("in the way")
    classifier = domain_classifier(store)
    assert "could not be cached" in classifier.notes[0]
    assert sum(classifier.accuracy.correct) > 12


def test_the_hash_covers_images_and_seed():
    assert len({domain_hash("a"), domain_hash("b"), domain_hash("a", seed=1)}) == 3
    assert images((1, 2, 3))[1].tolist() == [0, 1, 1, 2, 2, 2]


def test_real_images_are_read_a_slice_at_a_time():
    class Spy(SelectedImages):
        slices: ClassVar[list[int]] = []

        def __getitem__(self, rows: slice, /) -> Images:
            images = super().__getitem__(rows)
            self.slices.append(len(images))
            return images

    pictures, _ = images((300, 200, 100), seed=1)
    index = np.random.default_rng(0).permutation(600)[:520]
    net = classifier_network.network(1, 3, 0).eval()
    classifier = DomainClassifier(net, "hash", ClassifierAccuracy("test", (), ()))
    np.testing.assert_array_equal(classifier.features(Spy(pictures, index)), classifier.features(pictures[index]))
    assert Spy.slices == [256, 256, 8]


@given(sizes=st.tuples(st.integers(1, 6), st.integers(1, 6)), seed=st.integers(0, 99))
def test_joined_images_are_those_of_one_array(sizes, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.integers(0, 256, (n, 3, 2, 1), dtype=np.uint8) for n in sizes]
    whole = np.concatenate(parts)
    joined = ConcatenatedImages(SelectedImages(parts[0], np.arange(sizes[0])), parts[1])
    assert (len(joined), joined.shape) == (len(whole), whole.shape)
    rows = rng.integers(0, len(whole), 5)
    np.testing.assert_array_equal(joined[rows], whole[rows])
    part = slice(int(rows[0]), int(rows[1]))
    np.testing.assert_array_equal(joined[part], whole[part])
