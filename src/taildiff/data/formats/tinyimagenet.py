"""Tiny ImageNet: 200 classes of ImageNet with 500 images of 64 × 64 pixels each, the tree of tiny-imagenet-200.zip.

    train/<wnid>/images/<wnid>_0.JPEG   val/images/val_0.JPEG   val/val_annotations.txt   wnids.txt   words.txt

val/ may also be sorted into class folders. test/ has no labels and is ignored.
"""

from pathlib import Path

from taildiff.data.formats.benchmark import Copy, Part, by_folder, open_copy, read_words
from taildiff.data.formats.importer import Importer, Partial
from taildiff.data.formats.published import Dataset
from taildiff.data.listing import some
from taildiff.data.source import Found, read_class_names

TINYIMAGENET = Dataset(
    "tinyimagenet",
    "Tiny ImageNet",
    200,
    100_000,
    10_000,
    "tiny-imagenet-200.zip, http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    "  train/n01443537/images/n01443537_0.JPEG …\n"
    "  val/images/val_0.JPEG … with val/val_annotations.txt, or val/n01443537/…\n"
    "  wnids.txt, words.txt (optional; words.txt has the names of the classes)",
)


def find_tinyimagenet(place: Path, partial: Partial = False) -> Found:
    """Images in the unpacked archive, or a folder that contains it; classes sorted by wnid.

    `DataError` with instructions for an incomplete copy, unless `partial`.
    """
    copy = open_copy(TINYIMAGENET, place, partial, "tiny-imagenet-200")
    train = copy.train("train", by_folder)
    _check_wnids(copy, train)
    test = _held_out(copy)
    words = copy.root / "words.txt"
    return copy.found(train, test, read_words(words) if words.is_file() else {})


IMPORTERS = (
    Importer(
        TINYIMAGENET.importer, "folder", "Tiny ImageNet: 200 classes of 64 × 64 pixels", find_tinyimagenet, TINYIMAGENET
    ),
)


def _check_wnids(copy: Copy, train: Part) -> None:
    path = copy.root / "wnids.txt"
    if path.is_file() and (lacking := sorted(set(read_class_names(path)) - set(train.classes))):
        copy.tolerate(f"{copy.root / 'train'} has no images of {some(lacking)}, which {path.name} names")


def _held_out(copy: Copy) -> Part:
    entries = copy.walk("val")
    flat = [entry for entry in entries if entry[0].startswith("val/images/") or entry[0].count("/") == 1]
    if not flat:
        return by_folder(entries)
    return copy.by_list("val", flat, copy.root / "val" / "val_annotations.txt", ())
