"""Studies that run: cells, resuming, sharing, failures."""

import csv
import io
import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study import tiny_study
from taildiff.api.training import Interrupted
from taildiff.cli.main import main
from taildiff.data.store import Store
from taildiff.errors import NonFiniteError, RunError
from taildiff.evaluation import classifier_network
from taildiff.evaluation.table import Table
from taildiff.io.lock import BusyError, locked
from taildiff.io.staging import lock_of
from taildiff.study import budget, verbs, work
from taildiff.study.cells import StudyDir, cells_of
from taildiff.study.choose import Progressed
from taildiff.study.file import Study
from taildiff.study.results import collect, comparison


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier_network, "_STEPS", (2, 2))
        patch.setattr(budget, "measure", tiny_study.plan)
        patch.setattr(verbs, "measure", tiny_study.plan)
        patch.setattr(work, "POLL_SECONDS", 0.05)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, _quick: None) -> Path:
    """The file of a study that has run, shared by two threads with one cell failing."""
    from evaluation import tiny

    folder = tmp_path_factory.mktemp("study")
    path = tiny_study.write(folder, tiny.make_store(folder / "store", (8, 6, 4), (4, 4, 4)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "train", failing_in("al@1/seed5"))
        verbs.run(path)
    return path


def failing_in(name: str) -> Any:
    train = work.train

    def trained(spec: Any, *, out: Path, **options: Any) -> Any:
        if str(out).endswith(name):
            raise NonFiniteError("training stopped in step 2: loss is NaN")
        return train(spec, out=out, **options)

    return trained


def state(path: Path) -> Progressed:
    study = Study.read(path)
    folder = StudyDir(study.folder)
    plan = budget.read_plan(folder)
    assert plan
    return Progressed(study, folder, plan)


def test_every_cell_is_trained_and_evaluated(done: Path):
    known = verbs.status(done)
    assert (known.count("complete"), known.count("failed"), len(known.lines)) == (7, 1, 8)
    assert [line.cell for line in known.lines[:4]] == [
        f"noise/{arm}/seed4" for arm in ("plain@1", "plain@2", "al@1", "al@2")
    ]
    (failed,) = (line for line in known.lines if line.status == "failed")
    assert (failed.cell, failed.detail) == ("noise/al@1/seed5", "training stopped in step 2: loss is NaN")
    assert known.prediction.cells == 0


def test_weights_at_equal_steps_and_at_equal_time_are_kept_and_no_others(done: Path):
    steps = {cell.arm.name: cell.run.weight_steps() for cell in cells_of(*opened(done)) if not cell.failed}
    assert steps == {"plain@1": [3, 6], "plain@2": [3, 6], "al@1": [3], "al@2": [3]}
    assert all(cell.run.checkpoint_steps() == cell.run.weight_steps()[-1:] for cell in cells_of(*opened(done)))


def opened(path: Path) -> tuple[Study, StudyDir]:
    study = Study.read(path)
    return study, StudyDir(study.folder)


def test_the_choice_is_made_on_seed_a_and_reported_on_seed_b(done: Path):
    progressed = state(done)
    choices = progressed.choices()
    assert set(choices) == {("noise", m, at) for m in ("plain", "al") for at in ("time", "steps")}
    assert choices["noise", "al", "time"].setting == 1  # the other has a failed seed
    for cell in cells_of(progressed.study, progressed.folder):
        if cell.failed:
            continue
        choice = choices["noise", cell.arm.method.name, "time"]
        search, report = progressed.search(cell, "time"), progressed.report(cell, "time", choice)
        assert search
        assert {row.seed for row in search.rows if row.guidance} == {0}
        assert search.guidances == (1.0, 2.0)
        assert (report is not None) == (cell.arm.setting == choice.setting)
        if report:
            assert {row.seed for row in report.rows if row.guidance} == {1}
            assert report.guidances == (choice.guidance,)


def test_a_finished_study_does_nothing_and_a_failed_cell_is_tried_again_on_request(done: Path, tmp_path: Path):
    before = {path: path.stat().st_mtime_ns for path in done.parent.rglob("table.json")}
    verbs.run(done)
    assert {path: path.stat().st_mtime_ns for path in done.parent.rglob("table.json")} == before
    cell = cells_of(*opened(done))[0]
    lock_of(cell.root).touch()  # of a process that was killed before it had tidied up
    shutil.copytree(cell.run.state(6), cell.run.state(3))
    verbs.run(done)
    assert not lock_of(cell.root).exists()
    assert cell.run.checkpoint_steps() == [6]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "train", failing_in("al@1/seed5"))
        assert verbs.run(done, retry_failed=True).count("failed") == 1


