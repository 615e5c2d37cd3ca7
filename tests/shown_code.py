"""Run the Python that pages and notebooks show, on less work than they name and on 120 made digits per class."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.evaluation import classifier_network


def blocks(page: Path) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def little_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in the folder, with few digits and a classifier of six steps."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("taildiff.data.locate.embedded_digits", lambda: _digits(folder / "digits"))
    monkeypatch.setattr(classifier_network, "_STEPS", (6, 6))


def few_photos(folder: Path) -> None:
    """Four colour images of noise per class, in cat/ and dog/."""
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for n, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)):
            Image.fromarray(pixels).save(folder / name / f"{n}.png")


def run(code: Sequence[str], less: Mapping[str, str], source: str) -> dict[str, Any]:
    """Run pieces of code one after the other, with replacements; the names they leave."""
    names: dict[str, Any] = {"__name__": "page"}
    for piece in code:
        for much, little in less.items():
            piece = piece.replace(much, little)
        exec(compile(piece, source, "exec"), names)
    return names


def _digits(path: Path) -> Store:
    if path.exists():
        return Store.open(path)
    labels = np.repeat(np.arange(10), 120)
    images = np.random.default_rng(0).integers(0, 256, (1200, 28, 28, 1), dtype=np.uint8)
    with StoreWriter(path, "digits", tuple("0123456789"), (28, 28, 1), SourceMeta(source="made")) as writer:
        writer.append(images, labels, np.arange(1200) % 120 >= 100)
        return writer.close()
