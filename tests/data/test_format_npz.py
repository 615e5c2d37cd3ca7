"""npz: the layouts in use, and files that are rejected by name."""

import io
import mmap
import struct
import tempfile
import zipfile

import numpy as np
import pytest
import sources

from taildiff.data.formats.npz import find_npz
from taildiff.data.prepare import prepare
from taildiff.errors import DataError

IMAGES, LABELS = sources.pixels(12, 8, 6, 3), np.arange(12) % 3


def save(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_images_and_labels(tmp_path, channels):
    images = sources.pixels(12, 8, 8, *channels)
    names, test = np.array(["c", "a", "b"]), np.arange(12) >= 9
    place = save(tmp_path / "a.npz", images=images, labels=LABELS[:, None], test=test, class_names=names)
    store = prepare(find_npz(place), tmp_path / "store")
    assert store.meta.class_names == ("c", "a", "b")
    np.testing.assert_array_equal(store.images.reshape(images.shape), images)
    np.testing.assert_array_equal(store.labels, LABELS)
    np.testing.assert_array_equal(store.test, test)
    assert (store.meta.name, store.meta.channels) == ("a", 3 if channels == (3,) else 1)


def test_names_of_keras_and_medmnist(tmp_path):
    keras = save(tmp_path / "k.npz", x_train=IMAGES[:9], y_train=LABELS[:9], x_test=IMAGES[9:], y_test=LABELS[9:])
    med = save(
        tmp_path / "m.npz",
        **{"train_images": IMAGES[:5], "train_labels": LABELS[:5, None], "val_images": IMAGES[5:9]},
        **{"val_labels": LABELS[5:9, None], "test_images": IMAGES[9:], "test_labels": LABELS[9:, None]},
    )
    stores = [prepare(find_npz(place), tmp_path / place.stem) for place in (keras, med)]
    np.testing.assert_array_equal(stores[0].images, stores[1].images)
    np.testing.assert_array_equal(stores[0].test, np.arange(12) >= 9)
    np.testing.assert_array_equal(stores[1].test, np.arange(12) >= 5)  # val is held out, as everywhere
    assert [store.meta.source.options for store in stores] == ["size=6", "size=6 held-out=val_images,test_images"]
    assert stores[0].meta.shape == (12, 6, 6, 3)  # the middle square
    np.testing.assert_array_equal(stores[0].images, IMAGES[:, 1:7])


def test_reading_may_begin_anywhere_and_labels_need_not_begin_at_0(tmp_path):
    source = find_npz(save(tmp_path / "a.npz", images=IMAGES, labels=LABELS * 10 + 5)).read()
    assert source.class_names == ("5", "15", "25")
    for start in range(13):
        np.testing.assert_array_equal(np.array(list(source.pictures(start))).reshape(-1, 8, 6, 3), IMAGES[start:])


def test_columns_first_are_read_too(tmp_path):
    place = save(tmp_path / "a.npz", images=np.asfortranarray(IMAGES), labels=LABELS)
    np.testing.assert_array_equal(np.array(list(find_npz(place).read().pictures(0))), IMAGES)


def test_images_are_mapped_from_a_file_that_is_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    source = find_npz(save(tmp_path / "a.npz", images=IMAGES, labels=LABELS)).read()
    pictures = source.pictures(3)
    base = next(pictures)
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert isinstance(base, mmap.mmap)
    assert not list((tmp_path / "temporary").iterdir())
    free = type("Usage", (), {"free": 9})()
    monkeypatch.setattr("taildiff.io.npz.shutil.disk_usage", lambda _: free)
    with pytest.raises(DataError, match=r"a\.npz: array `images` needs 0\.0 GB in .*temporary, .*set TMPDIR"):
        next(source.pictures(0))


def bomb(path):
    """4 GB in some hundred bytes: the header says so, and the archive agrees."""
    header, claimed = io.BytesIO(), 2**32 - 1
    layout = {"descr": "|u1", "fortran_order": False, "shape": (claimed - 128, 1, 1)}
    np.lib.format.write_array_header_1_0(header, layout)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header.getvalue())
        labels = io.BytesIO()
        np.save(labels, np.zeros(10, np.uint8))
        archive.writestr("labels.npy", labels.getvalue())
    actual = struct.pack("<I", len(header.getvalue()))
    path.write_bytes(path.read_bytes().replace(actual, struct.pack("<I", claimed)))


