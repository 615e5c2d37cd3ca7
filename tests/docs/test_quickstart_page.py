"""docs/quickstart.md runs as it stands: its Python blocks one after the other, on less work than the page names."""

from pathlib import Path

import pytest

from shown_code import blocks, little_work, run

PAGE = Path(__file__).parents[2] / "docs" / "quickstart.md"
LESS = {
    "steps=300": "steps=1, batch_size=4",
    "per_class=20, steps=10": "per_class=2, steps=1, metrics=['accuracy']",
    "guidance=1.5, steps=10": "guidance=1.5, steps=1",
    "grid=4": "grid=0",
}


def test_less_work_replaces_what_the_page_says():
    assert all(much in "".join(blocks(PAGE)) for much in LESS)


@pytest.mark.slow
def test_the_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    little_work(tmp_path, monkeypatch)
    run(blocks(PAGE), LESS, str(PAGE))
    assert (tmp_path / "nine.png").is_file()
    assert capsys.readouterr().out.splitlines()[-1] == "[True, True, True]"
