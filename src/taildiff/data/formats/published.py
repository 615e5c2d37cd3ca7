"""Counts of published datasets and long-tailed lists, and instructions shown when a dataset is missing or incomplete.

Sources: Le & Yang 2015 (Tiny ImageNet), Russakovsky et al. 2015 (ILSVRC2012), Zhou et al. 2018 (Places365-Standard),
Van Horn et al. 2018 (iNaturalist), Liu et al. 2019 (OLTR: ImageNet-LT, Places-LT).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from taildiff.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """The counts of a complete copy, and how to get one."""

    importer: str
    title: str
    classes: int
    train: int
    """Training images."""
    test: int
    """Held-out images: those of the published validation split."""
    where: str
    """Archives and their address."""
    tree: str
    """The expected tree of SOURCE."""

    @property
    def instructions(self) -> str:
        """Where to download the dataset and how to arrange it, on several lines."""
        return f"{self.title}: {self.where}\nExpected in SOURCE:\n{self.tree}"


@dataclass(frozen=True)
class Cut:
    """Counts of a published list of training images."""

    title: str
    classes: int
    lines: int
    most: int
    """Images of the most frequent class."""
    least: int
    """Of the rarest."""
    held_out: tuple[int, ...]
    """Lines of its lists of validation and test images."""

    @property
    def numbers(self) -> str:
        """The counts as text."""
        return _in_words(self.lines, self.classes, self.most, self.least)

    def fits(self, counts: Sequence[int]) -> bool:
        """Whether these images per class are those of the list."""
        return (len(counts), sum(counts), max(counts), min(counts)) == (self.classes, self.lines, self.most, self.least)


CutName = Literal["imagenet-lt", "places-lt", "inaturalist2018"]
CUTS: dict[CutName, Cut] = {
    "imagenet-lt": Cut("ImageNet-LT", 1000, 115_846, 1280, 5, (50_000, 20_000)),
    "places-lt": Cut("Places-LT", 365, 62_500, 4980, 5, (36_500, 7_300)),
    "inaturalist2018": Cut("iNaturalist 2018", 8142, 437_513, 1000, 2, (24_426,)),
}
"""By the value of `--expect`: Liu et al. 2019, Van Horn et al. 2018."""


def check_dataset(dataset: Dataset, place: Path, classes: int, train: int, test: int, partial: bool) -> tuple[str, ...]:
    """Notes for the store; `DataError` when the counts differ from the published ones, unless `partial`."""
    if (classes, train, test) == (dataset.classes, dataset.train, dataset.test):
        return ()
    counts = f"{classes:,} classes, {train:,} training and {test:,} held-out images"
    published = f"{dataset.title} as published has {dataset.classes:,}, {dataset.train:,} and {dataset.test:,}"
    if partial:
        return (f"incomplete, or another version: {counts}; {published}",)
    raise DataError(
        f"{place} has {counts}; {published}. Complete the copy (unpack it again?), or accept it as it is: --partial"
    )


def missing(dataset: Dataset, problem: str) -> DataError:
    """The error for a missing or wrongly arranged dataset, with instructions."""
    return DataError(f"{problem}\n{dataset.instructions}")


def check_cut(name: CutName, place: Path, counts: Sequence[int], held_out: int = 0) -> str:
    """A line about a list with these images per class; `DataError` unless it is the list `name` of `CUTS`."""
    cut = CUTS[name]
    if not cut.fits(counts):
        own = _in_words(sum(counts), len(counts), max(counts), min(counts))
        raise DataError(f"{place} is not the list of {cut.title}: it has {own}; the published one has {cut.numbers}")
    if held_out and held_out not in cut.held_out:
        wanted = " or ".join(f"{n:,}" for n in cut.held_out)
        raise DataError(
            f"the list of held-out images with {place} has {held_out:,} lines; those of {cut.title} have {wanted}"
        )
    many, few = sum(count > 100 for count in counts), sum(count < 20 for count in counts)
    medium = cut.classes - many - few
    groups = f"{many:,} classes with many images (over 100), {medium:,} medium, {few:,} few (under 20)"
    return f"{cut.title}, {cut.numbers}, as published; {groups}"


def compare_cut(counts: Sequence[int]) -> str:
    """A sentence comparing these counts with the published list of as many classes; empty if there is none."""
    for cut in CUTS.values():
        if cut.fits(counts):
            return f"These are the published counts of {cut.title}: {cut.numbers}."
        if len(counts) == cut.classes:
            return f"This is not the list of {cut.title}, which has {cut.numbers}."
    return ""


def _in_words(lines: int, classes: int, most: int, least: int) -> str:
    return f"{lines:,} images of {classes:,} classes, {most:,} to {least:,} per class"