def test_another_study_in_the_folder_is_refused(done: Path, tmp_path: Path):
    text = done.read_text().replace("seconds = 2", "seconds = 3")
    other = tmp_path / "other.toml"
    other.write_text(text)
    for call in (verbs.run, verbs.status):
        with pytest.raises(RunError, match="a changed file is another study"):
            call(other, Study.read(done).folder)


def test_a_stopped_study_resumes_and_shares_its_cells(tiny_store: Store, tmp_path: Path, monkeypatch: Any):
    path = tiny_study.write(tmp_path, tiny_store, **{"[4, 5]": "[4]"})
    text = path.read_text()
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("settings")))
    monkeypatch.setattr(budget, "measure", unnumbered)
    train, calls = work.train, list[int]()

    def stopping(spec: Any, **options: Any) -> Any:
        calls.append(options["stop_at"])
        run = train(spec, **options)
        if len(calls) == 2:
            assert run.outcome
            raise Interrupted(run, run.outcome)
        return run

    monkeypatch.setattr(work, "train", stopping)
    with pytest.raises(Interrupted):
        verbs.run(path)
    assert verbs.status(path).count("complete") == 0
    first, _ = cells_of(*opened(path))
    results: list[Any] = []
    with locked(lock_of(first.root), BusyError):
        thread = threading.Thread(target=lambda: results.append(verbs.run(path)))
        thread.start()
        while thread.is_alive() and not verbs.status(path).count("complete"):
            time.sleep(0.05)
        assert thread.is_alive()  # the other cell is done; this one is held by another process
        statuses = {line.cell: line.status for line in verbs.status(path).lines}
        assert statuses["noise/plain/seed4"] != "complete"
    thread.join(timeout=60)
    assert results[0].count("complete") == 2
    assert calls == [3, 6, 3]  # nothing is trained twice


def unnumbered(study: Study, *rest: Any) -> budget.Plan:
    plan = tiny_study.plan(study, *rest)
    arms = {key.removesuffix("@1"): cost for key, cost in plan.arms.items() if key.endswith("@1")}
    return plan.model_copy(update={"arms": arms})


