"""Places365-Standard, in the trees of its archives; classes in the order of categories_places365.txt.

    train/airfield/00000001.jpg             val/airfield/Places365_val_00000435.jpg      (easyformat)
    data_256/a/airfield/00000001.jpg        val_256/Places365_val_00000001.jpg           with places365_val.txt

Classes are named as in the first, `bakery-shop` for `/b/bakery/shop`; these names sort into the published order.
"""

from collections.abc import Iterable
from pathlib import Path

from taildiff.data.formats.benchmark import Copy, Part, open_copy
from taildiff.data.formats.importer import Importer, Partial
from taildiff.data.formats.published import Dataset
from taildiff.data.listing import Entry, some
from taildiff.data.source import Found, read_text
from taildiff.errors import DataError

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
    "  categories_places365.txt (data_large and val_large, or train/a/airfield/…, work as well)",
)
_TREES = (
    ("train", "val"),
    ("data_256", "val_256"),
    ("data_256_standard", "val_256"),
    ("data_large", "val_large"),
    ("data_large_standard", "val_large"),
)
_CATEGORIES = "categories_places365.txt"


def find_places(place: Path, partial: Partial = False) -> Found:
    """Images in one of the trees; of several, the first of `train`, `data_256`, `data_large`.

    `DataError` with instructions for an incomplete copy, unless `partial`.
    """
    copy = open_copy(PLACES365, place, partial, "places365_standard")
    folder, held_out = next((pair for pair in _TREES if (copy.root / pair[0]).is_dir()), _TREES[0])
    train = copy.train(folder, _by_path)
    classes = sorted(set(train.classes))
    categories = copy.root / _CATEGORIES
    if categories.is_file():
        published = _read_categories(categories)
        if lacking := sorted(set(published) - set(classes)):
            copy.tolerate(f"{copy.root / folder} has no images of {some(lacking)}")
        if extra := sorted(set(classes) - set(published)):
            raise DataError(f"{copy.root / folder} has images of {some(extra)}, which {categories} does not name")
        classes = list(published)
    return copy.found(train, _held_out(copy, held_out, classes), {})


IMPORTERS = (
    Importer(PLACES365.importer, "folder", "Places365-Standard: easyformat or data_256", find_places, PLACES365),
)


def _held_out(copy: Copy, folder: str, classes: list[str]) -> Part:
    entries = copy.walk(folder)
    flat = [entry for entry in entries if entry[0].count("/") == 1]
    if not flat:
        return _by_path(entries)
    return copy.by_list(folder, flat, copy.root / "places365_val.txt", classes)


def _by_path(entries: Iterable[Entry]) -> Part:
    """Class = the inner folders without the letter: `bakery-shop` for `train/b/bakery/shop/1.jpg`."""
    part = Part()
    for entry in entries:
        _, *folders, _ = entry[0].split("/")
        if len(folders) > 1 and len(folders[0]) == 1:
            folders = folders[1:]
        if folders:
            part.entries.append(entry)
            part.classes.append("-".join(folders))
    return part


def _read_categories(path: Path) -> tuple[str, ...]:
    """Class names by number, from lines such as `/b/bakery/shop 31`; `DataError` unless they are sorted by name."""
    names: list[str] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        parts = name.strip("/").split("/")
        if label != str(len(names)) or len(parts) < 2 or len(parts[0]) != 1:
            raise DataError(f"{path}, line {number}: {line[:80]!r} is not `/letter/class {len(names)}`")
        names.append("-".join(parts[1:]))
    if names != sorted(set(names)):
        raise DataError(f"{path}: the published classes are numbered in the order of their names, these are not")
    return tuple(names)
