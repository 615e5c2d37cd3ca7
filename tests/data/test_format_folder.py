"""Class folders at any depth, and files that are skipped with a note."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sources import prepare_folder

from taildiff.data.formats.folder import find_folder
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
    for name in ("ant/x.gif", "ant/deep.GIF", "bee/y.tif", "bee/notes.txt", "bee/Thumbs.db"):
        (root / name).write_text("x")
    store = prepare_folder(root, tmp_path / "store", 8)
    assert store.meta.notes == ("skipped 2 .gif, 1 .tif: only JPEG, PNG and WebP are supported; convert them",)
    with pytest.raises(DataError, match=r"skipped 2 \.gif, 1 \.tif.*or prepare without --strict"):
        prepare_folder(root, tmp_path / "other", 8, strict=True)


def test_undecodable_names_are_kept_and_line_breaks_rejected(tmp_path):
    root = files(tmp_path / "p", "ant/a.png", "bee/b.png")
    (root / "bee" / "b.png").rename(root / "bee" / "\udcff.png")  # the byte ff on the disk
    store = prepare_folder(root, tmp_path / "store", 8)
    assert store.names == ("ant/a.png", "bee/\udcff.png")
    assert prepare_folder(root, tmp_path / "store", 8).meta == store.meta
    (root / "ant" / "a.png").rename(root / "ant" / "a\nb.png")
    with pytest.raises(DataError, match=r"ant/a\\nb\.png' has a line break in its name"):
        find_folder(root)
