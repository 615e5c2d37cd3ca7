"""Which class each label of an npz stands for, the size that images are compared at, and statistics of other tools."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.errors import DataError
from taildiff.evaluation.checks import few_images
from taildiff.evaluation.image_arrays import read_images, refuse_other_order
from taildiff.evaluation.image_sources import (
    ImageSource,
    open_images,
    open_reference,
    open_unmatched,
    read_statistics,
    to_store,
)
from taildiff.evaluation.table import Row
from taildiff.spec import parse

PETS = ("cat", "dog", "owl")


def save(path: Path, size: tuple[int, int] = (8, 8), value: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def folder(root: Path, names: tuple[str, ...] = PETS, size: tuple[int, int] = (8, 8), count: int = 3) -> Path:
    for name in names:
        for i in range(count):
            save(root / name / f"{i}.png", size, 10 * i)
    return root


def npz(path: Path, labels: list[int], **more: object) -> Path:
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
    np.savez(path, images=images, labels=np.array(labels), **more)  # pyright: ignore[reportArgumentType]
    return path


def opened(path: Path, real: Store) -> ImageSource:
    return open_images(path, real, real.meta.class_names, path.parent / "cache")


def test_numbered_classes_are_matched_by_number_in_any_order(tmp_path: Path):
    """A store of an older version has its classes in the order of text."""
    names = ("0", "1", "10", "11", *"23456789")
    with StoreWriter(tmp_path / "old", "old", names, (8, 8, 1), SourceMeta(source="old")) as writer:
        writer.append(np.zeros((12, 8, 8, 1), np.uint8), np.arange(12), np.zeros(12, np.bool_))
        old = writer.close()
    source = opened(npz(tmp_path / "x.npz", list(range(12))), old)
    assert [names[label] for label in source.labels] == [str(k) for k in range(12)]
    (note,) = (note for note in source.notes if "class_names" in note)
    assert "matched by number: 0 = 0, 1 = 1, 2 = 2" in note
    assert not source.by_position
    padded = opened(folder(tmp_path / "padded", ("02", "11"), count=1), old)
    assert [names[label] for label in padded.labels] == ["2", "11"]
    with pytest.raises(DataError, match=r"its label 12 is none of the classes 0, 1, 10.*class_names=\["):
        opened(npz(tmp_path / "y.npz", [0, 12]), old)


def test_named_classes_are_matched_by_order_with_the_mapping_or_refused(tmp_path: Path):
    real, _ = to_store(folder(tmp_path / "real"), tmp_path / "cache")
    source = opened(npz(tmp_path / "x.npz", [2, 1, 0]), real)
    assert source.labels.tolist() == [2, 1, 0]
    assert source.by_position
    assert any("0 = cat, 1 = dog, 2 = owl. If that is wrong, add class_names" in note for note in source.notes)
    named = opened(npz(tmp_path / "named.npz", [0, 1], class_names=np.array(["owl", "cat"])), real)
    assert named.labels.tolist() == [2, 0]
    assert not any("class_names" in note for note in named.notes)
    for labels in ([1, 2, 3], [0, 1], [0, 1, 2, 3], [-1, 0, 1, 2], [0]):
        with pytest.raises(DataError, match=r"has no class_names, and its labels .* unclear; add class_names"):
            opened(npz(tmp_path / "bad.npz", labels), real)
    with pytest.raises(DataError, match=r"labels 0\.\.2, but there are 2 class_names"):
        read_images(npz(tmp_path / "few.npz", [0, 2], class_names=np.array(["cat", "dog"])), PETS)


def test_numbers_among_names_or_twice_are_no_numbers(tmp_path: Path):
    assert read_images(npz(tmp_path / "x.npz", [0, 1, 2]), ("0", "1", "other")).by_position
    assert read_images(npz(tmp_path / "x.npz", [0, 1, 2]), ("1", "01", "2")).by_position


def test_a_reference_without_names_says_what_its_classes_are_called(tmp_path: Path):
    store, notes = open_reference(npz(tmp_path / "x.npz", [0, 1, 2]), tmp_path / "cache")
    assert store.meta.class_names == ("0", "1", "2")
    assert "classes are called by their labels, 0, 1, 2" in notes[0]


def test_labels_in_another_order_than_the_classes_are_refused():
    labels = np.repeat(np.arange(4), 50)
    order = np.array([2, 0, 3, 1])
    with pytest.raises(DataError, match=r"0% of its images in the order of the classes, 100% with 0 = owl, 1 = cat"):
        refuse_other_order("x.npz", order[labels], labels, ("cat", "dog", "owl", "yak"))
    for seed in range(20):
        chance = np.random.default_rng(seed).integers(0, 4, 200)
        refuse_other_order("x.npz", chance, labels, ("cat", "dog", "owl", "yak"))
    refuse_other_order("x.npz", labels, labels, ("cat", "dog", "owl", "yak"))
    refuse_other_order("x.npz", np.zeros_like(labels), labels, ("cat", "dog", "owl", "yak"))


def test_bool_is_black_and_white_and_images_that_look_black_are_reported(tmp_path: Path):
    images = np.zeros((3, 8, 8), np.bool_)
    images[:, :4] = True
    np.savez(tmp_path / "b.npz", images=images, labels=np.arange(3))
    found = read_images(tmp_path / "b.npz", PETS)
    assert (max(block.max() for block in found.blocks()), found.notes) == (255, ())
    np.savez(tmp_path / "u.npz", images=images.astype(np.uint8), labels=np.arange(3))
    assert "largest value is 1 of 255" in read_images(tmp_path / "u.npz", PETS).notes[0]
    np.savez(tmp_path / "d.npz", images=4095 * images.astype(np.uint16), labels=np.arange(3))  # 12 bits of 16
    assert "largest value is 16 of 255" in read_images(tmp_path / "d.npz", PETS).notes[1]


def test_the_size_is_the_commonest_and_hidden_thumbnails_are_no_images(tmp_path: Path):
    real = folder(tmp_path / "real", size=(32, 32))
    save(real / "owl" / "icon.png", (4, 4))
    save(real / "dog" / "pixel.png", (1, 1))
    save(real / "cat" / ".thumbs" / "0.png", (6, 6))
    store, notes = open_reference(real, tmp_path / "cache")
    assert (store.meta.height, store.meta.count) == (32, 11)
    assert "32 pixels per side, the commonest" in notes[0]
    assert "1 to 4 pixels per side were resized to 32" in notes[1]
    source = opened(folder(tmp_path / "made", size=(16, 16)), store)
    assert source.store.meta.height == 32
    assert source.notes[0] == "images are compared at 32x32 pixels, the size of the reference"
    assert "16 pixels per side were resized to 32" in source.notes[1]


def test_links_to_class_folders_are_measured_too(tmp_path: Path):
    real = folder(tmp_path / "real", size=(24, 24))
    (tmp_path / "linked").mkdir()
    for name in PETS:
        (tmp_path / "linked" / name).symlink_to(real / name)
    assert to_store(tmp_path / "linked", tmp_path / "cache")[0].meta.height == 24


def test_a_folder_and_an_npz_are_cropped_alike(tmp_path: Path):
    wide = np.random.default_rng(0).integers(0, 256, (6, 32, 64, 3), np.uint8)
    for i, image in enumerate(wide):
        (tmp_path / "wide" / PETS[i // 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "wide" / PETS[i // 2] / f"{i}.png")
    np.savez(tmp_path / "wide.npz", images=wide, labels=np.arange(6) // 2, class_names=np.array(PETS))
    for size in (None, 32, 16):
        first, second = (to_store(tmp_path / name, tmp_path / "cache", size)[0] for name in ("wide", "wide.npz"))
        np.testing.assert_array_equal(first.images, second.images)


def test_one_class_is_enough_for_images_but_not_for_a_reference(tmp_path: Path):
    real, _ = to_store(folder(tmp_path / "real"), tmp_path / "cache")
    one = folder(tmp_path / "one", ("owl",))
    assert opened(one, real).labels.tolist() == [2, 2, 2]
    save(one / "grid.png")  # as older versions left it
    source = opened(one, real)
    assert source.labels.tolist() == [2, 2, 2]
    assert any("skipped 1 image outside any class folder: 'grid.png'" in note for note in source.notes)
    assert open_unmatched(one, tmp_path / "cache").labels.tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="at least two"):
        open_reference(folder(tmp_path / "alone", ("owl",)), tmp_path / "cache")
    with pytest.raises(DataError, match="only the class 'owl', but a reference needs at least two"):
        open_reference(npz(tmp_path / "x.npz", [0], class_names=np.array(["owl"])), tmp_path / "cache")


def statistics(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    return path


MEAN, COV = np.zeros(3), np.diag([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"sigma": COV.astype(complex)}, "sigma must be real numbers, got complex128"),
        ({"mu": MEAN.astype(complex)}, "mu must be real numbers"),
        ({"sigma": np.where(COV > 2, np.nan, COV)}, "sigma contains NaN"),
        ({"mu": np.array([0, np.inf, 0])}, "mu contains NaN or infinite"),
        ({"sigma": COV + 5 * np.eye(3, k=1)}, "sigma is not symmetric"),
        ({"sigma": COV - 1.5 * np.eye(3)}, r"sigma is indefinite \(eigenvalues from -0.5 to 1.5\)"),
        ({"sigma": -COV}, "sigma has no positive variance"),
        ({"sigma": 0 * COV}, "sigma has no positive variance"),
        ({"sigma": np.ones(3)}, r"sigma \(D, D\), got \(3,\) and \(3,\)"),
        ({"mu": MEAN[None]}, r"got \(1, 3\)"),
        ({"n": np.array(-1)}, "n is -1"),
    ],
)
def test_statistics_that_are_none_are_refused_by_name(tmp_path: Path, arrays: dict[str, object], message: str):
    path = statistics(tmp_path / "s.npz", **({"mu": MEAN, "sigma": COV} | arrays))
    with pytest.raises(DataError, match=message) as error:
        read_statistics(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_statistics_keep_their_rounding(tmp_path: Path, dtype: type[np.floating]):
    features = np.random.default_rng(0).normal(size=(10, 64)).astype(np.float32)  # singular
    cov = np.cov(features, rowvar=False).astype(dtype)
    cov[0, 1] += np.finfo(dtype).eps * cov[0, 0]
    found = read_statistics(statistics(tmp_path / "s.npz", mu=features.mean(0).astype(dtype), sigma=cov))
    assert found is not None
    assert (found.n, found.cov.dtype) == (0, np.float64)


def test_an_unknown_number_of_real_images_is_not_called_few():
    facts = {"run": "x", "step": 0, "metric": "frechet", "group": "all", "value": 1.0, "sampler": "", "steps": 0}
    facts |= {"guidance": None, "ema": False, "seed": None, "definition": "x"}

    def warned(n_real: int, n_generated: int) -> bool:
        return bool(list(few_images([parse(Row, facts | {"n_real": n_real, "n_generated": n_generated})], 64)))

    assert not warned(0, 500)
    assert warned(100, 500)
    assert warned(0, 100)
