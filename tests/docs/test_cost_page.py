"""The page on costs is what its script makes of the measurements that lie in the repository."""

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    return runpy.run_path(str(ROOT / "benchmarks" / "cost_page.py"))


def test_the_page_is_up_to_date(script):
    text = (ROOT / "docs" / "methods" / "cost.md").read_text(encoding="utf-8")
    assert text == script["page"](ROOT / "benchmarks" / "results"), "run: python benchmarks/cost_page.py"


def test_measurements_and_rows_come_into_the_page(script, tmp_path):
    assert "| CCUA, null rows 0.25 | 80 | 0 | not measured yet |" in script["page"](tmp_path)
    assert "| UCL alone, null rows 0.25 | 64 | 16 |" in script["page"](tmp_path)
    record = {"recipe": "r", "batch": 8, "hardware": "h", "machine": "m", "torch": "t", "rounds": 3, "plain_ms": 4.5}
    for name, ratio in (("step_cost", 1.234), ("step_cost_gpu", 1.5)):
        (tmp_path / f"{name}.json").write_text(json.dumps(record | {"ratio": {"CBDM": ratio}}))
    text = script["page"](tmp_path)
    assert "| CBDM | 128 | 0 | 1.23 | 1.50 |" in text
    assert "| T2H | 64 | 0 | – | – |" in text
    assert text.count("plain takes 4.5 ms per step; 3 rounds; torch t, m.") == 2
