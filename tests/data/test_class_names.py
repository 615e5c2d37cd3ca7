"""Names of classes: equal, ordered, suspicious."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from sources import prepare_folder
from test_listing import put

from taildiff.data.class_names import canonical, in_order, name_notes, position
from taildiff.data.formats.folder import find_folder
from taildiff.data.formats.npz import find_npz
from taildiff.data.prepare import prepare
from taildiff.data.source import classes_by_value
from taildiff.errors import DataError

NFC = "caf\u00e9"
NFD = unicodedata.normalize("NFD", NFC)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("10", "9", "1", "2"), ("1", "2", "9", "10")),
        (("10", "-1", "0", "2.5"), ("-1", "0", "2.5", "10")),
        (("02", "1", "10"), ("1", "02", "10")),
        (("1", "01", "1.0"), ("01", "1", "1.0")),
        (("10", "9", "cat"), ("10", "9", "cat")),
        (("dog", "Cat", "cat"), ("Cat", "cat", "dog")),
        (("1e3", "5"), ("1e3", "5")),
    ],
)
def test_numbers_sort_as_numbers_where_all_are_numbers(names, order):
    assert in_order((*names, names[0])) == order


@pytest.mark.parametrize(
    ("names", "reported"),
    [
        (("cat", "dog"), 0),
        (("Cat", "cat"), 1),
        (("good boy", "Good_Boy", "good-boy "), 1),
        (("1", "01"), 1),
        (("1", "1.0", "2", "02"), 1),
        (("1", "-1"), 1),
        (("nan", "cat", "None", "N/A"), 3),
        (("\uff21", "A"), 1),
        (("a.b", "ab"), 0),
        (("10", "100"), 0),
    ],
)
def test_names_that_are_probably_a_mistake_are_reported(names, reported):
    assert len(name_notes(names)) == reported


def test_names_in_two_unicode_forms_are_equal(tmp_path):
    assert canonical(NFD) == NFC != NFD
    names = {"train": NFC, "test": NFD}
    for part, name in names.items():
        put(tmp_path / "p" / part / name / "1.png")
        put(tmp_path / "p" / part / "tea" / "1.png")
    source = find_folder(tmp_path / "p").read()
    assert source.class_names == (NFC, "tea")
    np.testing.assert_array_equal(source.labels, [0, 1, 0, 1])
    assert all(isinstance(path, Path) and path.is_file() for path in source.pictures(0))
    assert position(("tea", NFD), NFC) == position(("tea", NFC), NFD) == 1
    assert position(("tea", NFC), "coffee") == -1
    ordered, labels = classes_by_value(np.array([NFD, "b", NFC]))
    assert ordered == ("b", NFC)
    np.testing.assert_array_equal(labels, [1, 0, 1])


def test_folders_in_both_forms_are_one_class_and_reported(tmp_path):
    for name in (NFC, NFD, "tea"):
        put(tmp_path / "p" / name / "1.png")
    store = prepare_folder(tmp_path / "p", tmp_path / "store", 8)
    assert store.meta.class_names == (NFC, "tea")
    np.testing.assert_array_equal(store.labels, [0, 0, 1])
    assert "twice, in two Unicode forms; they were taken for one class" in store.meta.notes[0]


def test_class_names_of_an_npz_in_both_forms_are_refused(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        images=np.full((4, 8, 8), 99, np.uint8),
        labels=np.arange(4) % 2,
        class_names=np.array([NFC, NFD]),
    )
    with pytest.raises(DataError, match="two classes are named"):
        prepare(find_npz(tmp_path / "a.npz"), tmp_path / "store")