WRONG = {
    "floats": (
        {"images": IMAGES / 255.0, "labels": LABELS},
        "array `images` is float64; images must be uint8, uint16 or bool",
    ),
    "channels first": ({"images": IMAGES.transpose(0, 3, 1, 2), "labels": LABELS}, "channels come last"),
    "flat": ({"images": IMAGES.reshape(12, -1), "labels": LABELS}, r"has the shape \(12, 144\)"),
    "no labels": ({"images": IMAGES}, "no array `labels`; it has `images`"),
    "other names": ({"x": IMAGES}, "no arrays `images` and `labels` or .*it has `x`"),
    "fewer labels": ({"images": IMAGES, "labels": LABELS[1:]}, r"`labels` has the shape \(11,\), but there are 12"),
    "float labels": ({"images": IMAGES, "labels": LABELS / 1}, "is float64; labels must be integers"),
    "pickled": (
        {"images": IMAGES, "labels": np.array([None] * 12)},
        "`labels` cannot be read: labels.npy announces ob",
    ),
    "test": ({"images": IMAGES, "labels": LABELS, "test": LABELS}, "array `test` must be one bool per image"),
    "names": ({"images": IMAGES, "labels": LABELS, "class_names": LABELS}, "`class_names` must be one text per class"),
    "few names": ({"images": IMAGES, "labels": LABELS, "class_names": np.array(["a", "b"])}, r"labels 0\.\.2, but"),
    "parts": (
        {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, 1:], "y_test": LABELS},
        "different shapes",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named(tmp_path, name):
    arrays, message = WRONG[name]
    with pytest.raises(DataError, match=message):
        prepare(find_npz(save(tmp_path / "a.npz", **arrays)), tmp_path / "store", 8)
    assert not (tmp_path / "store").exists()


def test_bombs_and_damage(tmp_path):
    place = tmp_path / "a.npz"
    bomb(place)
    with pytest.raises(DataError, match=r"`images` cannot be read: .* would unpack to 4,294,967,167: a zip bomb"):
        find_npz(place)
    save(place, images=IMAGES, labels=LABELS)
    whole = place.read_bytes()
    place.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="is damaged or not an npz file"):
        find_npz(place)
    broken = bytearray(whole)
    broken[300] ^= 255  # within the images
    place.write_bytes(broken)
    with pytest.raises(DataError, match="array `images` cannot be read"):
        prepare(find_npz(place), tmp_path / "store", 8)
    place.write_text("hello")
    with pytest.raises(DataError, match="or not an npz file: File is not a zip file"):
        find_npz(place)
    with pytest.raises(DataError, match="is a folder"):
        find_npz(tmp_path)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("pairs", "held_out"),
    [
        ((("x_test", "y_test"), ("x_train", "y_train"), ("x_val", "y_val")), 8),
        ((("X_train", "Y_train"), ("X_valid", "Y_valid")), 4),
        ((("images", "labels"), ("val_images", "val_labels")), 4),
        ((("train_images", "train_labels"), ("dev_images", "dev_labels")), 4),
    ],
)
def test_no_part_is_lost(tmp_path, pairs, held_out):
    arrays = {name: array for pair in pairs for name, array in zip(pair, (IMAGES[:4], LABELS[:4]), strict=True)}
    place = save(tmp_path / "a.npz", **arrays, x_mean=np.zeros(3))
    source = find_npz(place).read()
    np.testing.assert_array_equal(source.test, np.arange(len(pairs) * 4) >= len(pairs) * 4 - held_out)


def test_parts_of_other_names_are_refused(tmp_path):
    place = save(tmp_path / "a.npz", x_train=IMAGES, y_train=LABELS, x_extra=IMAGES, y_extra=LABELS)
    with pytest.raises(DataError, match="`x_extra` and `y_extra` are of no part called train, val or test; rename"):
        find_npz(place)
