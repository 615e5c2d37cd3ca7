"""`taildiff compare`, and `taildiff evaluate` of images, on the command line."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from cli.calls import call, said, tree
from comparison.test_compare import redefined
from comparison.test_seeds import trained
from evaluation import tiny
from reporting.fake_runs import make_run, write_errors
from taildiff.evaluation import classifier_network


def test_it_prints_marks_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", quality=1.0)
    for suffix in ("csv", "md", "tex"):
        out = tmp_path / f"table.{suffix}"
        assert call("compare", tmp_path / "a", tmp_path / "b", "--out", out) == 0
        assert out.stat().st_size > 500
    shown = said(capsys)
    assert "Fréchet ↓" in shown
    assert "taildiff report" in shown


def test_the_verdict_is_short_and_its_rows_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_errors(make_run(tmp_path / "plain"))
    write_errors(make_run(tmp_path / "ccua", quality=1.0))
    assert call("compare", tmp_path / "plain", tmp_path / "ccua") == 0
    verdict, _, rest = capsys.readouterr().out.partition("numbers, of all metrics, groups and guidances")
    assert "--out FILE.csv" in rest
    lines = verdict.splitlines()
    assert max(map(len, lines)) <= 80
    heading, *rows = (line.split() for line in lines[1:] if line.strip(" ─"))
    assert heading == ["metric", "classes", "g", "plain", "ccua", "difference", "p"]
    assert all(row[1] in "↑↓" for row in rows[:-1])  # a folded cell would be a line without a metric
    assert 4 <= len(rows) <= 20
    assert call("compare", tmp_path / "plain", tmp_path / "ccua", "--groups", "tail") == 0
    assert "description, not corrected" in capsys.readouterr().out


def test_seeds_are_one_column_on_request_and_offered_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    paths = [trained(tmp_path / f"a-{seed}", seed, quality=seed) for seed in range(3)]
    paths += [trained(tmp_path / f"b-{seed}", seed, quality=seed + 1, weight=0.2) for seed in range(3)]
    assert call("compare", *paths) == 0
    assert "a-0, a-1, a-2; b-0, b-1, b-2 differ only in the seed: --over-seeds" in said(capsys)
    out = tmp_path / "table.md"
    assert call("compare", *paths, "--over-seeds", "--out", out) == 0
    shown = said(capsys)
    assert "differ only in the seed" not in shown
    assert "paired by seed: b" in shown
    assert "8.1 ± 2.2" in shown
    assert "| a (3 seeds) | b (3 seeds) | b − a |" in out.read_text()
    before = tree(tmp_path)
    assert call("compare", *paths, tmp_path / "pictures", "--over-seeds", "--out", tmp_path / "x.md") == 2
    assert "over separately trained runs" in said(capsys)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a"], "give at least two runs to compare"),
        (["a", "b", "--out", "x.pdf"], ".csv, .md, .tex or .svg"),
        (["a", "none"], "does not exist"),
        (["a", "c"], "different definitions (k: 3 and 4)"),
        (["a", "b", "--at", "noon"], "noon"),
    ],
)
def test_mistakes_end_with_2_and_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str], message: str
):
    monkeypatch.chdir(tmp_path)
    make_run(Path("a"))
    make_run(Path("b"), quality=1.0)
    redefined(make_run(Path("c")), spec={"k": 4})
    before = tree(tmp_path)
    assert call("compare", *args) == 2
    assert message in said(capsys)
    assert tree(tmp_path) == before


def test_a_choice_fits_a_paper_and_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for quality, name in enumerate(("plain", "a method of ours", "cbdm")):
        write_errors(make_run(tmp_path / name, quality=quality))
    paths = [tmp_path / name for name in ("plain", "a method of ours", "cbdm")]
    chosen = ("--metrics", "frechet,recall", "--groups", "all,tail", "--guidance", "best")
    assert call("compare", *paths, *chosen, "--out", tmp_path / "t.tex") == 0
    shown = capsys.readouterr().out.splitlines()
    tables = [line for line in shown if str(tmp_path) not in line and not line.startswith("note: ")]
    assert max(map(len, tables)) <= 80
    assert "accuracy" not in "".join(tables)
    text = (tmp_path / "t.tex").read_text()
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert len(body) == 15
    assert body[0] == r"\begin{table}[t]"
    assert r"\label{tab:plain-a-method-of-ours-cbdm}" in text
    assert r"{\scriptsize ($-$0.9)}" in text
    assert r"\textbf" in text
    assert call("compare", *paths, "--out", tmp_path / "t.svg", "--groups", "tail") == 0
    root = ElementTree.parse(tmp_path / "t.svg").getroot()
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"plain", "a method of ours", "Fréchet distance ↓", "tail", "guidance"} <= texts
    assert "var(" not in (tmp_path / "t.svg").read_text()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--metrics", "recal"], "did you mean 'recall'"),
        (["--groups", "tails"], "did you mean 'tail'"),
        (["--guidance", "7"], "nothing to show: no number has these metrics, groups and guidance. metrics: "),
        (["--guidance", "1,2"], "--guidance takes one value or best"),
        (["--metrics", "frechet,recall,accuracy", "--groups", "all,head,tail", "--out", "t.tex"], "at most 8 numbers"),
    ],
)
def test_a_wrong_choice_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str], message: str
):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_errors(make_run(Path(name)))
    before = tree(tmp_path)
    assert call("compare", "a", "b", *args) == 2
    assert message in said(capsys)
    assert tree(tmp_path) == before


def test_an_npz_against_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(classifier_network, "_STEPS", (20, 20))
    store = tiny.make_store(tmp_path / "store", (40, 40, 40), (10, 10, 10))
    images, labels = tiny.images((30, 30, 30), seed=5)
    for name in ("x", "y"):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels)
        assert call("evaluate", tmp_path / f"{name}.npz", "--data", store.root, "--metrics", "recall,frechet") == 0
    shown = said(capsys)
    assert "recall" in shown
    assert str(tmp_path / "x.npz-evals") in shown.replace(" ", "")
    assert call("compare", tmp_path / "x.npz", tmp_path / "y.npz") == 0
    assert call("evaluate", tmp_path / "x.npz") == 2
    assert "--data STORE, FOLDER or NPZ" in said(capsys)
    assert call("evaluate", tmp_path / "x.npz", "--data", store.root, "--guidance", "2") == 2
    assert "--guidance does not apply to images from elsewhere; remove it" in said(capsys)
    assert call("evaluate", tmp_path / "x.npz", "--data", store.root, "--metrics", "recal") == 2
    assert "did you mean 'recall'" in said(capsys)


def test_seeds_are_averaged_and_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from taildiff.evaluation.table import Table

    monkeypatch.setattr(classifier_network, "_STEPS", (20, 20))
    store = tiny.make_store(tmp_path / "store", (40, 40, 40), (10, 10, 10))
    run = tiny.make_run(tmp_path / "run", store)
    requested = ("--guidance", "1", "--per-class", "20", "--sampler", "euler", "--steps", "1", "--metrics", "accuracy")
    assert call("evaluate", run.root, *requested, "--seeds", "3,4", "--utility") == 0
    (folder,) = run.evaluations()
    table = Table.read(folder)
    (mean,) = table.select("accuracy", "all")
    own = [row.value for row in table.by_seed if (row.metric, row.group) == ("accuracy", "all")]
    assert mean.seed is None
    assert mean.value == pytest.approx(sum(value or 0 for value in own) / 2)
    assert [row.seed for row in table.by_seed if row.group == "all" and row.metric == "accuracy"] == [3, 4]
    assert table.value("utility_completed", "all") is not None
    assert call("evaluate", run.root, *requested, "--seeds", "3,3") == 2
