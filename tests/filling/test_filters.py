"""Copies are named with what they copy, other classes and repetitions are rejected, thresholds are quantiles."""

from pathlib import Path

import numpy as np
import pytest

from evaluation import tiny
from filling.made import Filling, Guesser
from taildiff.evaluation import classifier_network
from taildiff.evaluation.classifier import domain_classifier
from taildiff.evaluation.copies import CopyFinder
from taildiff.filling.filters import ClassFilter, ClassThresholds, Counts, Filters


@pytest.fixture(scope="module")
def filling(tmp_path_factory: pytest.TempPathFactory) -> Filling:
    return Filling(tmp_path_factory.mktemp("filters"), {"cat": 90, "dog": 30, "owl": 10})


def planted(images: np.ndarray) -> np.ndarray:
    """Three copies of each image: exact; with noise; brighter and mirrored."""
    noise = np.random.default_rng(0).normal(0, 4, images.shape)
    noisy, mirrored = images + noise, 1.05 * images[:, :, ::-1] + 2
    changed = (np.clip(np.rint(part), 0, 255).astype(np.uint8) for part in (noisy, mirrored))
    return np.concatenate([images, *changed])


def test_all_24_copies_of_8_photographs_are_named(filling: Filling, tmp_path: Path):
    job = filling.job(tmp_path / "out")
    few = job.split.index[np.asarray(filling.store.labels)[job.split.index] == 2]
    assert len(few) == 8
    copies = planted(np.asarray(filling.store.images)[few])
    verdicts = ClassFilter(filling.filters(job, least=0), 2).decide(copies, 0, 24)
    assert [verdict.rejected_by[0] for verdict in verdicts] == ["copy"] * 24
    assert [verdict.nearest for verdict in verdicts] == few.tolist() * 3
    assert Counts.of(verdicts, 24, 8).rejected == {"copy": 24, "class": 0, "repeat": 0}
    for label in range(3):
        mine = filling.store.test & (filling.store.labels == label)
        verdicts = ClassFilter(filling.filters(job, least=0), label).decide(filling.store.images[mine], 0, 99)
        assert not any("copy" in verdict.rejected_by for verdict in verdicts)


def test_a_second_like_the_first_is_a_repeat_of_its_rank(filling: Filling, tmp_path: Path):
    new = np.asarray(filling.store.images)[filling.store.test_index][:3]
    verdicts = ClassFilter(filling.filters(filling.job(tmp_path / "out"), least=0), 0).decide(
        np.concatenate([new, new[1:2], np.minimum(new[2:], 250) + 2]), 40, 9
    )
    assert [verdict.rejected_by for verdict in verdicts] == [(), (), (), ("repeat",), ("repeat",)]
    assert [verdict.repeat_of for verdict in verdicts][3:] == [41, 42]
    assert verdicts[0].repeat_ratio is None
    assert verdicts[3].repeat_ratio == 0


def test_deciding_stops_at_what_was_asked_and_does_not_depend_on_parts(filling: Filling, tmp_path: Path):
    filters = filling.filters(filling.job(tmp_path / "out"), least=0.3)
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    whole = ClassFilter(filters, 1).decide(images, 0, 6)
    parts = ClassFilter(filters, 1)
    again = [verdict for start in range(0, 40, 7) for verdict in parts.decide(images[start : start + 7], start, 99)]
    assert sum(verdict.admitted for verdict in whole) == 6
    assert whole[-1].admitted
    assert again[: len(whole)] == whole


def test_thresholds_are_quantiles_of_the_class_or_of_all_together():
    labels = np.repeat([0, 1], [40, 4])
    own = np.linspace(0.1, 0.9, 44)
    probabilities = np.stack([own, own], axis=1).astype(np.float32)
    found = ClassThresholds.from_real(probabilities, labels, 2, "held-out images")
    assert found.pooled.tolist() == [False, True]
    np.testing.assert_allclose(found.least, [np.quantile(own[:40], 0.05), np.quantile(own, 0.05)], rtol=1e-6)


def test_wrong_classes_are_rejected_and_few_real_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (40, 40))
    store = tiny.make_store(tmp_path / "store", (60, 40, 20), (40, 30, 25))
    filters = Filters.of(store, store.train_index, domain_classifier(store))
    new, labels = tiny.images((50, 50, 50), seed=7)
    for label in range(3):
        verdicts = ClassFilter(filters, label).decide(new, 0, 999)
        rejected = np.array(["class" in verdict.rejected_by for verdict in verdicts])
        assert rejected[labels != label].mean() > 0.9
        assert rejected[labels == label].mean() < 0.25


def test_without_held_out_images_thresholds_are_cross_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (6, 6))
    store = tiny.make_store(tmp_path / "store", (24, 9, 1))
    found = ClassThresholds.of(store, Guesser(3))
    assert found.known_from == "cross-fitted training images"
    assert found.pooled.tolist() == [False, True, True]
    with monkeypatch.context() as patch:
        patch.setattr(classifier_network, "cross_fitted", None)  # cached
        np.testing.assert_array_equal(ClassThresholds.of(store, Guesser(3)).least, found.least)
    finder = CopyFinder.of(store, store.train_index)
    assert finder.rule.known_from == "training images, each left out"
    assert finder.measure(store.images[:], np.asarray(store.labels)).copied.all()
