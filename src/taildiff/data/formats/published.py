"""Published datasets and long-tailed lists by their numbers, and what is told to one who has them not, or not whole.

Sources: Le & Yang 2015 (Tiny ImageNet), Russakovsky et al. 2015 (ILSVRC2012), Zhou et al. 2018 (Places365-Standard),
Van Horn et al. 2018 (iNaturalist), Liu et al. 2019 (OLTR: ImageNet-LT, Places-LT).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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


TINYIMAGENET = Dataset(
    "tinyimagenet",
    "Tiny ImageNet",
    200,
    100_000,
    10_000,
    "tiny-imagenet-200.zip, http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    "  train/n01443537/images/n01443537_0.JPEG …\n"
    "  val/images/val_0.JPEG … with val/val_annotations.txt, or val/n01443537/…\n"
    "  wnids.txt, words.txt (may be missing; words.txt gives the classes their names)",
)
IMAGENET = Dataset(
    "imagenet",
    "ImageNet (ILSVRC2012)",
    1000,
    1_281_167,
    50_000,
    "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the devkit from https://image-net.org (after registration), "
    "or the archive of Kaggle's imagenet-object-localization-challenge",
    "  train/n01440764/n01440764_10026.JPEG … (the inner .tar files unpacked, each into a folder of its name)\n"
    "  val/n01440764/ILSVRC2012_val_00000293.JPEG …, or val/ILSVRC2012_val_00000001.JPEG … with one of\n"
    "    val.txt (`ILSVRC2012_val_00000001.JPEG 65` a line, classes by sorted folder names from 0; or --test FILE)\n"
    "    LOC_val_solution.csv (Kaggle)\n"
    "    ILSVRC2012_devkit_t12/data/ (meta.mat and ILSVRC2012_validation_ground_truth.txt)\n"
    "  LOC_synset_mapping.txt or words.txt (may be missing; gives the classes their names)\n"
    "The tree of Kaggle (ILSVRC/Data/CLS-LOC/train …) is found below SOURCE as it is.",
)
PLACES365 = Dataset(
    "places365",
    "Places365-Standard",
    365,
    1_803_460,
    36_500,
    "places365standard_easyformat.tar (or train_256_places365standard.tar, val_256.tar and "
    "filelist_places365-standard.tar) from http://places2.csail.mit.edu/download.html",
    "  train/airfield/00000001.jpg … and val/airfield/Places365_val_00000435.jpg …, or\n"
    "  data_256/a/airfield/00000001.jpg … and val_256/Places365_val_00000001.jpg … with places365_val.txt and\n"
    "  categories_places365.txt (data_large and val_large, or train/a/airfield/…, are taken in the same way)",
)
INATURALIST2018 = Dataset(
    "inaturalist2018",
    "iNaturalist 2018",
    8142,
    437_513,
    24_426,
    "train_val2018.tar.gz, train2018.json.tar.gz, val2018.json.tar.gz and categories.json.tar.gz from "
    "https://github.com/visipedia/inat_comp/tree/master/2018",
    "  train2018.json, val2018.json\n"
    "  train_val2018/Plantae/7477/3b60c9486db1d2ee875f11a669fbde4a.jpg …\n"
    "  categories.json (may be missing; gives the classes their names)",
)
DATASETS = {entry.importer: entry for entry in (TINYIMAGENET, IMAGENET, PLACES365, INATURALIST2018)}


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


CUTS = {
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


def check_cut(name: str, place: Path, counts: Sequence[int], held_out: int = 0) -> str:
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
