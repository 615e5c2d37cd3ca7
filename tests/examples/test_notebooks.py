"""The notebooks' cells run one after the other, on less work than they name, and are saved without outputs."""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.evaluation import classifier_network

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
LESS = {
    "practitioner": {
        '("circle", 120), ("square", 60), ("cross", 12)': '("circle", 30), ("square", 26), ("cross", 24)',
        "steps=2000": "steps=1, changes={'model.channels': (8, 16), 'batch_size': 4, 'model.attention': ()}",
        "steps=20": "steps=1",
        "per_class=50": "per_class=2",
        "per_class=20": "per_class=1",
        'license="other"': "grid=0",
    },
    "researcher": {
        '"steps": 800': '"steps": 1, "batch_size": 4',
        "guidance=(1, 1.5, 2), per_class=50, steps=20": "guidance=(1, 1.5), per_class=2, steps=1",
    },
}


def cells(name: str) -> list[dict[str, Any]]:
    return json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]


def code(name: str) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(name) if cell["cell_type"] == "code"]


@pytest.mark.parametrize("name", LESS)
def test_cells_are_saved_without_outputs_and_less_work_replaces_what_they_say(name: str):
    assert all(cell["outputs"] == [] for cell in cells(name) if cell["cell_type"] == "code")
    assert len({cell["id"] for cell in cells(name)}) == len(cells(name))
    text = "".join(code(name))
    assert all(much in text for much in LESS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LESS)
def test_the_cells_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(classifier_network, "_STEPS", (6, 6))
    monkeypatch.setattr("taildiff.data.locate.embedded_digits", lambda: _digits(tmp_path / "digits"))
    names: dict[str, Any] = {"__name__": "notebook"}
    for cell in code(name):
        for much, little in LESS[name].items():
            cell = cell.replace(much, little)
        exec(compile(cell, name, "exec"), names)
    plt.close("all")
    if name == "practitioner":
        assert len(list((tmp_path / "generated").glob("*/*.png"))) == 1
        assert (tmp_path / "exported" / "photos" / "README.md").is_file()
        assert names["evaluation"]._repr_html_().startswith("<table>")
    else:
        assert (tmp_path / "report.html").is_file()
        assert names["table"].names == ("plain", "ccua", "weaker")


def _digits(path: Path) -> Store:
    if path.exists():
        return Store.open(path)
    labels = np.repeat(np.arange(10), 120)
    images = np.random.default_rng(0).integers(0, 256, (1200, 28, 28, 1), dtype=np.uint8)
    with StoreWriter(path, "digits", tuple("0123456789"), (28, 28, 1), SourceMeta(source="made")) as writer:
        writer.append(images, labels, np.arange(1200) % 120 >= 100)
        return writer.close()
