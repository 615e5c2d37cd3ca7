"""`taildiff compare`, and `taildiff evaluate` of images, on the command line."""

from pathlib import Path

import numpy as np
import pytest

from cli.calls import call, said, tree
from comparison.test_compare import redefined
from comparison.test_seeds import trained
from evaluation import tiny
from reporting.fake_runs import make_run
from taildiff.evaluation import classifier_network


def test_it_prints_marks_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", quality=1.0)
    for suffix in ("csv", "md", "tex"):
        out = tmp_path / f"table.{suffix}"
        assert call("compare", tmp_path / "a", tmp_path / "b", "--out", out) == 0
        assert out.stat().st_size > 1000
    shown = said(capsys)
    assert "Fréchet distance ↓" in shown
    assert "taildiff report" in shown


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
        (["a", "b", "--out", "x.pdf"], ".csv, .md or .tex"),
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
