"""ImageNet of ILSVRC2012: 1,000 classes, numbered from 0 by their sorted wnids, as is usual.

    train/<wnid>/<wnid>_10026.JPEG      val/<wnid>/ILSVRC2012_val_00000293.JPEG, or all of val/ in one folder

The classes of images in a single val/ come from val.txt, Kaggle's LOC_val_solution.csv, or the devkit, whose ground
truth (one number per line, in the order of the images) uses the ILSVRC ids of meta.mat, not sorted wnids.
"""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from taildiff.data.formats.benchmark import Copy, Part, by_folder, by_truth, open_copy, read_words
from taildiff.data.formats.importer import Importer, Option, Partial
from taildiff.data.formats.published import Dataset
from taildiff.data.listing import Entry, some
from taildiff.data.source import Found, read_text
from taildiff.errors import DataError
from taildiff.io.paths import regular

IMAGENET = Dataset(
    "imagenet",
    "ImageNet (ILSVRC2012)",
    1000,
    1_281_167,
    50_000,
    "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the devkit, from https://image-net.org (after registration), "
    "or the archive of Kaggle's imagenet-object-localization-challenge",
    "  train/n01440764/n01440764_10026.JPEG … (each inner .tar file unpacked into a folder of its name)\n"
    "  val/n01440764/ILSVRC2012_val_00000293.JPEG …, or val/ILSVRC2012_val_00000001.JPEG … and one of\n"
    "    val.txt (lines like `ILSVRC2012_val_00000001.JPEG 65`, classes by sorted wnids from 0; or --test FILE)\n"
    "    LOC_val_solution.csv (Kaggle)\n"
    "    ILSVRC2012_devkit_t12/data/ (meta.mat and ILSVRC2012_validation_ground_truth.txt)\n"
    "  LOC_synset_mapping.txt or words.txt (optional; the names of the classes)\n"
    "The tree from Kaggle (ILSVRC/Data/CLS-LOC/train …) works unchanged.",
)
_Test = Annotated[
    Path | None, Option("File with the classes of the images in val/. [default: one of the usual names]", "PLACE")
]
_KAGGLE = Path("ILSVRC", "Data", "CLS-LOC")
_LISTS = ("val.txt", "ImageNet_val.txt", "LOC_val_solution.csv")
_WORDS = ("LOC_synset_mapping.txt", "words.txt")
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_DEVKIT = ("", "data", "ILSVRC2012_devkit_t12/data")
_MOST_META_BYTES = 64 * 2**20
_FIRST = "ILSVRC2012_val_00000001.JPEG"
_FIRST_ILSVRC = ("489", "490")
"""ILSVRC id of the first image, a sea snake with the label 65; counted from 1 or from 0."""


def find_imagenet(place: Path, test: _Test = None, partial: Partial = False) -> Found:
    """Images in train/ and val/, or in the tree from Kaggle.

    `test` is the file with the classes of the images in val/, if it has none of the usual names. `DataError` with
    instructions for an incomplete copy, unless `partial`.
    """
    copy = open_copy(IMAGENET, place, partial, _KAGGLE)
    train = copy.train("train", by_folder)
    words = next(filter(None, (read_words(path) for name in _WORDS if (path := _beside(copy, name)))), {})
    classes = set(train.classes)
    if len(words) == IMAGENET.classes:
        if lacking := sorted(words.keys() - classes):
            copy.tolerate(f"{copy.root / 'train'} has no images of {some(lacking)}")
        classes = set(words)
    return copy.found(train, _held_out(copy, sorted(classes), test), words)


IMPORTERS = (
    Importer(
        IMAGENET.importer,
        "folder",
        "ImageNet (ILSVRC2012): train/ and val/, or the tree from Kaggle",
        find_imagenet,
        IMAGENET,
    ),
)


def _held_out(copy: Copy, classes: Sequence[str], labels: Path | None) -> Part:
    entries = copy.walk("val")
    flat = [entry for entry in entries if entry[0].count("/") == 1]
    part = by_folder(entries)
    if not flat:
        if labels is not None:
            raise DataError(
                f"--test {labels}: {copy.root / 'val'} is sorted into class folders and needs no labels; remove --test"
            )
        return part
    if labels is None:
        labels = next(filter(None, (_beside(copy, name) for name in _LISTS)), None)
    if labels is not None:
        _check_numbering(labels)
        labelled = copy.by_list("val", flat, labels, classes)
    else:
        labelled = _by_devkit(copy, flat)
    return Part(part.entries + labelled.entries, part.classes + labelled.classes)


def _check_numbering(path: Path) -> None:
    for line in read_text(path).splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[0].endswith(_FIRST) and fields[1] in _FIRST_ILSVRC:
            raise DataError(
                f"{path} gives {_FIRST} the class {fields[1]}, which is its ILSVRC id. Classes are numbered from 0 by "
                "their sorted wnids, where it has 65; use such a list, or the devkit"
            )


def _by_devkit(copy: Copy, flat: Sequence[Entry]) -> Part:
    truth = next(filter(None, (_beside(copy, f"{folder}/{_TRUTH}".lstrip("/")) for folder in _DEVKIT)), None)
    if truth is None:
        return copy.unlabelled(
            f"{copy.root / 'val'} contains images in a single folder, and no file gives their classes."
        )
    meta = truth.parent / "meta.mat"
    if not meta.is_file():
        return copy.unlabelled(
            f"{truth} uses ILSVRC ids, which need the meta.mat of the devkit; put it in the same folder."
        )
    wnid = _ilsvrc_ids(meta)
    lines = read_text(truth).split()
    for number, line in enumerate(lines, 1):
        if line not in wnid:
            raise DataError(f"{truth}, line {number}: {line[:40]!r} is not an id from 1 to {IMAGENET.classes:,}")
    classes = {f"ILSVRC2012_val_{k:08d}.JPEG": wnid[line] for k, line in enumerate(lines, 1)}
    return by_truth(copy, flat, classes, truth)


def _ilsvrc_ids(path: Path) -> dict[str, str]:
    """ILSVRC id (as text) → wnid; ids above 1,000 are groups of classes."""
    from scipy.io import loadmat  # slow to import, and only needed here

    try:
        _check_size(path)
        synsets = loadmat(path, squeeze_me=True, variable_names=["synsets"])["synsets"]
        pairs = [(int(k), str(wnid)) for k, wnid in zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)]
    except Exception as error:  # the reader raises many types on damaged files
        raise DataError(f"{path} is damaged or not the meta.mat of the devkit ({error}); unpack it again") from None
    return {str(k): wnid for k, wnid in pairs if 1 <= k <= IMAGENET.classes}


def _check_size(path: Path) -> None:
    """`ValueError` if the file's compressed elements (type 15 of MATLAB's level 5 format) unpack to too much."""
    room = _MOST_META_BYTES
    with regular(path).open("rb") as file:
        file.seek(128)  # the header
        while len(tag := file.read(8)) == 8 and room > 0:
            kind, size = struct.unpack("<II", tag)
            content = file.read(min(size, room))
            room -= len(zlib.decompressobj().decompress(content, room)) if kind == 15 else len(content)
    if room <= 0:
        raise ValueError(f"its content is larger than {_MOST_META_BYTES:,} bytes")


def _beside(copy: Copy, name: str) -> Path | None:
    return next((path for folder in (copy.place, copy.root) if (path := folder / name).is_file()), None)
