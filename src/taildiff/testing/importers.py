"""The contract of an importer, from its record to a small store."""

import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from taildiff.data.formats.importer import Importer
from taildiff.data.prepare import prepare
from taildiff.data.source import Found, Source
from taildiff.errors import DataError
from taildiff.testing.base import raises, require


def check_importer(importer: Importer, source: Path | None = None, **options: Any) -> None:
    """Check an importer on a small source; `options` are parameters of its `find`."""
    name, where = f"importer {importer.name}", (source,) if importer.source else ()
    require(
        importer.help.strip() and "\n" not in importer.help, f"{name}: help must be one line, for data prepare --help"
    )
    require(
        not raises(AttributeError, lambda: importer.options),
        f"{name}: annotate each option of find as Annotated[type, Option(help)]",
    )
    decoded = AssertionError(f"{name}: find opens an image; leave that to Found.read, find must be quick")
    with patch("PIL.Image.open", side_effect=decoded):
        found, again = (importer.find(*where, **options) for _ in range(2))
    _check_found(name, found, again)
    items, same_items = found.read(), again.read()
    _check_source(name, items)
    _check_same(name, items, same_items)
    _check_store(name, found, items)
    if source is not None:
        missing = source.with_name(f"missing-{source.name}")
        require(
            missing.name in raises(DataError, lambda: importer.find(missing, **options)),
            f"{name}: find must raise a DataError that names a source that does not exist: call check_place(source)",
        )


def _check_found(name: str, found: Found, again: Found) -> None:
    require(found.source and found.name and found.size > 0, f"{name}: Found needs a source, a name and a size")
    require(
        (found.source, found.fingerprint, found.options) == (again.source, again.fingerprint, again.options),
        f"{name}: an unchanged source must give the same source, fingerprint and options: make the fingerprint from "
        "names, sizes and times of files with fingerprint_of",
    )


def _check_source(name: str, items: Source) -> None:
    labels, count, classes = items.labels, len(items.labels), len(items.class_names)
    require(
        labels.dtype == np.int64 and labels.shape == (count,) and count > 0,
        f"{name}: labels must be int64 of the shape (n,), not {labels.dtype} {labels.shape}",
    )
    require(
        labels.min() >= 0 and labels.max() < classes,
        f"{name}: labels are {labels.min()}..{labels.max()} for {classes} class names; number them 0..{classes - 1}",
    )
    require(len(set(items.class_names)) == classes, f"{name}: a class name occurs twice")
    require(
        items.test.dtype == np.bool_ and items.test.shape == (count,),
        f"{name}: test must be bool of the shape ({count},), True for held-out items",
    )
    require(
        items.names is None or len(set(items.names)) == len(items.names) == count,
        f"{name}: names must hold one unique name per item, relative to the source",
    )


def _check_same(name: str, items: Source, again: Source) -> None:
    """Two reads give equal items, from any position on."""
    pictures = list(items.pictures(0))
    count = len(items.labels)
    require(len(pictures) == count, f"{name}: pictures(0) gives {len(pictures)} pictures for {count} labels")
    for picture in pictures:
        require(
            picture.dtype in (np.uint8, np.uint16) and picture.ndim in (2, 3)
            if isinstance(picture, np.ndarray)
            else isinstance(picture, bytes) or picture.is_file(),
            f"{name}: a picture must be the path of a file, encoded bytes, or uint8 or uint16 (H, W) or (H, W, C)",
        )
    require(
        items.class_names == again.class_names
        and np.array_equal(items.labels, again.labels)
        and np.array_equal(items.test, again.test)
        and items.names == again.names
        and _equal(pictures, list(again.pictures(0))),
        f"{name}: two reads of the same source differ: sort what the file system lists",
    )
    for start in (1, count - 1, count):
        require(
            _equal(pictures[start:], list(again.pictures(start))),
            f"{name}: pictures({start}) must give the pictures from that position on, to resume preparation there",
        )


def _equal(pictures: list[Any], others: list[Any]) -> bool:
    return len(pictures) == len(others) and all(map(np.array_equal, pictures, others))


def _check_store(name: str, found: Found, items: Source) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = prepare(found, Path(folder) / "store", 16)
        require(not store.meta.skipped, f"{name}: {store.meta.skipped} pictures cannot be decoded; use a good source")
        images = np.array(store.images)
        require(
            images.dtype == np.uint8 and images.shape[:3] == (len(items.labels), 16, 16),
            f"{name}: the store has images of {images.dtype} {images.shape} for {len(items.labels)} items at size 16",
        )
        require(
            np.array_equal(store.labels, items.labels) and store.meta.class_names == items.class_names,
            f"{name}: the store has other labels than the source",
        )
