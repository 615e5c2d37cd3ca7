"""docs/quickstart.md runs as it stands: its Python blocks one after the other, on less work than the page names."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.evaluation import classifier_network

PAGE = Path(__file__).parents[2] / "docs" / "quickstart.md"
LESS = {
    "steps=300": "steps=1, batch_size=4",
    "per_class=20, steps=10": "per_class=2, steps=1, metrics=['accuracy']",
    "guidance=1.5, steps=10": "guidance=1.5, steps=1",
    "grid=4": "grid=0",
}


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_less_work_replaces_what_the_page_says():
    assert all(much in "".join(blocks()) for much in LESS)


@pytest.mark.slow
def test_the_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(classifier_network, "_STEPS", (6, 6))
    monkeypatch.setattr("taildiff.data.locate.embedded_digits", lambda: _digits(tmp_path / "digits"))
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks():
        for much, little in LESS.items():
            block = block.replace(much, little)
        exec(compile(block, str(PAGE), "exec"), names)
    assert (tmp_path / "nine.png").is_file()
    assert capsys.readouterr().out.splitlines()[-1] == "[True, True, True]"


def _digits(path: Path) -> Store:
    if path.exists():
        return Store.open(path)
    labels = np.repeat(np.arange(10), 120)
    images = np.random.default_rng(0).integers(0, 256, (1200, 28, 28, 1), dtype=np.uint8)
    with StoreWriter(path, "digits", tuple("0123456789"), (28, 28, 1), SourceMeta(source="made")) as writer:
        writer.append(images, labels, np.arange(1200) % 120 >= 100)
        return writer.close()
