"""ImageNet and Tiny ImageNet: each source of the classes of held-out images, and what can be wrong with it."""

import os
import shutil
import struct
import zlib

import numpy as np
import pytest
import sources
from PIL import Image

from taildiff.data.formats import imagenet as module
from taildiff.data.formats import tinyimagenet
from taildiff.data.formats.imagenet import find_imagenet
from taildiff.data.formats.published import Dataset
from taildiff.data.formats.tinyimagenet import find_tinyimagenet
from taildiff.data.images import decode
from taildiff.data.longtail import Split
from taildiff.data.prepare import prepare
from taildiff.errors import DataError
from taildiff.spec import DataSpec

WNIDS = ("n01440764", "n01443537", "n01484850")


@pytest.fixture
def small(monkeypatch):
    """ImageNet as if it had been published with 3 classes, 6 and 3 images."""
    published = Dataset("imagenet", "ImageNet (ILSVRC2012)", 3, 6, 3, "https://image-net.org", "  train/ val/")
    monkeypatch.setattr(module, "IMAGENET", published)


@pytest.fixture
def tree(tmp_path, small):
    """The tree of `small`, and the wnid of each held-out image."""
    return tmp_path / "ilsvrc", sources.imagenet(tmp_path / "ilsvrc", WNIDS)


def held_out(found):
    """File name → class name of the held-out images."""
    source = found.read()
    assert source.names is not None
    pairs = zip(source.names, source.labels, source.test, strict=True)
    return {name.rpartition("/")[2]: source.class_names[k] for name, k, test in pairs if test}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_flat_held_out_images_by_a_list_of_numbers(tree, tmp_path):
    root, truth = tree
    write(root / "val.txt", "".join(f"val/{name} {WNIDS.index(wnid)}\n" for name, wnid in truth.items()))
    found = find_imagenet(root)
    assert held_out(found) == truth
    store = prepare(found, tmp_path / "store", 8)
    assert store.meta.class_names == WNIDS
    assert store.names is not None
    assert store.names[0] == "train/n01440764/n01440764_0.JPEG"
    assert store.names[6] == "val/ILSVRC2012_val_00000003.JPEG"
    np.testing.assert_array_equal(store.images[0], decode(root / store.names[0], 8, 3))
    assert store.meta.notes == ()
    lines = (
        "train/n01440764/n01440764_1.JPEG 0\ntrain/n01443537/n01443537_0.JPEG 1\ntrain/n01484850/n01484850_1.JPEG 2\n"
    )
    split = Split.cut(store, DataSpec(tail="list", list=write(tmp_path / "ImageNet_LT_train.txt", lines)))
    assert [store.names[k] for k in split.index] == [line.split()[0] for line in lines.splitlines()]


def test_flat_held_out_images_by_kaggle_by_name_and_by_an_option(tree, tmp_path):
    root, truth = tree
    rows = "".join(f"{name.removesuffix('.JPEG')},{wnid} 1 2 3 4 {wnid} 5 6 7 8 \n" for name, wnid in truth.items())
    kaggle = tmp_path / "kaggle"
    shutil.copytree(root, kaggle / "ILSVRC" / "Data" / "CLS-LOC")
    write(kaggle / "LOC_val_solution.csv", "ImageId,PredictionString\n" + rows)
    words = "n01440764 tench, Tinca tinca\nn01443537 crane\nn01484850 crane, machine\n"
    write(kaggle / "LOC_synset_mapping.txt", words)
    found = find_imagenet(kaggle)
    names = {"n01440764": "tench", "n01443537": "crane (n01443537)", "n01484850": "crane (n01484850)"}
    assert held_out(found) == {name: names[wnid] for name, wnid in truth.items()}
    names = found.read().names
    assert names is not None
    assert names[0] == "train/n01440764/n01440764_0.JPEG"  # as lists have it, though it lies deeper
    assert next(found.read().pictures(0)) == kaggle / "ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_0.JPEG"
    own = write(tmp_path / "own.txt", "".join(f"{name} {wnid}\n" for name, wnid in truth.items()))
    assert held_out(find_imagenet(root, own)) == truth


def test_flat_held_out_images_by_the_devkit(tree):
    root, truth = tree
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    sources.meta_mat(kit / "meta.mat", WNIDS)
    ids = {wnid: k for k, wnid in enumerate(reversed(WNIDS), 1)}
    lines = write(kit / "ILSVRC2012_validation_ground_truth.txt", "".join(f"{ids[wnid]}\n" for wnid in truth.values()))
    assert held_out(find_imagenet(root)) == truth
    write(lines, "1\n2\n1001\n")
    with pytest.raises(DataError, match=r"ground_truth\.txt, line 3: '1001' is not an id"):
        find_imagenet(root)
    (kit / "meta.mat").write_bytes(b"MATLAB 5.0")
    with pytest.raises(DataError, match=r"meta\.mat is damaged or not the meta\.mat of the devkit"):
        find_imagenet(root)
    bomb = zlib.compress(bytes(65 * 2**20))
    (kit / "meta.mat").write_bytes(
        b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(bomb)) + bomb
    )
    with pytest.raises(DataError, match=r"its content is larger than 67,108,864 bytes"):
        find_imagenet(root)
    (kit / "meta.mat").unlink()
    with pytest.raises(DataError, match=r"uses ILSVRC ids, which need the meta\.mat of the devkit"):
        find_imagenet(root)


