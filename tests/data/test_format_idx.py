"""IDX: files are read back, gzipped or not, and each kind of damage is named."""

import gzip

import numpy as np
import pytest
import sources

from taildiff.data.formats.idx import find_idx
from taildiff.data.prepare import prepare
from taildiff.errors import DataError


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_are_read_back(tmp_path, suffix):
    (_, train_labels), (_, test_labels) = sources.mnist(tmp_path / "mnist", 600, suffix=suffix)
    store = prepare(find_idx(tmp_path / "mnist"), tmp_path / "store", 5)
    assert store.meta.shape == (610, 5, 5, 1)
    assert store.meta.class_names == ("0", "1", "2")
    assert store.meta.name == "mnist"
    np.testing.assert_array_equal(store.labels, np.concatenate([train_labels, test_labels]))
    np.testing.assert_array_equal(store.test, np.arange(610) >= 600)
    assert store.names is None


def test_pixels_are_unchanged_at_their_own_size(tmp_path):
    images = sources.pixels(40, 8, 8)
    sources.idx(tmp_path / "m" / "train-images.idx3-ubyte", images)  # as some programs unpack it, and no test part
    sources.idx(tmp_path / "m" / "train-labels.idx1-ubyte", (np.arange(40) % 2).astype(np.uint8))
    found = find_idx(tmp_path / "m")
    assert found.size == 8
    store = prepare(found, tmp_path / "store")
    np.testing.assert_array_equal(store.images[..., 0], images)
    assert not store.test.any()


def test_reading_starts_anywhere(tmp_path):
    (train, _), (test, _) = sources.mnist(tmp_path, 600)
    everything = np.concatenate([train, test])
    source = find_idx(tmp_path).read()
    for start in (0, 1, 255, 256, 599, 600, 605, 610):
        rest = list(source.pictures(start))
        np.testing.assert_array_equal(np.array(rest).reshape(-1, 6, 5), everything[start:])


def test_emnist_is_put_upright_and_its_labels_start_at_one(tmp_path):
    arrays = sources.mnist(tmp_path, lead="emnist-letters-", classes=26, first=1)
    source = find_idx(tmp_path).read()
    assert source.class_names == tuple(str(k) for k in range(1, 27))
    np.testing.assert_array_equal(next(source.pictures(0)), arrays[0][0][0].T)
    assert "upright" in source.notes[0]
    sources.mnist(tmp_path, lead="emnist-digits-")
    with pytest.raises(DataError, match=r"contains several datasets .*'emnist-digits-', 'emnist-letters-'"):
        find_idx(tmp_path)
    one = find_idx(tmp_path / "emnist-digits-train-images-idx3-ubyte.gz")
    assert (one.name, len(one.read().class_names)) == ("emnist-digits", 3)


def test_class_names_from_a_file(tmp_path):
    sources.mnist(tmp_path / "m")
    names = tmp_path / "names.txt"
    names.write_text("T-shirt\nTrouser\nBag\n\n")
    store = prepare(find_idx(tmp_path / "m", names), tmp_path / "store", 8)
    assert store.meta.class_names == ("T-shirt", "Trouser", "Bag")
    names.write_text("T-shirt\nTrouser\n")
    with pytest.raises(DataError, match=r"labels 0\.\.2, but there are 2 class names"):
        prepare(find_idx(tmp_path / "m", names), tmp_path / "other", 8)


def _rewrite(name, change):
    def damage(root):
        path = root / f"{name}.gz"
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))

    return damage


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
DAMAGE = {
    "cut off": (_rewrite(IMAGES, lambda data: data[:-5]), f"{IMAGES}.gz is cut off"),
    "longer": (_rewrite(IMAGES, lambda data: data + b"x"), f"{IMAGES}.gz is longer than its header says"),
    "no header": (_rewrite(IMAGES, lambda data: data[:7]), f"{IMAGES}.gz is cut off"),
    "another magic": (_rewrite(IMAGES, lambda data: b"PK" + data[2:]), "not an IDX file .*50 4b 08 03"),
    "floats": (_rewrite(IMAGES, lambda data: data[:2] + b"\x0d" + data[3:]), "IDX type 0d; convert them to 08"),
    "labels for images": (
        _rewrite(IMAGES, lambda data: data[:3] + b"\1" + data[4:]),
        "has 1 dimensions instead of 3",
    ),
    "huge": (
        _rewrite(IMAGES, lambda data: data[:8] + b"\xff" * 4 + data[12:]),
        r"claims the shape \(.*; it is damaged",
    ),
    "empty": (_rewrite(IMAGES, lambda data: data[:4] + bytes(4) + data[8:]), r"claims the shape \(.*; it is damaged"),
    "fewer labels": (_rewrite(LABELS, lambda data: data[:7] + b"\x1d" + data[8:-1]), "29 labels, .* 30 images"),
    "labels cut off": (_rewrite(LABELS, lambda data: data[:-1]), f"{LABELS}.gz is cut off"),
    "gzip cut off": (lambda root: _cut(root / f"{IMAGES}.gz", 30), "is damaged|is cut off"),
    "no gzip": (lambda root: (root / f"{IMAGES}.gz").write_bytes(b"hello" * 9), "is damaged"),
    "labels missing": (lambda root: (root / f"{LABELS}.gz").unlink(), "no file of training labels"),
    "other sizes": (
        lambda root: sources.idx(root / "t10k-images-idx3-ubyte.gz", sources.pixels(10, 9, 9)),
        "different sizes",
    ),
}


def _cut(path, by):
    path.write_bytes(path.read_bytes()[:-by])


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_nothing_is_written(tmp_path, name):
    sources.mnist(tmp_path / "m")
    damage, message = DAMAGE[name]
    damage(tmp_path / "m")
    with pytest.raises(DataError, match=message):
        prepare(find_idx(tmp_path / "m"), tmp_path / "store", 8)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_other_places(tmp_path):
    with pytest.raises(DataError, match="has no file of training images"):
        find_idx(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="not named like an IDX file"):
        find_idx(tmp_path / "a.txt")
    with pytest.raises(DataError, match="does not exist"):
        find_idx(tmp_path / "b")
