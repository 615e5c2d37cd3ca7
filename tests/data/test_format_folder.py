"""Class folders at any depth, and files that are skipped with a note."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sources import prepare_folder

from taildiff.data.formats.folder import find_folder
from taildiff.data.prepare import prepare
from taildiff.data.source import fingerprint
from taildiff.errors import DataError


def files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name, "PNG")
    return root


def test_images_at_any_depth_belong_to_the_top_level_folder(tmp_path):
    root = files(tmp_path / "p", "ant/z.png", "ant/2020/a.png", "ant/2020/may/b.png", "bee/x/y/z/c.png")
    files(root, "ant/.hidden/a.png", "bee/__MACOSX/c.png")
    source = find_folder(root).read()
    assert source.class_names == ("ant", "bee")
    assert source.names is not None
    assert source.names == ("ant/2020/a.png", "ant/2020/may/b.png", "ant/z.png", "bee/x/y/z/c.png")
    np.testing.assert_array_equal(source.labels, [0, 0, 0, 1])
    assert list(source.pictures(2)) == [root / name for name in source.names[2:]]


def test_splits_with_nested_folders(tmp_path):
    root = files(tmp_path / "p", "train/ant/1/a.png", "train/bee/b.png", "test/ant/a.png", "test/bee/2/b.png")
    source = find_folder(root).read()
    assert source.names == ("train/ant/1/a.png", "train/bee/b.png", "test/ant/a.png", "test/bee/2/b.png")
    assert all(isinstance(path, Path) and path.is_file() for path in source.pictures(0))
    np.testing.assert_array_equal(source.test, [False, False, True, True])


def test_links_are_followed_but_not_in_cycles(tmp_path):
    root = files(tmp_path / "p", "ant/a.png", "bee/b.png")
    files(tmp_path / "elsewhere", "c.png")
    (root / "bee" / "more").symlink_to(tmp_path / "elsewhere")
    assert find_folder(root).read().names == ("ant/a.png", "bee/b.png", "bee/more/c.png")
    (root / "bee" / "circle").symlink_to(root / "bee")
    with pytest.raises(DataError, match="bee/circle is a link to a folder above it"):
        find_folder(root)


def test_unsupported_images_are_counted_and_rejected_when_strict(tmp_path):
    root = files(tmp_path / "p", "ant/a.png", "bee/b.png")
    for name in ("ant/x.gif", "ant/deep.GIF", "bee/y.heic", "bee/notes.txt", "bee/Thumbs.db"):
        (root / name).write_text("x")
    store = prepare_folder(root, tmp_path / "store", 8)
    counts = "skipped 2 .gif, 1 .heic: only JPEG, PNG, WebP, TIFF and BMP are supported; convert or remove them"
    assert counts in store.meta.notes
    for out in ("store", "other"):  # an existing store is no excuse
        with pytest.raises(DataError, match=r"skipped 2 \.gif, 1 \.heic.*or prepare without --strict"):
            prepare_folder(root, tmp_path / out, 8, strict=True)


def test_undecodable_names_are_kept_and_line_breaks_rejected(tmp_path):
    root = files(tmp_path / "p", "ant/a.png", "bee/b.png")
    (root / "bee" / "b.png").rename(root / "bee" / "\udcff.png")  # the byte ff on the disk
    store = prepare_folder(root, tmp_path / "store", 8)
    assert store.names == ("ant/a.png", "bee/\udcff.png")
    assert prepare_folder(root, tmp_path / "store", 8).meta == store.meta
    (root / "ant" / "a.png").rename(root / "ant" / "a\nb.png")
    with pytest.raises(DataError, match=r"ant/a\\nb\.png' has a line break in its name"):
        find_folder(root)


CLASSES = ("ant", "bee", "cow")


def parts(root, *names, classes=CLASSES, each=2):
    return files(root, *(f"{part}/{name}/{k}.png" for part in names for name in classes for k in range(each)))


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        (["train"], ["val"]),
        (["train"], ["valid"]),
        (["train"], ["validation"]),
        (["Training"], ["Testing"]),
        (["TRAIN"], ["Test", "eval"]),
        (["train"], ["val", "test"]),
        (["training_set"], ["test_set"]),
        (["train2017"], ["val2017"]),
        (["trainset"], ["hold-out"]),
        (["train1", "train2"], ["dev"]),
    ],
)
def test_parts_are_known_by_their_usual_names(tmp_path, train, held_out):
    root = parts(tmp_path / "p", *train, *held_out)
    files(root, "train.txt/.hidden/x.png")  # a folder without images beside the parts
    source = find_folder(root).read()
    assert source.class_names == CLASSES
    assert source.names is not None
    assert {name.split("/")[0] for name, held in zip(source.names, source.test, strict=True) if held} == {*held_out}
    assert {name.split("/")[0] for name, held in zip(source.names, source.test, strict=True) if not held} == {*train}
    assert len(source.labels) == 6 * (len(train) + len(held_out))
    assert all(path == root / name for path, name in zip(source.pictures(0), source.names, strict=True))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("fold1", "fold2", "fold3"), "none of them is called .*--train fold1,fold2 --held-out fold3.*--no-parts"),
        (("seg_train", "seg_test"), "none of them is called"),
        (("train", "val", "extra"), "'extra' is not called .*--train extra,train --held-out val"),
        (("val", "test"), "which are for training and which are held out is unclear"),
        (("train", "training"), "is unclear"),
    ],
)
def test_what_looks_like_parts_is_refused_with_the_options(tmp_path, names, message):
    with pytest.raises(DataError, match=f"look like parts, but .*{message}"):
        find_folder(parts(tmp_path / "p", *names))
    assert find_folder(tmp_path / "p", no_parts=True).read().class_names == tuple(sorted(names))


def test_parts_without_class_folders_are_refused(tmp_path):
    root = parts(tmp_path / "p", "train", "val")
    files(root, "test/1.png", "test/2.png")
    with pytest.raises(DataError, match=r"images of 'test' are not in class folders.*--train train --held-out val\."):
        find_folder(root)
    source = find_folder(root, train="train", held_out="val").read()
    assert (source.class_names, len(source.labels)) == (CLASSES, 12)


def test_the_options_say_which_is_which(tmp_path):
    root = parts(tmp_path / "p", "fold1", "fold2", "fold3")
    for train, held_out in ((None, "fold3"), ("fold1, fold2", None), ("fold1,fold2", "fold3/")):
        found = find_folder(root, train=train, held_out=held_out)
        source = found.read()
        assert source.names is not None
        assert source.names[12:] == tuple(name for name in source.names if name.startswith("fold3/"))
        np.testing.assert_array_equal(source.test, np.arange(18) >= 12)
        assert found.options == "train=fold1,fold2 held-out=fold3"
    assert len(find_folder(root, train="fold1", held_out="fold2").read().labels) == 12  # fold3 is left out
    with pytest.raises(DataError, match=r"--held-out: .*unknown folder 'fold4': did you mean 'fold"):
        find_folder(root, held_out="fold4")
    with pytest.raises(DataError, match="no sub-folder is left to train on"):
        find_folder(root, held_out="fold1,fold2,fold3")
    with pytest.raises(DataError, match="not both"):
        find_folder(root, held_out="fold1", no_parts=True)
    with pytest.raises(DataError, match="has parts of its own"):
        find_folder(root, parts(tmp_path / "q", "x") / "x")


def test_what_is_lost_beside_parts_is_reported(tmp_path):
    root = files(parts(tmp_path / "p", "train", "val"), "loose.png", "val/loose.png")
    (root / "test").symlink_to(tmp_path / "gone")
    notes = find_folder(root).read().strict_notes
    assert notes[0].startswith("skipped 1 link that leads nowhere: 'test/'")
    assert notes[1].startswith("skipped 2 images outside any class folder: 'loose.png', 'val/loose.png'")


def test_parts_with_other_classes_are_refused_and_each_lack_is_named(tmp_path):
    root = parts(tmp_path / "p", "train")
    parts(root, "val", "test", classes=CLASSES[:2])
    with pytest.raises(DataError, match=r"test and .*val lack 'cow'\. If they are classes, give --no-parts"):
        find_folder(root)
    parts(root, "test", classes=CLASSES[2:])  # one of the held-out parts suffices
    assert int(find_folder(root).read().test.sum()) == 10


@pytest.mark.parametrize(
    "names",
    [
        ("train/1.png", "bus/1.png", "car/1.png"),  # railways
        ("cat/2019/1.png", "cat/2020/1.png", "dog/2019/1.png", "dog/2020/1.png"),
        ("n1/images/1.png", "n2/images/1.png"),
        ("cat/a/1.png", "cat/b/1.png", "dog/c/1.png", "dog/d/1.png"),
    ],
)
def test_classes_with_folders_of_their_own_stay_classes(tmp_path, names):
    root = files(tmp_path / "p", *names)
    assert find_folder(root).read().class_names == tuple(sorted({name.split("/")[0] for name in names}))


def test_a_store_of_the_parts_as_classes_is_not_taken_for_the_new_one(tmp_path):
    root = parts(tmp_path / "p", "train", "val")
    prepare_folder(root, tmp_path / "new", 8)
    found = find_folder(root, no_parts=True)  # how every release before this one read it
    assert prepare(found, tmp_path / "old", 8).meta.class_names == ("train", "val")
    with pytest.raises(DataError, match=r"already holds .* give --overwrite"):
        prepare_folder(root, tmp_path / "old", 8)


def test_numbers_sort_as_numbers_and_the_store_of_an_older_order_stays(tmp_path):
    root = files(tmp_path / "p", *(f"{k}/{n}.png" for k in range(12) for n in range(2)))
    found = find_folder(root)
    source = found.read()
    assert source.class_names == tuple(map(str, range(12)))
    assert source.names is not None
    assert source.names[4:6] == ("2/0.png", "2/1.png")
    text_order = sorted((path for path in root.glob("*/*.png")), key=lambda path: path.relative_to(root).parts)
    entries = [(path.relative_to(root).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in text_order]
    assert found.fingerprint == fingerprint(entries)  # so that the older store is "already prepared"