def test_held_out_images_in_class_folders(tree):
    root, truth = tree
    for name, wnid in truth.items():
        (root / "val" / wnid).mkdir()
        (root / "val" / name).rename(root / "val" / wnid / name)
    assert held_out(find_imagenet(root)) == truth
    with pytest.raises(DataError, match="needs no labels"):
        find_imagenet(root, root / "val.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"no file gives their classes(.|\n)*image-net\.org(.|\n)*Expected in SOURCE"),
        ("1 490", r"gives ILSVRC2012_val_00000001.JPEG the class 490, which is its ILSVRC id.*has 65"),
        ("1 489", "the class 489, which is its ILSVRC id"),
        ("1 3", "line 1: class 3, but classes are numbered from 0 to 2"),
        ("1 -1", "line 1: '-1' is neither"),
        ("1 tench", "line 1: 'tench' is neither the name nor the number of a class"),
        ("1 n09999999", "held-out images of 'n09999999', which has no training images"),
        ("1", "line 1: .*is not an image and its class"),
        ("1 0\n1 1", r"line 2: 'ILSVRC2012_val_00000001\.JPEG' occurs twice"),
        ("1 0\n2 1", r"has no label for 'val/ILSVRC2012_val_00000003\.JPEG'"),
        ("1 0\n2 1\n3 2\n4 0", r"names 'ILSVRC2012_val_00000004\.JPEG', which does not exist"),
        ("", r"val\.txt is empty"),
    ],
)
def test_wrong_lists(tree, text, message):
    root, _ = tree
    if text is not None:
        lines = [line.partition(" ") for line in text.splitlines()]
        whole = len(lines) == 1 and " " in text
        lines += [("2", " ", "1"), ("3", " ", "2")] if whole else []
        write(root / "val.txt", "".join(f"ILSVRC2012_val_{int(k):08d}.JPEG {label}\n" for k, _, label in lines))
    with pytest.raises(DataError, match=message):
        find_imagenet(root)


def test_a_missing_dataset_gets_instructions(tmp_path, small):
    for spoil, message in (
        (lambda root: None, "does not exist"),
        (lambda root: root.write_text("x"), "is a file; unpack the archive"),
        (lambda root: root.mkdir(), "train does not exist"),
        (lambda root: sources.jpeg(root / "train" / "a.JPEG"), "train contains no images in class folders"),
        (lambda root: write(root / "train" / "n01440764.tar", ""), r"contains \.tar files \(n01440764\.tar …\)"),
    ):
        root = tmp_path / message[:9]
        spoil(root)
        with pytest.raises(DataError, match=message + r"(.|\n)*image-net\.org(.|\n)*Expected in SOURCE"):
            find_imagenet(root)


def test_an_incomplete_copy_needs_partial(tree, tmp_path):
    root, truth = tree
    write(root / "val.txt", "".join(f"{name} {wnid}\n" for name, wnid in truth.items()))
    shutil.rmtree(root / "train" / WNIDS[1])
    with pytest.raises(DataError, match=r"held-out images of 'n01443537', which has no training images.*--partial"):
        find_imagenet(root)
    (root / "val" / "ILSVRC2012_val_00000002.JPEG").unlink()
    write(root / "val.txt", "".join(f"{name} {wnid}\n" for name, wnid in truth.items() if wnid != WNIDS[1]))
    with pytest.raises(DataError, match=r"has 2 classes, 4 training and 2 held-out images; .* has 3, 6 and 3"):
        find_imagenet(root)
    store = prepare(find_imagenet(root, partial=True), tmp_path / "store", 8)
    assert store.meta.class_names == (WNIDS[0], WNIDS[2])
    assert len(store.meta.notes) == 1
    assert "incomplete, or another version: 2 classes" in store.meta.notes[0]
    write(root / "LOC_synset_mapping.txt", "".join(f"{wnid} word {wnid}\n" for wnid in WNIDS))
    with pytest.raises(DataError, match="has no images of 'n01443537'"):
        find_imagenet(root)
    shutil.rmtree(root / "val")
    notes = find_imagenet(root, partial=True).read().notes
    assert "has no images of 'n01443537': skipped" in notes[0]
    assert "0 held-out images" in notes[1]


def test_the_unusual_files_of_imagenet(tree, tmp_path):
    """One of the JPEG files is a PNG, some are CMYK, and suffixes vary in case."""
    root, truth = tree
    write(root / "val.txt", "".join(f"{name} {wnid}\n" for name, wnid in truth.items()))
    folder = root / "train" / WNIDS[0]
    sources.jpeg(folder / "n01440764_0.JPEG", kind="PNG")
    sources.jpeg(folder / "n01440764_1.JPEG", mode="CMYK")
    (root / "train" / WNIDS[1] / "n01443537_0.JPEG").rename(root / "train" / WNIDS[1] / "n01443537_0.jpg")
    sources.jpeg(root / "train" / WNIDS[2] / "n01484850_1.JPEG", mode="L")
    write(root / "train" / WNIDS[0] / "notes.gif", "")
    store = prepare(find_imagenet(root), tmp_path / "store", 8)
    assert store.meta.count == 9
    assert store.meta.skipped == 0
    assert store.images.shape[3] == 3
    assert np.ptp(store.images[0].astype(int), axis=(0, 1)).max() == 0
    assert "skipped 1 .gif" in store.meta.notes[0]


