"""Counts of published datasets and lists: matching ones pass, others are rejected with the expected counts."""

from pathlib import Path

import numpy as np
import pytest

from taildiff.data.formats import importers
from taildiff.data.formats.imagenet import IMAGENET
from taildiff.data.formats.published import CUTS, check_cut, check_dataset, compare_cut
from taildiff.data.formats.table import find_list
from taildiff.data.longtail import Groups, exponential_counts
from taildiff.errors import DataError


def profile(classes, lines, most, least):
    """Counts per class with this number of classes, sum, maximum and minimum."""
    low, high = 1e-3, 50.0
    middle = np.zeros(classes)
    for _ in range(60):  # steeper curves have fewer images
        power = (low + high) / 2
        middle = least + (most - least) * (1 - np.linspace(0, 1, classes)) ** power
        low, high = (power, high) if middle.sum() > lines else (low, power)
    counts = np.clip(middle.astype(int), least, most)
    counts[0], counts[-1] = most, least
    rest = lines - counts.sum()
    for k in range(1, abs(rest) + 1):
        counts[1 + k % (classes - 2)] += np.sign(rest)
    assert counts.sum() == lines
    return np.clip(counts, least, most).tolist()


@pytest.mark.parametrize("name", CUTS)
def test_the_published_counts_pass(name):
    cut = CUTS[name]
    counts = profile(cut.classes, cut.lines, cut.most, cut.least)
    line = check_cut(name, Path("train.txt"), counts, cut.held_out[0])
    groups = {group: len(labels) for group, labels in Groups.shots(counts)}
    assert f"{groups['many']:,} classes with many images" in line
    assert f"{groups['medium']:,} medium, {groups['few']:,} few" in line
    assert compare_cut(counts).startswith("These are the published counts of " + cut.title)


@pytest.mark.parametrize(
    "change", ["a line more", "another commonest", "another rarest", "a class less", "the test list"]
)
def test_other_counts_do_not(change):
    cut = CUTS["imagenet-lt"]
    counts, held_out = profile(cut.classes, cut.lines, cut.most, cut.least), 0
    match change:
        case "a line more":
            counts[1] += 1
        case "another commonest":
            counts[0], counts[1] = counts[0] - 1, counts[1] + 1
        case "another rarest":
            counts[-1], counts[-2] = counts[-1] + 1, counts[-2] - 1
            counts = [max(count, 6) for count in counts]
        case "a class less":
            counts = [counts[0], counts[1] + counts[2], *counts[3:]]
        case _:
            held_out = 115_846
    with pytest.raises(DataError, match=r"train\.txt") as caught:
        check_cut("imagenet-lt", Path("train.txt"), counts, held_out)
    assert ("50,000 or 20,000" if held_out else "the published one has 115,846 images of 1,000 classes") in str(
        caught.value
    )
    assert ("not the list" in compare_cut(counts)) == (not held_out and len(counts) == 1000)


def test_counts_are_checked_before_images(tmp_path):
    cut = CUTS["places-lt"]
    counts = profile(cut.classes, cut.lines, cut.most, cut.least)
    lines = [f"train/c{k}/{i:08d}.jpg {k}" for k, count in enumerate(counts) for i in range(count)]
    path = tmp_path / "Places_LT_train.txt"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"line 1: 'train/c0/00000000\.jpg' does not exist .*62,499 more"):
        find_list(path, root=tmp_path, expect="places-lt")
    with pytest.raises(DataError, match=r"is not the list of ImageNet-LT: it has 62,500 images of 365 classes, 4,980"):
        find_list(path, root=tmp_path, expect="imagenet-lt")
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match=r"it has 62,499 images.*the published one has 62,500 images of 365 classes"):
        find_list(path, root=tmp_path, expect="places-lt")


def test_datasets():
    datasets = {name: importer.dataset for name, importer in importers().items() if importer.dataset}
    numbers = {name: (entry.classes, entry.train, entry.test) for name, entry in datasets.items()}
    assert numbers == {
        "tinyimagenet": (200, 100_000, 10_000),
        "imagenet": (1000, 1_281_167, 50_000),
        "places365": (365, 1_803_460, 36_500),
        "inaturalist2018": (8142, 437_513, 24_426),
    }
    assert check_dataset(IMAGENET, Path("x"), 1000, 1_281_167, 50_000, partial=False) == ()
    with pytest.raises(
        DataError, match=r"has 999 classes, 1,281,167 training .* has 1,000, 1,281,167 and 50,000.*--partial"
    ):
        check_dataset(IMAGENET, Path("x"), 999, 1_281_167, 50_000, partial=False)
    (note,) = check_dataset(IMAGENET, Path("x"), 999, 1_281_167, 50_000, partial=True)
    assert note.startswith("incomplete, or another version: 999 classes, 1,281,167 training")


def test_the_cuts_of_the_paper():
    """Of equal classes; the real ImageNet has 732 to 1,300 images per class."""
    assert sum(exponential_counts([500] * 200, 0.01)) == 21_549
    assert sum(exponential_counts([1300] * 1000, 0.01, n_max=IMAGENET.train / IMAGENET.classes)) == 275_288
