"""The notebooks' cells run one after the other, on less work than they name, and are saved without outputs."""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from shown_code import little_work, run

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
LESS = {
    "practitioner": {
        '("circle", 120), ("square", 60), ("cross", 12)': '("circle", 30), ("square", 26), ("cross", 24)',
        'out="runs/photos", ': (
            "out='runs/photos', steps=1, changes={'model.channels': (8, 16), 'batch_size': 4, 'model.attention': ()}, "
        ),
        'format="pil"': "format='pil', steps=1",
        "per_class=50": "per_class=2, steps=1",
        "to=60": "to=25, steps=1",
        'license="other"': "grid=0",
    },
    "researcher": {
        '"steps": 800': '"steps": 1, "batch_size": 4',
        "guidance=(1, 1.5, 2), per_class=50": "guidance=(1, 1.5), per_class=2, steps=1",
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
    little_work(tmp_path, monkeypatch)
    names = run(code(name), LESS[name], name)
    plt.close("all")
    if name == "practitioner":
        counts = names["filled"].counts["cross"]
        assert len(list((tmp_path / "filled" / "cross").iterdir())) == 24 + counts.admitted
        assert counts.admitted + counts.missing == 1
        assert (tmp_path / "filled-gallery.html").is_file()
        assert (tmp_path / "exported" / "photos" / "README.md").is_file()
        assert names["evaluation"]._repr_html_().startswith("<table>")
    else:
        assert (tmp_path / "report.html").is_file()
        assert names["table"].names == ("plain", "ccua", "weaker")
