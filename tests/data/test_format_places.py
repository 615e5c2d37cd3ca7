"""Places365 and iNaturalist 2018: the trees of their archives, and errors for incomplete ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import sources

from taildiff.data.formats import inaturalist, places
from taildiff.data.formats.inaturalist import find_inaturalist
from taildiff.data.formats.places import find_places
from taildiff.data.formats.published import Dataset
from taildiff.data.longtail import Split
from taildiff.data.prepare import prepare
from taildiff.errors import DataError
from taildiff.spec import DataSpec

PATHS = ("b/bakery/shop", "b/bank_vault", "b/beach", "b/beach_house")
FOLDERS = ("bakery-shop", "bank_vault", "beach", "beach_house")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """As if Places had been published with 4 classes, 8 and 4 images, and iNaturalist with 3, 9 and 3."""
    monkeypatch.setattr(places, "PLACES365", Dataset("places365", "Places365-Standard", 4, 8, 4, "mit.edu", "  train/"))
    short = Dataset("inaturalist2018", "iNaturalist 2018", 3, 9, 3, "github.com", "  train2018.json")
    monkeypatch.setattr(inaturalist, "INATURALIST2018", short)


def fill(root, train, paths, val, flat):
    """Two images per class and one held out; the held-out ones start with the last class if `flat`."""
    for k, path in enumerate(paths):
        for i in range(2):
            sources.jpeg(root / train / path / f"{i + 1:08d}.jpg", k + i)
    for k in range(len(paths)):
        name = f"Places365_val_{k + 1:08d}.jpg"
        sources.jpeg(root / val / (name if flat else f"{paths[-1 - k]}/{name}"), k)
    if flat:
        lines = "".join(f"Places365_val_{k + 1:08d}.jpg {len(paths) - 1 - k}\n" for k in range(len(paths)))
        (root / "places365_val.txt").write_text(lines)
        (root / "categories_places365.txt").write_text("".join(f"/{path} {k}\n" for k, path in enumerate(paths)))
    return root


@pytest.mark.parametrize(
    ("train", "paths", "val", "flat"),
    [
        ("train", FOLDERS, "val", False),
        ("train", PATHS, "val", False),
        ("data_256", PATHS, "val_256", True),
        ("data_large_standard", PATHS, "val_large", True),
        ("places365_standard/train", FOLDERS, "places365_standard/val", False),
    ],
)
def test_places_in_each_tree(tmp_path, train, paths, val, flat):
    source = find_places(fill(tmp_path / "p", train, paths, val, flat)).read()
    assert source.class_names == FOLDERS
    np.testing.assert_array_equal(source.labels, [0, 0, 1, 1, 2, 2, 3, 3, 0, 1, 2, 3])
    np.testing.assert_array_equal(source.test, np.arange(12) >= 8)
    assert source.names is not None
    assert source.names[8].endswith("Places365_val_00000004.jpg")
    assert source.names[0] == f"{train.rpartition('/')[2]}/{paths[0]}/00000001.jpg"
    assert all(isinstance(path, Path) and path.is_file() for path in source.pictures(0))
    assert source.notes == ()


def test_a_list_of_places_lt_names_images_of_the_easy_tree(tmp_path):
    store = prepare(find_places(fill(tmp_path / "p", "train", FOLDERS, "val", False)), tmp_path / "store", 8)
    lines = [f"train/{name}/0000000{1 + k % 2}.jpg {k}" for k, name in enumerate(FOLDERS)]
    (tmp_path / "Places_LT_train.txt").write_text("\n".join(lines))
    split = Split.cut(store, DataSpec(tail="list", list=tmp_path / "Places_LT_train.txt"))
    assert split.counts == (1, 1, 1, 1)


def test_an_incomplete_places(tmp_path):
    root = fill(tmp_path / "p", "data_256", PATHS, "val_256", True)
    names = root / "places365_val.txt"
    good = names.read_text()
    for text, message in (
        (good.replace(".jpg 3", ".jpg 4"), "line 1: class 4, but classes are numbered from 0 to 3"),
        (good + "Places365_val_00000005.jpg 0\n", "which does not exist"),
        (None, r"places365_val\.txt does not exist, and without it(.|\n)*Expected in SOURCE"),
    ):
        names.write_text(text) if text else names.unlink()
        with pytest.raises(DataError, match=message):
            find_places(root)
    names.write_text(good)
    shutil.rmtree(root / "data_256" / "b" / "beach")
    with pytest.raises(DataError, match=r"has no images of 'beach'.*--partial"):
        find_places(root)
    assert find_places(root, partial=True).read().class_names == ("bakery-shop", "bank_vault", "beach_house")
    categories = root / "categories_places365.txt"
    for text, message in (
        ("/b/beach 0\n/b/bakery/shop 1\n", "are numbered in the order of their names, these are not"),
        ("/b/beach 1\n", "line 1: '/b/beach 1' is not `/letter/class 0`"),
        ("/b/beach 0\n", "has images of 'bakery-shop', 'bank_vault', 'beach_house', which"),
    ):
        categories.write_text(text)
        with pytest.raises(DataError, match=message):
            find_places(root, partial=True)
    categories.unlink()
    with pytest.raises(DataError, match="gives classes by number, which needs all 4; the training images have 3"):
        find_places(root)
    shutil.rmtree(root / "data_256")
    with pytest.raises(DataError, match=r"train does not exist(.|\n)*mit\.edu"):
        find_places(root)


def test_inaturalist(tmp_path):
    root = sources.inaturalist(tmp_path / "i")
    store = prepare(find_inaturalist(root), tmp_path / "store", 8)
    assert store.meta.class_names == ("0", "1", "2")
    assert Split.cut(store, DataSpec()).counts == (4, 3, 2)
    assert store.names is not None
    assert store.names[0] == f"train_val2018/Plantae/0/train{0:030d}.jpg"
    assert int(store.test.sum()) == 3
    lines = [
        f"{name} {label}\n" for name, label, test in zip(store.names, store.labels, store.test, strict=True) if not test
    ]
    (tmp_path / "list.txt").write_text("".join(lines[::2]))
    assert Split.cut(store, DataSpec(tail="list", list=tmp_path / "list.txt")).counts == (2, 2, 1)
    (root / "categories.json").write_text(json.dumps([{"id": k, "name": ("oak", "jay", "jay")[k]} for k in range(3)]))
    assert find_inaturalist(root).read().class_names == ("oak", "jay (1)", "jay (2)")


def test_ids_are_ordered_as_numbers(tmp_path):
    root = sources.inaturalist(tmp_path / "i", first=9)
    source = find_inaturalist(root).read()
    assert source.class_names == ("9", "10", "11")
    np.testing.assert_array_equal(np.bincount(source.labels[~source.test]), [4, 3, 2])


def edit(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["annotations"].pop(), "has no annotation"),
        (lambda v: v["annotations"].append(v["annotations"][0]), "image 0 has two annotations"),
        (lambda v: v["annotations"][0].update(category_id=7), "has the category 7, which is not among its categories"),
        (lambda v: v["annotations"][0].update(category_id="0"), "in COCO format"),
        (
            lambda v: v["images"][0].update(file_name="gone.jpg"),
            r"names 'gone\.jpg', which does not exist in .*--partial",
        ),
        (lambda v: v["images"][0].update(file_name="../x.jpg"), r"'\.\./x\.jpg' is not a path below"),
        (lambda v: v["images"][0].update(file_name=v["images"][1]["file_name"]), "occurs twice"),
        (lambda v: v["images"][0].update(file_name=3), "or no file name"),
        (lambda v: v.pop("images"), r"in COCO format \(KeyError"),
        (lambda v: v["categories"].clear(), "has the category 2, which is not among"),
        (lambda v: (v["images"].pop(), v["annotations"].pop(0)), "has 3 classes, 8 training and"),
    ],
)
def test_wrong_annotations(tmp_path, change, message):
    root = sources.inaturalist(tmp_path / "i")
    edit(root / "train2018.json", change)
    with pytest.raises(DataError, match=message):
        find_inaturalist(root)


def test_an_incomplete_inaturalist(tmp_path):
    root = sources.inaturalist(tmp_path / "i")
    (root / "train_val2018" / "Plantae").rename(tmp_path / "Plantae")
    with pytest.raises(DataError, match=r"names 'train_val2018/Plantae/0/.*do not exist in.*--partial"):
        find_inaturalist(root)
    found = find_inaturalist(root, partial=True).read()
    assert found.class_names == ("1", "2")
    assert len(found.notes) == 3
    (root / "categories.json").write_text("{}")
    with pytest.raises(DataError, match=r"categories\.json is not a list of categories"):
        find_inaturalist(root, partial=True)
    (root / "val2018.json").write_text("[1")
    with pytest.raises(DataError, match=r"val2018\.json is not readable JSON.*unpack it again"):
        find_inaturalist(root, partial=True)
    (root / "val2018.json").unlink()
    (root / "categories.json").unlink()
    with pytest.raises(DataError, match=r"val2018\.json does not exist(.|\n)*github\.com"):
        find_inaturalist(root)
    assert not find_inaturalist(root, partial=True).read().test.any()