def test_the_fingerprint_detects_changes(tree):
    root, truth = tree
    path = write(root / "val.txt", "".join(f"{name} {wnid}\n" for name, wnid in truth.items()))
    marks = [find_imagenet(root).fingerprint for _ in range(2)]
    assert marks[0] == marks[1]
    write(path, path.read_text().replace(WNIDS[0], WNIDS[1]))
    write(root / "words.txt", f"{WNIDS[0]}\ttench\n")
    marks.append(find_imagenet(root).fingerprint)
    os.utime(root / "train" / WNIDS[0] / "n01440764_0.JPEG", (0, 0))
    marks.append(find_imagenet(root).fingerprint)
    assert len(set(marks)) == 3


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Tiny ImageNet as if it had been published with 3 classes, 6 and 3 images."""
    published = Dataset("tinyimagenet", "Tiny ImageNet", 3, 6, 3, "tiny-imagenet-200.zip", "  train/ val/")
    monkeypatch.setattr(tinyimagenet, "TINYIMAGENET", published)
    return sources.tinyimagenet(tmp_path / "tiny-imagenet-200")


def test_tiny_imagenet(tiny, tmp_path):
    expected = {f"val_{k}.JPEG": f"word {k}" for k in range(3)}
    found = find_tinyimagenet(tiny)
    assert held_out(found) == expected
    assert held_out(find_tinyimagenet(tmp_path)) == expected  # the folder that the archive was unpacked in
    assert found.size == 64
    store = prepare(found, tmp_path / "store")
    assert store.names is not None
    assert store.names[0] == "train/n01443537/images/n01443537_0.JPEG"
    assert store.names[-1] == "val/images/val_2.JPEG"
    assert store.images.shape == (9, 64, 64, 3)
    (tiny / "words.txt").unlink()
    (tiny / "wnids.txt").unlink()
    assert find_tinyimagenet(tiny).read().class_names == sources.TINY


@pytest.mark.parametrize("below", ["", "images/"])
def test_tiny_imagenet_sorted_into_class_folders(tiny, below):
    for k, wnid in enumerate(sources.TINY):
        (tiny / "val" / wnid / below).mkdir(parents=True)
        (tiny / "val" / "images" / f"val_{k}.JPEG").rename(tiny / "val" / wnid / below / f"val_{k}.JPEG")
    (tiny / "val" / "images").rmdir()
    (tiny / "val" / "val_annotations.txt").unlink()
    assert held_out(find_tinyimagenet(tiny)) == {f"val_{k}.JPEG": f"word {k}" for k in range(3)}


def test_an_incomplete_tiny_imagenet(tiny):
    annotations = tiny / "val" / "val_annotations.txt"
    good = annotations.read_text()
    annotations.write_text(good.replace("n01629819", "n0162981"))
    with pytest.raises(DataError, match="line 2: 'n0162981' is neither"):
        find_tinyimagenet(tiny)
    annotations.write_text(good.split("\n", 1)[1])
    with pytest.raises(DataError, match=r"has no label for 'val/images/val_0\.JPEG'.*--partial"):
        find_tinyimagenet(tiny)
    assert find_tinyimagenet(tiny, partial=True).read().test.sum() == 2
    annotations.unlink()
    with pytest.raises(
        DataError, match=r"val_annotations\.txt does not exist, and without it(.|\n)*Expected in SOURCE"
    ):
        find_tinyimagenet(tiny)
    annotations.write_text(good)
    Image.new("RGB", (8, 8)).save(tiny / "train" / "n01443537" / "images" / "more.png")
    with pytest.raises(DataError, match="has 3 classes, 7 training and"):
        find_tinyimagenet(tiny)
    shutil.rmtree(tiny / "train" / "n01629819")
    with pytest.raises(DataError, match=r"has no images of 'n01629819', which wnids\.txt names"):
        find_tinyimagenet(tiny)
    assert len(find_tinyimagenet(tiny, partial=True).read().notes) == 3
    (tiny / "words.txt").write_text("tench n01440764\n")
    with pytest.raises(DataError, match=r"words\.txt, line 1: 'tench n01440764' is not `wnid words`"):
        find_tinyimagenet(tiny, partial=True)


def test_held_out_images_without_classes_can_be_skipped(tree):
    """Training works without the devkit, but only on request."""
    root, _ = tree
    with pytest.raises(DataError, match=r"no file gives their classes\. \(--partial skips them"):
        find_imagenet(root)
    source = find_imagenet(root, partial=True).read()
    assert len(source.labels) == 6
    assert not source.test.any()
    assert "They were skipped" in source.notes[0]
