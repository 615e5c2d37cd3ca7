"""docs/api.md runs as it stands: its Python blocks one after the other, on less work than the page names."""

import inspect
import re
from pathlib import Path

import pytest

import taildiff
from shown_code import blocks, few_photos, little_work, run

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
LESS = {
    "steps=2000": "steps=2, batch_size=4",
    "per_class=8": "per_class=1, sampler='euler', steps=2",
    "per_class=100": "per_class=2, sampler='euler', steps=1",
    "stop_at=100": "stop_at=1",
    '"exported/ccua", ': '"exported/ccua", grid=0, steps=1, ',
}


@pytest.fixture
def _little_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A working directory with photos/cat and photos/dog, and 120 digits per class instead of 500."""
    little_work(tmp_path, monkeypatch)
    few_photos(tmp_path / "photos")


@pytest.mark.slow
@pytest.mark.usefixtures("_little_data")
def test_the_blocks_run(tmp_path: Path):
    code = blocks(PAGE)
    assert len(code) == 8
    names = run(code, LESS, str(PAGE))
    assert names["x"].shape == (3, 1, 28, 28)
    assert [image.size for image in names["images"]] == [(28, 28)] * 3
    assert [stage.shape for stage in names["stages"]] == [(1, 28, 28, 1)] * 10
    assert len(names["tail"]) == 3
    assert names["table"].names == ("plain", "ccua")
    assert names["page"].is_file()
    assert names["store"].facts.counts == (4, 4)
    for place in ("runs/ccua/drawn-info/grid.png", "accuracy.png", "table.md", "runs/slower/run.json"):
        assert (tmp_path / place).is_file()


def test_less_work_replaces_what_the_page_says():
    text = "".join(blocks(PAGE))
    assert all(much in text for much in LESS)


def test_every_public_name_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    for name in set(taildiff.__all__) - {"__version__", "TaildiffError"}:
        assert re.search(rf"^\.\. auto\w+:: taildiff\.{name}$", text, re.MULTILINE), name


def test_every_argument_of_the_front_door_is_described():
    for name in (
        "train",
        "load",
        "sample",
        "evaluate",
        "compare",
        "report",
        "prepare",
        "encode",
        "export",
        "export_data",
        "fill",
    ):
        function = getattr(taildiff, name)
        text = inspect.getdoc(function) or ""
        for argument in inspect.signature(function).parameters:
            assert re.search(rf"^\s+\*{{0,2}}{argument}: ", text, re.MULTILINE), (name, argument)
