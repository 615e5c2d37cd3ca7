"""Names of files and classes that act on terminals, spreadsheets, Markdown or LaTeX act nowhere."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.calls import call
from reporting.fake_runs import make_run

ESC, BIDI = "\x1b]0;owned\x07", "\u202egnp.exe"
NAMES = (ESC, "=1+1", f"evil{BIDI}", "<img src=x>", "a|b", "two\nlines", "$x_1^2$", "-1", ":cat:", "[bold]x")
ACTING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    images = np.zeros((10, 8, 8, 1), np.uint8), np.arange(10)
    names = ("=cmd", f"b{ESC}")
    return [str(make_run(Path(n), names=NAMES, images=images, quality=q).root) for q, n in enumerate(names)]


def test_reports_and_comparisons(runs: list[str], capsys: pytest.CaptureFixture[str]):
    assert call("report", *runs, "--out", "page.html") == 0
    for suffix in (".csv", ".md", ".tex"):
        assert call("compare", *runs, "--classes", "--out", f"table{suffix}") == 0
    named = Path(runs[0]).rename("$x_1^2$")  # classes that many are in no LaTeX table
    assert call("compare", str(named), runs[1], "--out", "named.tex") == 0
    printed = "".join(capsys.readouterr())
    for name in ("<img src=x>", "a|b", "$x_1^2$", ":cat:", "[bold]x", r"\x1b]0;", r"\u202e"):
        assert name in printed
    assert r"$'b\x1b]0;owned\x07'" in printed  # in the commands that come next
    files = {path.suffix: path.read_text() for path in Path().glob("[pt]*.*") if path.is_file()}
    assert sorted(files) == [".csv", ".html", ".md", ".tex"]
    for text in (printed, *files.values()):
        assert not ACTING.search(text)
    assert "| &lt;img src=x&gt; |" in files[".md"]
    assert r"| a\|b |" in files[".md"]
    text = Path("named.tex").read_text()
    assert r"\$x\_1\textasciicircum{}2\$ &" in text
    assert not ACTING.search(text)
    assert "<img src=x>" not in files[".html"]


def test_cells_are_no_formulas_and_numbers_stay(runs: list[str]):
    assert call("compare", *runs, "--out", "table.csv") == 0
    with Path("table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["subject"] for row in rows} == {"'=cmd", r"b\x1b]0;owned\x07"}
    assert {"'=1+1", "-1", ":cat:", r"evil\u202egnp.exe"} < {row["class"] for row in rows}
    assert min(float(row["difference"]) for row in rows if row["difference"]) < 0
    with next(Path(runs[0]).glob("evals/*/table.csv")).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} == {"'=cmd"}
    assert {"'=1+1", "-1"} < {row["class"] for row in rows}


@pytest.mark.parametrize(
    "args",
    [
        *((ESC,), ("train", ESC), ("data", "show", ESC), ("data", ESC), ("report", ESC), ("recipes", ESC)),
        *(("evaluate", "run", f"--{ESC}"), ("sample", "run", "--out", "x", "--per-class", ESC)),
        *(("compare", f"a{BIDI}", "b"), ("train", "mnist5k-ccua", "--out", "x", "--data", f"\udcff{ESC}")),
    ],
)
def test_arguments_in_errors(args: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    assert call(*args) == 2
    printed = capsys.readouterr()
    assert not ACTING.search(printed.out + printed.err)
    assert r"\x1b]0;owned" in printed.err.replace("│", "") or r"\u202e" in printed.err


def test_preparing_and_showing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate("ab"):
        Path("photos", name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 9 * k, np.uint8)).save(Path("photos", name, "x.png"))
        Path("photos", name, f"broken{ESC}.png").write_bytes(b"no image")
    store = f"store{ESC}"
    assert call("data", "show", "photos") == 0
    Path("photos", "=1+1").mkdir()
    Image.new("L", (8, 8)).save(Path("photos", "=1+1", "x.png"))
    assert call("data", "prepare", "folder", "photos", "--out", store, "--size", 8) == 0
    assert call("data", "show", store, "--verify") == 0
    printed = "".join(capsys.readouterr())
    assert not ACTING.search(printed)
    assert r"broken\x1b]0;owned\x07.png" in printed
