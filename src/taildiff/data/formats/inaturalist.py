"""iNaturalist 2018: annotations in COCO format, and the images that they name.

    train2018.json, val2018.json    {"images": [{"id", "file_name"}], "annotations": [{"image_id", "category_id"}], …}
    train_val2018/<super category>/<category id>/<hash>.jpg
    categories.json                 [{"id", "name"}]: the names, which the other files lack

Classes are sorted by id, 0 to 8,141.
"""

import os
from pathlib import Path
from typing import Any

from taildiff.data.formats.benchmark import Copy, Part, open_copy
from taildiff.data.formats.importer import Importer, Partial
from taildiff.data.formats.published import Dataset, missing
from taildiff.data.listing import does_not, some
from taildiff.data.source import Found
from taildiff.errors import DataError, SpecError
from taildiff.io.json_files import read_json

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
    "  categories.json (optional; the names of the classes)",
)


def find_inaturalist(place: Path, partial: Partial = False) -> Found:
    """Images that the annotation files name in train_val2018/.

    `DataError` with instructions for an incomplete copy, unless `partial`.
    """
    copy = open_copy(INATURALIST2018, place, partial)
    for name in ("train2018.json", "val2018.json", "train_val2018"):
        if not (place / name).exists() and not (partial and name == "val2018.json"):
            raise missing(INATURALIST2018, f"{place / name} does not exist.")
    seen: set[str] = set()
    train = _part(copy, place / "train2018.json", seen)
    if not train.entries:
        raise missing(INATURALIST2018, f"none of the images in {place / 'train2018.json'} exists.")
    test = _part(copy, place / "val2018.json", seen) if (place / "val2018.json").exists() else Part()
    names = place / "categories.json"
    return copy.found(train, test, _read_names(names) if names.is_file() else {}, int)


IMPORTERS = (
    Importer(
        INATURALIST2018.importer,
        "folder",
        "iNaturalist 2018: its annotation files and train_val2018/",
        find_inaturalist,
        INATURALIST2018,
    ),
)


def _part(copy: Copy, path: Path, seen: set[str]) -> Part:
    part = Part()
    absent: list[str] = []
    base = os.fspath(copy.root)
    for name, category in _annotations(path):
        if name.startswith("/") or ".." in name.split("/") or "\n" in name or "\0" in name:
            raise DataError(f"{path}: {name[:80]!r} is not a path below {copy.root}")
        if name in seen:
            raise DataError(f"{path}: '{name}' occurs twice")
        seen.add(name)
        try:
            status = os.stat(f"{base}/{name}")  # noqa: PTH116 (called for each of half a million files)
        except (OSError, ValueError):
            absent.append(name)
            continue
        part.entries.append((name, status.st_size, status.st_mtime_ns))
        part.classes.append(category)
    if absent:
        copy.tolerate(f"{path} names {some(absent)}, which {does_not(absent)} exist in {copy.root}")
    return part


def _annotations(path: Path) -> list[tuple[str, str]]:
    """File name and category id of each image, in the order of the file."""
    values = _read(path)
    try:
        categories = {_id(entry["id"]) for entry in values["categories"]}
        category: dict[int, int] = {}
        for entry in values["annotations"]:
            image = _id(entry["image_id"])
            if image in category:
                raise DataError(f"{path}: image {image} has two annotations")
            category[image] = _id(entry["category_id"])
        rows = [(_id(entry["id"]), entry["file_name"]) for entry in values["images"]]
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} lacks `images` (id, file_name), `annotations` (image_id, category_id) or `categories` (id) "
            f"in COCO format ({type(error).__name__}: {error!s:.80})"
        ) from None
    for image, name in rows:
        if image not in category or not isinstance(name, str):
            raise DataError(f"{path}: image {image} ({name!r:.80}) has no annotation or no file name")
        if category[image] not in categories:
            raise DataError(f"{path}: '{name}' has the category {category[image]}, which is not among its categories")
    return [(name, str(category[image])) for image, name in rows]


def _read_names(path: Path) -> dict[str, str]:
    try:
        names = {str(_id(entry["id"])): entry["name"] for entry in _read(path)}
    except (KeyError, TypeError, ValueError):
        names = {}
    if not names or not all(isinstance(name, str) for name in names.values()):
        raise DataError(f"{path} is not a list of categories with `id` and `name`; unpack it again or remove it")
    return names


def _id(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is not an id")
    return value


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except SpecError as error:
        raise DataError(f"{error}; unpack it again") from None
