"""Which files of a folder are images, what is counted, and what is never looked at."""

import io

import numpy as np
import pytest
from PIL import Image
from sources import prepare_folder

from taildiff.data.formats.folder import find_folder
from taildiff.data.images import decode
from taildiff.data.kinds import content_kind
from taildiff.data.listing import PassedOver, holds_images, images_below
from taildiff.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def encoded(kind, **options):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def put(path, data=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data or encoded("PNG"))
    return path


def listed(root):
    passed = PassedOver()
    return sorted(name for name, _, _ in images_below(root, "", passed)), passed


NAMES = ("photo", "photo.jpe", "photo.jpg_large", "photo.jpg@w=300", "photo.jxl", "photo.jpg.1", "IMG.JPG", "notes.txt")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("name", NAMES)
def test_images_are_recognised_by_their_content(tmp_path, kind, name):
    data = encoded(kind, **({"lossless": True} if kind == "WEBP" else {}))
    path = put(tmp_path / name, data)
    assert listed(tmp_path)[0] == [name]
    if kind != "JPEG":
        np.testing.assert_array_equal(decode(path, 8, 3), PIXELS)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (encoded("GIF"), "GIF"),
        (encoded("JPEG2000"), "JPEG 2000"),
        (encoded("PPM"), "netpbm"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1miaf", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41", "video"),
        (b"%PDF-1.7\n", "PDF"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"BM is how this text begins", None),
        (b"P2P networks", None),
        (b"", None),
    ],
)
def test_other_kinds_are_told_apart(head, kind):
    assert content_kind(head) == kind


def test_what_is_no_image_is_counted_by_kind(tmp_path):
    for name in ("a.gif", "b", "c.dat"):
        put(tmp_path / name, encoded("GIF"))
    put(tmp_path / "IMG.NEF", encoded("TIFF"))  # a camera's raw file opens as TIFF, with a preview only
    put(tmp_path / "clip.mp4", b"no known start \0")
    put(tmp_path / "blob", b"\x01\x02\x03\0")
    (tmp_path / "cut").touch()
    for name in ("notes.txt", "Thumbs.db", "desktop.ini", "README", "a.xml", ".DS_Store", "._a.png"):
        put(tmp_path / name, b"text without an image")
    names, passed = listed(tmp_path)
    assert not names
    assert passed.counted() == "1 .mp4, 3 GIF, 1 RAW, 1 empty file, 1 file without suffix"


@pytest.mark.parametrize(
    "name", ["@eaDir", ".thumbs", "$RECYCLE.BIN", "lost+found", "__MACOSX", "#recycle", "System Volume Information"]
)
def test_folders_of_storage_systems_are_neither_images_nor_classes(tmp_path, name):
    for place in ("cat", "dog", f"cat/{name}/1.png", f"{name}/album.jpg"):
        put(tmp_path / "p" / place / "1.png")
    source = find_folder(tmp_path / "p").read()
    assert source.class_names == ("cat", "dog")
    assert source.names == ("cat/1.png", "dog/1.png")
    assert not source.strict_notes


def test_links_that_lead_nowhere_are_counted_and_may_be_a_class(tmp_path):
    root = tmp_path / "p"
    for name in ("cat", "dog"):
        put(root / name / "1.png")
    for k in range(3):
        (root / "cat" / f"link{k}.png").symlink_to(tmp_path / "gone" / f"{k}.png")
    (root / "owl").symlink_to(tmp_path / "gone")
    (root / "dog" / "itself").symlink_to(root / "dog" / "itself")
    (root / "dog" / "good").symlink_to(root / "cat" / "1.png")
    store = prepare_folder(root, tmp_path / "store", 8)
    assert store.names == ("cat/1.png", "dog/1.png", "dog/good")
    assert store.meta.notes[0].startswith("skipped 5 links that lead nowhere: 'owl/', 'cat/link0.png', 'cat/link1.png'")
    assert "('owl/' may be a whole class each)" in store.meta.notes[0]
    with pytest.raises(DataError, match=r"skipped 5 links that lead nowhere.*or prepare without --strict"):
        prepare_folder(root, tmp_path / "other", 8, strict=True)


def test_images_beside_class_folders_are_reported(tmp_path):
    for name in ("cat/1.png", "dog/1.png", "x.png", "y"):
        put(tmp_path / "p" / name)
    source = find_folder(tmp_path / "p").read()
    assert source.strict_notes == ("skipped 2 images outside any class folder: 'x.png', 'y'; move or remove them",)


def test_holds_images_ends_in_circles(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").symlink_to(tmp_path / "a")
    assert not holds_images(tmp_path)
    put(tmp_path / "a" / "c" / "photo")
    assert holds_images(tmp_path)
