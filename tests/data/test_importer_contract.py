"""Every importer passes the contract check, on a small source."""

import numpy as np
import pytest
import sources

from taildiff.data.formats import importers
from taildiff.testing import check_importer


def folder(place):
    for k in range(4):
        sources.jpeg(place / "ab"[k % 2] / f"{k}.jpg", k)


def arrays(place):
    np.savez(place, images=sources.pixels(12, 8, 8), labels=np.arange(12) % 3)


def table(place):
    for k in range(4):
        sources.jpeg(place.parent / f"{k}.jpg", k)
    sep, head = (",", "path,label\n") if place.suffix == ".csv" else (" ", "")
    place.write_text(head + "".join(f"{k}.jpg{sep}{k % 2}\n" for k in range(4)))


def parquet(place):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": (place.parent / f"{k}.jpg").read_bytes(), "path": None} for k in range(4)]
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": [0, 1, 0, 1]}), place)


def places(place):
    for k in range(6):
        sources.jpeg(place / ("train", "val")[k // 4] / "ab"[k % 2] / f"{k}.jpg", k)


PARTIAL = {"partial": True}
SOURCES = {
    "mnist5k": (None, None, {}),
    "folder": ("photos", folder, {}),
    "csv": ("table.csv", table, {}),
    "list": ("list.txt", table, {}),
    "npz": ("arrays.npz", arrays, {}),
    "parquet": ("images.parquet", parquet, {}),
    "mnist": ("mnist", sources.mnist, {}),
    "cifar10": ("cifar10", sources.cifar10, {}),
    "cifar100": ("cifar100", sources.cifar100, {"labels": "coarse"}),
    "tinyimagenet": ("tiny", sources.tinyimagenet, PARTIAL),
    "imagenet": ("ilsvrc", sources.imagenet, PARTIAL),
    "places365": ("places", places, PARTIAL),
    "inaturalist2018": ("inat", sources.inaturalist, PARTIAL),
}


@pytest.mark.parametrize("name", [name for name in importers() if name != "hf"])  # a dataset saved by an extra
def test_contract(name, tmp_path):
    place, write, options = SOURCES[name]
    source = place and tmp_path / place
    if write:
        table(tmp_path / "some.csv")
        write(source)
    check_importer(importers()[name], source, **options)
