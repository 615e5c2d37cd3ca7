"""`--intervals none`: the same values, empty intervals, and comparisons and reports that say so."""

from pathlib import Path

import pytest

import taildiff
from evaluation import tiny
from taildiff.cli import main
from taildiff.data.store import Store
from taildiff.evaluation import classifier_network
from taildiff.evaluation import evaluate as module
from taildiff.evaluation.table import Table
from taildiff.run.layout import EvalDir, RunDir
from taildiff.spec import DataSpec, EvalSpec, SamplingSpec

SPEC = EvalSpec(guidance=(1.0,), per_class=40, sampling=SamplingSpec(sampler="euler", steps=1))
ALL = ("accuracy", "frechet", "kernel_distance", "recall", "coverage", "density")


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (40, 40))
    monkeypatch.setattr(classifier_network, "_BATCH", 32)
    monkeypatch.setattr(module, "generate", lambda *_, **__: tiny.images((40, 40, 40), seed=9)[0])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return tiny.make_store(tmp_path / "store", (60, 60, 60), (20, 20, 20))


@pytest.fixture
def runs(tmp_path: Path, store: Store) -> list[RunDir]:
    return [tiny.make_run(tmp_path / name, store, data=DataSpec(tail="exp", ratio=0.1)) for name in ("one", "other")]


def test_the_values_are_the_same_and_intervals_are_empty(runs: list[RunDir]):
    full = taildiff.evaluate(runs[0].root, spec=SPEC, utility=True)
    bare = taildiff.evaluate(runs[0].root, spec=SPEC, utility=True, intervals="none")
    assert full.folder != bare.folder
    assert taildiff.evaluate(runs[0].root, spec=SPEC, utility=True).folder == full.folder
    for row, other in zip(full.rows, bare.rows, strict=True):
        assert (row.metric, row.value, row.n_real, row.n_generated) == (
            other.metric, other.value, other.n_real, other.n_generated,
        )  # fmt: skip
        assert (other.low, other.high) == (None, None)
    assert {row.metric for row in full.rows if row.low is not None} >= {*ALL, "classifier_accuracy", "utility_gain"}
    lines = (bare.folder / "table.csv").read_text().splitlines()
    assert lines[0].split(",")[6:8] == ["low", "high"]
    assert all(line.split(",")[6:8] == ["", ""] for line in lines[1:])
    assert any("evaluated without intervals" in note for note in bare.table.notes)
    assert not any("without intervals" in note for note in full.table.notes)


def test_names_and_tables_of_older_evaluations_stay(runs: list[RunDir]):
    """The field is in no name at its default, and a table from before it existed is one with intervals."""
    assert "intervals" not in SPEC.identity
    assert SPEC.model_copy(update={"intervals": "none"}).identity["intervals"] == "none"
    values = SPEC.model_dump()
    values.pop("intervals")
    assert EvalSpec.model_validate(values) == SPEC


def test_comparisons_and_reports_say_what_is_missing(runs: list[RunDir]):
    for run, intervals in zip(runs, ("all", "none"), strict=True):
        taildiff.evaluate(run.root, spec=SPEC, intervals=intervals)
    compared = taildiff.compare(*(run.root for run in runs))
    assert not compared.verdict.judged
    assert any(
        note.startswith("no verdict: no number of its family has an interval") for note in compared.verdict.notes
    )
    (note,) = [note for note in compared.notes if note.startswith("no intervals of differences")]
    assert "for other: evaluated with --intervals none" in note
    differences = [cell.difference for line in compared.lines for cell in line.cells[1:] if cell.difference]
    assert differences
    assert all(d.low is None and d.p is None for d in differences)
    page = taildiff.report(*(run.root for run in runs)).read_text()
    assert "No verdict: no number of its family has an interval of its difference" in page
    assert "Fréchet distances have no interval here" in page
    taildiff.evaluate(runs[1].root, spec=SPEC)
    taildiff.evaluate(runs[1].root, spec=SPEC.model_copy(update={"metrics": ("frechet",)}), intervals="none")
    again = taildiff.compare(*(run.root for run in runs))  # the newest one without intervals adds nothing
    assert again.verdict.judged
    assert not any("--intervals none" in note for note in again.notes)
    assert "has no interval" not in taildiff.report(*(run.root for run in runs)).read_text()


def test_from_the_command_line(runs: list[RunDir], capsys: pytest.CaptureFixture[str]):
    sampling = ["--sampler", "euler", "--steps", "1", "--guidance", "1", "--per-class", "40"]
    assert main.main(["evaluate", str(runs[0].root), "--intervals", "none", "--metrics", "recall", *sampling]) == 0
    assert "evaluated without intervals" in " ".join(capsys.readouterr().out.split())
    (folder,) = runs[0].evaluations()
    assert all(row.low is None for row in Table.read(EvalDir(folder.root)).rows)
    assert main.main(["evaluate", str(runs[0].root), "--intervals", "some", *sampling]) == 2