def test_a_dry_run_predicts_and_writes_nothing(tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tiny_study.write(tmp_path, tiny_store)
    before = sorted(tmp_path.rglob("*"))
    assert main(["study", "run", str(path), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "8 cells left: 0.0 h training" in shown
    assert "noise/al@2" in shown
    assert sorted(tmp_path.rglob("*")) == before
    path.write_text(path.read_text().replace(str(tiny_store.root), str(tmp_path / "moved")))
    for words in (["--dry-run"], []):
        assert main(["study", "run", str(path), *words]) == 2
        assert "dataset noise" in capsys.readouterr().err


def test_the_commands_print_what_comes_next(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["study", "new", str(tmp_path / "x.toml")]) == 0
    assert "taildiff study run" in capsys.readouterr().out
    assert main(["study", "status", str(done)]) == 0
    shown = capsys.readouterr().out
    assert "7 complete, 1 failed" in shown
    assert json.loads((Study.read(done).folder / "study.json").read_text())["hash"][:10] in shown
    assert all(len(line) <= 80 or str(done.parent) in line for line in shown.splitlines())
    assert main(["study", "runn", str(done)]) == 2
    assert "did you mean 'run'" in capsys.readouterr().err


def test_the_report_has_every_cell_and_the_hash_on_every_table(done: Path, capsys: pytest.CaptureFixture[str]):
    written = verbs.report(done)
    study = Study.read(done)
    names = {path.name for path in written.files}
    assert {"cells.csv", "seconds-noise.svg", "step-noise.svg"} <= names
    assert {f"table-noise-{at}.{kind}" for at in ("time", "steps") for kind in ("tex", "md", "csv")} <= names
    page = written.page.read_text()
    assert study.hash in page
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "failed: noise/al@1/seed5: training stopped in step 2" in page
    assert "only 2 training seeds: exploratory" in page
    within = (
        "Within the margin of al (accuracy at most 100 points lower; means over training seeds, all classes): plain ("
    )
    assert within in page
    assert all(texts[0].startswith(within) for texts in written.margins)
    for path in written.files:
        if path.suffix in (".tex", ".md", ".csv"):
            assert study.short_hash in path.read_text(), path
    rows = list(csv.DictReader(io.StringIO((written.page.parent / "cells.csv").read_text())))
    assert {(r["method"], r["setting"], r["training_seed"]) for r in rows} == {
        (method, setting, seed) for method in ("plain", "al") for setting in "12" for seed in "45"
    }
    (failed,) = (r for r in rows if r["status"] == "failed" and r["at"] == "time")
    assert (failed["value"], failed["metric"]) == ("", "")
    assert {r["sampling_seed"] for r in rows if r["purpose"] == "choose" and r["guidance"]} == {"0"}
    assert {r["sampling_seed"] for r in rows if r["purpose"] == "report" and r["guidance"]} == {"1"}
    assert all(float(r["flop"]) > 0 and int(r["images"]) > 0 for r in rows)
    assert main(["study", "report", str(done), "--metrics", "accuracy", "--groups", "tail", "--guidance", "2"]) == 0
    shown = capsys.readouterr().out
    assert "at guidance 2 on sampling seed 0: description" in shown
    assert shown.count("plain itself is within it") == 2
    text = (written.page.parent / "table-noise-time.tex").read_text()
    assert r"& accuracy $\uparrow$ \\" in text
    assert "& tail" in text
    assert "all" not in text.split("toprule")[1]


def test_cells_so_far_are_shown_as_preliminary(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = shutil.copytree(Study.read(done).folder, tmp_path / "part")
    shutil.rmtree(folder / "cells" / "noise" / "plain@1" / "seed5")
    assert main(["study", "report", str(done), "--out", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "PRELIMINARY: numbers of the cells so far on sampling seed 0" in shown
    assert "accuracy ↑" in shown
    page = (folder / "report.html").read_text()
    assert "Preliminary numbers" in page
    assert "so far</td>" in page
    progressed = Progressed(Study.read(done), StudyDir(folder), state(done).plan)
    for block in collect(progressed):
        table = comparison(block)
        assert not table.verdict.judged
        for place, measured in enumerate(block.searched()):
            leading = block.leading[measured.name]
            cells = [each for each in block.of_method(measured.name) if each.search]
            assert {each.cell.arm.setting for each in cells} == {leading.setting}
            values = [each.search.value("accuracy", "all", leading.guidance) for each in cells if each.search]
            (line,) = (each for each in table.lines if (each.metric, each.group) == ("accuracy", "all"))
            row = line.cells[place].row
            assert row
            assert row.value == pytest.approx(sum(filter(None, values)) / len(values))
    assert not any(block.leading for block in collect(state(done)))


def test_a_margin_waits_for_the_last_cell(tiny_store: Store, tmp_path: Path):
    path = tiny_study.write(tmp_path, tiny_store)
    study = Study.read(path)
    budget.plan_of(study, StudyDir(study.folder), {})
    work.start(study, StudyDir(study.folder), {"noise": tiny_store})
    assert verbs.report(path).margins == (("Cells are missing, so the margin of al is not judged yet.",),) * 2


def test_a_study_that_was_not_started_has_no_report(tiny_store: Store, tmp_path: Path):
    with pytest.raises(RunError, match="has no results yet: taildiff study run"):
        verbs.report(tiny_study.write(tmp_path, tiny_store))


def test_cells_with_other_features_are_not_compared(done: Path, tmp_path: Path):
    """As when they were evaluated on two machines, each with a classifier of its own."""
    shutil.copytree(Study.read(done).folder, tmp_path / "study")
    cell = next(cell for cell in cells_of(Study.read(done), StudyDir(tmp_path / "study")) if cell.arm.name == "al@2")
    for folder in cell.run.evaluations():
        table = Table.read(folder)
        extractor = table.definition.extractor.model_copy(update={"hash": "ab" * 32})
        replace(table, definition=table.definition.model_copy(update={"extractor": extractor})).write(folder)
    with pytest.raises(RunError, match=r"noise/al@2/seed4 were evaluated in another way than noise/.*extractor: "):
        verbs.report(done, tmp_path / "study")
