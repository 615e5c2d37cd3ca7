"""Exact copies are counted within and across classes and parts."""

from pathlib import Path

import numpy as np

from taildiff.data.copies import copies, same_files

CLASSES = ("cat", "dog", "owl")
LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 0, 1])
TEST = np.arange(11) >= 9


def test_no_copies():
    assert copies(np.arange(11), LABELS, TEST, CLASSES, None) == ("No exact copies.",)


def test_copies_within_classes_between_classes_and_parts():
    content = np.array([0, 1, 2, 3, 2, 5, 5, 5, 8, 1, 10])
    assert copies(content, LABELS, TEST, CLASSES, None) == (
        "Exact copies within a class: 2 training images (owl 2 different of 4).",
        "Exact copies in different classes: 2 images, such as image 2 (cat) = image 4 (dog); correct the labels.",
        "Leaks: 1 held-out image is a copy of training images: image 9 (cat).",
    )
    names = [f"{i}.png" for i in range(11)]
    assert "such as 2.png = 4.png;" in copies(content, LABELS, TEST, CLASSES, names)[1]


def test_files_are_equal_by_their_bytes(tmp_path: Path):
    files = [tmp_path / f"{i}.png" for i in range(5)]
    for file, data in zip(files, (b"aa", b"bb", b"aa", b"c", b"dddd"), strict=True):
        file.write_bytes(data)
    content = same_files(files, limit=10)
    assert content is not None
    assert content[0] == content[2]
    assert len(np.unique(content)) == 4
    assert same_files(files, limit=5) is None
