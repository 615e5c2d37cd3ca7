"""Published datasets and long-tailed lists by their numbers, and what is told to one who has them not, or not whole.

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
    """What a complete copy holds."""

    importer: str
    title: str
    classes: int
    train: int
    """Images for training."""
    test: int
    """Images of the published validation part, which are the held-out ones."""
    where: str
    """Where one gets it."""
    tree: str
    """What SOURCE has to look like."""

    @property
    def instructions(self) -> str:
        """Where one gets it and what it has to look like, several lines."""
        return f"{self.title}: {self.where}\nExpected in SOURCE:\n{self.tree}"


@dataclass(frozen=True)
class Cut:
    """The numbers of a published list of training images."""

    title: str
    classes: int
    lines: int
    most: int
    """Images of the commonest class."""
    least: int
    """Of the rarest."""
    held_out: tuple[int, ...]
    """Lines of its lists of images that are not trained on."""

    @property
    def numbers(self) -> str:
        """In words."""
        return _in_words(self.lines, self.classes, self.most, self.least)

    def fits(self, counts: Sequence[int]) -> bool:
        """Whether images a class are those of this list."""
        found = (len(counts), sum(counts), max(counts), min(counts))
        return found == (self.classes, self.lines, self.most, self.least)


CutName = Literal["imagenet-lt", "places-lt", "inaturalist2018"]
CUTS: dict[CutName, Cut] = {
    "imagenet-lt": Cut("ImageNet-LT", 1000, 115_846, 1280, 5, (50_000, 20_000)),
    "places-lt": Cut("Places-LT", 365, 62_500, 4980, 5, (36_500, 7_300)),
    "inaturalist2018": Cut("iNaturalist 2018", 8142, 437_513, 1000, 2, (24_426,)),
}
"""Liu et al. 2019 and Van Horn et al. 2018, by the names of `--expect`."""


def check_dataset(dataset: Dataset, place: Path, classes: int, train: int, test: int, partial: bool) -> tuple[str, ...]:
    """Notes for the store; `DataError` for other numbers of classes and images than published, unless `partial`."""
    if (classes, train, test) == (dataset.classes, dataset.train, dataset.test):
        return ()
    found = f"{classes:,} classes, {train:,} images for training and {test:,} held out"
    wanted = f"{dataset.classes:,}, {dataset.train:,} and {dataset.test:,}"
    if partial:
        return (f"only a part, or another version: {found}; {dataset.title} as published has {wanted}",)
    raise DataError(
        f"{place}: found {found}; {dataset.title} as published has {wanted}. Complete it (unpack again?), or take what "
        "is there: --partial"
    )


def missing(dataset: Dataset, problem: str) -> DataError:
    """What to raise where there is nothing of this layout."""
    return DataError(f"{problem}\n{dataset.instructions}")


def check_cut(name: CutName, place: Path, counts: Sequence[int], held_out: int = 0) -> str:
    """A line about a list with these images a class; `DataError` when it is not the one of `CUTS` with that name."""
    cut = CUTS[name]
    if not cut.fits(counts):
        found = _in_words(sum(counts), len(counts), max(counts), min(counts))
        raise DataError(f"{place} is not the list of {cut.title}: it has {found}; published are {cut.numbers}")
    if held_out and held_out not in cut.held_out:
        wanted = " or ".join(f"{n:,}" for n in cut.held_out)
        raise DataError(f"the held-out list beside {place} has {held_out:,} lines; those of {cut.title} have {wanted}")
    many, few = sum(count > 100 for count in counts), sum(count < 20 for count in counts)
    groups = (
        f"{many:,} classes with many images (over 100), {cut.classes - many - few:,} medium, {few:,} few (under 20)"
    )
    return f"{cut.title}, {cut.numbers}, as published; {groups}"


def compare_cut(counts: Sequence[int]) -> str:
    """How a list stands to the published one with as many classes; empty if there is none."""
    for cut in CUTS.values():
        if cut.fits(counts):
            return f"These are the published numbers of {cut.title}: {cut.numbers}."
        if len(counts) == cut.classes:
            return f"This is not the list of {cut.title}, which has {cut.numbers}."
    return ""


def _in_words(lines: int, classes: int, most: int, least: int) -> str:
    return f"{lines:,} images of {classes:,} classes, {most:,} to {least:,} a class"
