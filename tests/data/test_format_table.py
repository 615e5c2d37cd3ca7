"""CSV and list files: the images that they list, and the number of every wrong line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taildiff.data.formats.table import find_csv, find_list
from taildiff.data.images import decode
from taildiff.data.prepare import prepare
from taildiff.errors import DataError


@pytest.fixture
def photos(tmp_path):
    """a.png, b c.png and sub/d.png … in one folder."""
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    for k, name in enumerate(("a.png", "b c.png", "sub/d.png", "sub/e.png", "f.png")):
        Image.fromarray(np.full((8, 8, 3), 10 * k, np.uint8)).save(root / name)
    return root


def table(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_csv(photos, tmp_path):
    text = '\ufeffLabel,id,path,Split\ndog,1,sub/e.png,test\ncat,2,"b c.png",train\ndog,3,./a.png,\n'
    text = text.replace(",\n", ",train\n") + "\ncat,4,sub\\d.png,TEST\n"
    place = table(photos / "all.csv", text)
    store = prepare(find_csv(place), tmp_path / "store", 8)
    assert store.meta.class_names == ("cat", "dog")
    assert store.names == ("b c.png", "a.png", "sub/e.png", "sub/d.png")
    np.testing.assert_array_equal(store.labels, [0, 1, 1, 0])
    np.testing.assert_array_equal(store.test, [False, False, True, True])
    np.testing.assert_array_equal(store.images[0], decode(photos / "b c.png", 8, 3))
    place.write_text(text.replace("dog,3", "cat,3"))
    with pytest.raises(DataError, match=r"was prepared before .* changed; give --overwrite"):
        prepare(find_csv(place), tmp_path / "store", 8)


def test_numbers_are_sorted_as_numbers_and_the_root_may_be_elsewhere(photos, tmp_path):
    place = table(tmp_path / "all.csv", "path,label\na.png,10\nf.png,9\nsub/d.png,2\n")
    source = find_csv(place, photos).read()
    assert source.class_names == ("2", "9", "10")
    np.testing.assert_array_equal(source.labels, [2, 1, 0])
    assert list(source.pictures(1)) == [photos / "f.png", photos / "sub" / "d.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line must name the columns"),
        ("a.png,cat\n", "first line must name the columns"),
        ("path,label\n", "lists no images"),
        ("path,label\na.png,cat,3\n", "line 2: 3 fields instead of 2"),
        ("path,label\na.png,\n", "line 2: no label"),
        ("path,label\na.png,cat\n\nx.png,dog\ny.png,dog\n", r"line 4: 'x\.png' does not exist in .* \(and 1 more\)"),
        ("path,label\n../photos/a.png,cat\n", r"line 2: .*leads out of"),
        ("path,label\n/etc/passwd,cat\n", r"line 2: '/etc/passwd' leads out of"),
        ("path,label\n..\\a.png,cat\n", r"line 2: .*leads out of"),
        ("path,label\nsub/../../a.png,cat\n", r"line 2: .*leads out of .*--root FOLDER"),
        ("path;label\na.png;cat\n", "the columns are separated by semicolons; separate them by commas"),
        ('"path";"label"\na.png;cat\n', "the columns are separated by semicolons"),
        ("sep=;\npath;label\na.png;cat\n", "the columns are separated by semicolons"),
        ("Path\tid\tLabel\na.png\t1\tcat\n", "the columns are separated by tabs"),
        ("path|label\na.png|cat\n", "the columns are separated by vertical bars"),
        ("path,label\na.png,cat\n./a.png,dog\n", r"line 3: 'a\.png' already occurs in line 2"),
        ("path,label,split\na.png,cat,x\n", "line 2: split 'x' must be train, val or test"),
        ("path,label\na.png,cat\nf.png,cat\n", "only the class 'cat'"),
        ("path,label,split\na.png,cat,train\nf.png,dog,test\n", "class 'dog' has no training images"),
        ('path,label\na.png,"cat\n', "line 2: unexpected end"),
        ('path,label\na.png,"c\nat"\nf.png,dog\n', r"'c\\nat' is not a printable class name"),
        ("path,label\na\0.png,cat\n", "line 2: .*is not a path|line 2: line contains NUL"),
        (f"path,label\na.png,{'x' * 200_000}\n", "field larger than"),
    ],
)
def test_every_wrong_line_is_named(photos, tmp_path, text, message):
    place = table(photos / "all.csv", text)
    with pytest.raises(DataError, match=message):
        prepare(find_csv(place), tmp_path / "store", 8)
    assert not (tmp_path / "store").exists()


def test_files_that_are_no_text(photos, tmp_path):
    place = photos / "all.csv"
    place.write_bytes(b"path,label\n\xff\xfe\n")
    with pytest.raises(DataError, match="not a text file"):
        find_csv(place)
    with pytest.raises(DataError, match=r"is not a folder; give the one that the paths in .*--root FOLDER"):
        find_csv(table(place, "path,label\na.png,x\n"), tmp_path / "nowhere")


def test_lists(photos, tmp_path):
    train = table(tmp_path / "train.txt", "photos/a.png 7\nphotos/b c.png 3\n\nphotos/sub/d.png\t3\n")
    test = table(tmp_path / "test.txt", "photos/f.png 7\n")
    store = prepare(find_list(train, test), tmp_path / "store", 8)
    assert store.meta.class_names == ("3", "7")
    np.testing.assert_array_equal(store.labels, [1, 0, 0, 1])
    np.testing.assert_array_equal(store.test, [False, False, False, True])
    assert store.names == ("photos/a.png", "photos/b c.png", "photos/sub/d.png", "photos/f.png")
    names = table(tmp_path / "names.txt", "".join(f"n{k}\n" for k in range(8)))
    with pytest.raises(DataError, match="class 'n0' has no training images"):
        prepare(find_list(train, test, names=names), tmp_path / "other", 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a.png\n", r"line 1: 'a\.png' is not `path class_id`"),
        ("a.png 1\nf.png -1\n", "line 2"),
        ("a.png cat\n", "line 1"),
        ("a.png 1.5\n", "line 1"),
        ("a.png,1\n", "line 1: .* must be separated by a space or tab"),
        ("../a.png 1\n", "leads out of"),
    ],
)
def test_every_wrong_line_of_a_list_is_named(photos, text, message):
    with pytest.raises(DataError, match=message):
        find_list(table(photos / "l.txt", text))


def test_paths_inside_the_root_may_be_absolute(photos, tmp_path):
    (tmp_path / "link").symlink_to(photos)
    lines = (photos / "a.png", tmp_path / "link" / "b c.png", "sub/../sub/d.png", photos.resolve() / "sub" / "e.png")
    place = table(tmp_path / "all.csv", "path,label\n" + "".join(f"{path},{k % 2}\n" for k, path in enumerate(lines)))
    for root in (photos, tmp_path / "link"):
        source = find_csv(place, root).read()
        assert source.names == ("a.png", "b c.png", "sub/d.png", "sub/e.png")
        assert all(isinstance(path, Path) and path.is_file() for path in source.pictures(0))
    relative = table(tmp_path / "r.csv", "path,label\na.png,0\nb c.png,1\nsub/d.png,0\nsub/e.png,1\n")
    assert find_csv(place, photos).fingerprint == find_csv(relative, photos).fingerprint
    twice = table(tmp_path / "t.csv", f"path,label\na.png,0\n{photos}/a.png,1\n")
    with pytest.raises(DataError, match=r"line 3: .*already occurs in line 2"):
        find_csv(twice, photos)
    ids = table(tmp_path / "l.txt", f"{photos}/a.png 0\n{photos}/f.png 1\n")
    assert find_list(ids, root=photos).read().names == ("a.png", "f.png")


@pytest.mark.parametrize("split", ["val", "valid", "Validation", "test", "Testing", "dev"])
def test_every_usual_name_of_a_part_is_understood(photos, split):
    place = table(photos / "all.csv", f"path,label,split\na.png,x,Train\nf.png,y,training\nsub/d.png,x,{split}\n")
    np.testing.assert_array_equal(find_csv(place).read().test, [False, False, True])


def test_labels_and_paths_in_two_unicode_forms_are_equal(photos):
    nfc, nfd = "caf\u00e9", "cafe\u0301"
    (photos / "a.png").rename(photos / f"{nfd}.png")
    place = table(photos / "all.csv", f"path,label\n{nfc}.png,{nfc}\nf.png,{nfd}\nsub/d.png,tea\n")
    source = find_csv(place).read()
    assert source.class_names == (nfc, "tea")
    assert source.names is not None
    assert source.names[0] == f"{nfd}.png"
    np.testing.assert_array_equal(source.labels, [0, 0, 1])


def test_suspicious_labels_are_reported(photos, tmp_path):
    place = table(photos / "all.csv", "path,label\na.png,1\nf.png,1.0\nsub/d.png,nan\nsub/e.png,-1\n")
    store = prepare(find_csv(place), tmp_path / "store", 8)
    assert store.meta.class_names == ("-1", "1", "1.0", "nan")
    assert store.meta.notes == (
        "classes whose names differ only in how they are written: '1' and '1.0'; if they are one class, give them one "
        "name",
        "the class '-1' (1 images) looks like a missing label; if it is one, remove its images",
        "the class 'nan' (1 images) looks like a missing label; if it is one, remove its images",
    )
