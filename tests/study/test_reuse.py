"""Studies that take over cells of an earlier one."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.calls import call, said
from evaluation import tiny
from study import tiny_study
from taildiff.data.store import Store
from taildiff.errors import InputError, RunError
from taildiff.evaluation import classifier_network
from taildiff.io.atomic import write_json
from taildiff.io.lock import BusyError, locked
from taildiff.io.staging import lock_of
from taildiff.run.info import add_checksum
from taildiff.study import verbs, work
from taildiff.study.budget import ArmCost, read_plan, steps_of
from taildiff.study.cells import StudyDir, stores_of
from taildiff.study.choose import Progressed
from taildiff.study.file import BudgetSpec, Study
from taildiff.study.reuse import Found, known_costs, read_earlier, take, takeable
from taildiff.training import cost

ONE = {'settings = [{}, { "optimizer.lr" = 0.01 }]': "", "seconds = 2": "seconds = 0.6"}
"""Setting of each method, and the time of six steps of the first."""
LARGER = {
    **ONE,
    '[[methods]]\nname = "al"': '[[methods]]\nname = "cbdm"\nmethod = "cbdm"\n[[methods]]\nname = "alignment"',
    'reference = "al"': 'reference = "alignment"',
    'title = "tiny"': 'title = "larger"',
}


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier_network, "_STEPS", (2, 2))
        patch.setattr(work, "POLL_SECONDS", 0.05)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny.make_store(tmp_path_factory.mktemp("data") / "store", (8, 6, 4), (4, 4, 4))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, store: Store, _quick: None) -> Path:
    """The folder of a study that has run: six steps of plain and three of `al`, two seeds each."""
    folder = tmp_path_factory.mktemp("earlier")
    path = tiny_study.write(folder, store, **ONE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "in_turns", lambda *_: [{"noise/plain": 0.1, "noise/al": 0.2}])
        patch.setattr(cost, "counted", lambda *_: 1.0)
        verbs.run(path, folder / "runs")
    return folder / "runs"


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arms whose steps were timed, in each call: on a machine of half the speed, 0.2 s and 0.3 s of any new one."""
    calls: list[list[str]] = []

    def in_turns(specs: dict[str, Any], *_: Any) -> list[dict[str, float]]:
        calls.append([*specs])
        return [{key: 0.2 if key == "noise/plain" else 0.3 for key in specs}]

    monkeypatch.setattr(cost, "in_turns", in_turns)
    monkeypatch.setattr(cost, "counted", lambda *_: 1.0)
    return calls


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cells that were trained, with the step before and after."""
    runs: list[str] = []
    train = work.train

    def counting(spec: Any, *, out: Path, stop_at: int, **options: Any) -> Any:
        before = max((int(each.name[5:]) for each in out.glob("state/step-*")), default=0)
        runs.append(f"{out.parent.name}/{out.name}: {before} to {stop_at}")
        return train(spec, out=out, stop_at=stop_at, **options)

    monkeypatch.setattr(work, "train", counting)
    return runs


def found(study: Study, folder: StudyDir, places: list[Path]) -> list[Found]:
    """What a study of the same plan as the first place's could copy."""
    stores, plan = stores_of(study), read_plan(StudyDir(places[0]))
    assert plan
    return takeable(Progressed(study, folder, plan), stores, read_earlier(places, study, folder, stores))


def weights(folder: Path, cell: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "cells" / "noise" / cell / "weights").iterdir()}


def test_one_more_method_trains_nothing_else_again(
    tmp_path: Path, store: Store, done: Path, timed: list[list[str]], trained: list[str]
):
    path = tiny_study.write(tmp_path, store, **LARGER)
    known = verbs.run(path, tmp_path / "runs", reuse=[done])
    assert known.count("complete") == 6
    assert timed == [["noise/plain", "noise/cbdm"]]
    assert {each.split("/")[0] for each in trained} == {"cbdm"}
    assert known.plan
    assert all(each.steps["steps"] == 3 for each in known.plan.arms.values())
    assert {key.removeprefix("noise/"): each.steps["time"] for key, each in known.plan.arms.items()} == (
        {"plain": 6, "cbdm": 4, "alignment": 3}
    )
    assert [each.milliseconds for each in known.plan.arms.values()] == [100.0, 150.0, 200.0]  # all of one machine
    short = json.loads((done / "study.json").read_text())["hash"][:10]
    record = json.loads((tmp_path / "runs" / "steps.json").read_text())
    assert record["reused"] == {"noise/plain": f"noise/plain of {short}", "noise/alignment": f"noise/al of {short}"}
    assert weights(tmp_path / "runs", "alignment/seed4") == weights(done, "al/seed4")
    page = verbs.report(path, tmp_path / "runs").page.read_text(encoding="utf-8")
    assert f"Cells copied from earlier studies: 4 of study {short}." in page
    assert "Step times taken from earlier studies: noise/plain (noise/plain of" in page
    trained.clear()
    assert verbs.run(path, tmp_path / "runs", reuse=[done]).count("complete") == 6
    assert not trained


@pytest.mark.slow
def test_a_cell_of_more_steps_is_continued_and_equals_one_that_was_not(
    tmp_path: Path, store: Store, done: Path, timed: list[list[str]], trained: list[str]
):
    longer = {**ONE, "seconds = 2": 'steps = 8\nequal = ["steps"]'}
    path = tiny_study.write(tmp_path, store, **longer)
    verbs.run(path, tmp_path / "taken", reuse=[done])
    assert {*trained} == {"plain/seed4: 6 to 8", "plain/seed5: 6 to 8", "al/seed4: 3 to 8", "al/seed5: 3 to 8"}
    assert len(timed) == 1  # of another budget: all arms are timed again
    verbs.run(path, tmp_path / "anew")
    for cell in ("plain/seed4", "al/seed5"):
        assert weights(tmp_path / "taken", cell) == weights(tmp_path / "anew", cell)


@pytest.mark.slow
def test_a_cell_without_the_weights_that_are_compared_is_trained_again(
    tmp_path: Path, store: Store, done: Path, timed: list[list[str]], trained: list[str]
):
    path = tiny_study.write(tmp_path, store, **{**ONE, "seconds = 2": 'steps = 5\nequal = ["steps"]'})
    verbs.run(path, tmp_path / "runs", reuse=[done])
    assert {*trained} == {"plain/seed4: 0 to 5", "plain/seed5: 0 to 5", "al/seed4: 3 to 5", "al/seed5: 3 to 5"}


@pytest.mark.usefixtures("timed")
def test_what_cannot_be_taken_is_refused_before_anything_is_written(
    tmp_path: Path, store: Store, done: Path, capsys: pytest.CaptureFixture[str]
):
    path = tiny_study.write(tmp_path, store, **ONE, **{"training = [4, 5]": "training = [7, 8]"})
    with pytest.raises(InputError, match="none of its cells has settings, data and seed of a cell of"):
        verbs.run(path, tmp_path / "runs", reuse=[done])
    other = tiny.make_store(tmp_path / "other", (8, 6, 5), (4, 4, 4))
    path = tiny_study.write(tmp_path, other, **ONE)
    assert call("study", "run", path, "--out", tmp_path / "runs", "--reuse", done) == 2
    assert "none of its cells has settings" in said(capsys)
    assert call("study", "run", path, "--out", tmp_path / "runs", "--reuse", tmp_path) == 2
    assert "no study has run there" in said(capsys)
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_says_how_many_cells_it_would_take(
    tmp_path: Path, store: Store, done: Path, timed: list[list[str]], capsys: pytest.CaptureFixture[str]
):
    path = tiny_study.write(tmp_path, store, **LARGER)
    assert call("study", "run", path, "--out", tmp_path / "runs", "--reuse", done, "--dry-run") == 0
    assert "4 cells would be copied from earlier studies" in said(capsys)
    assert timed == [["noise/plain", "noise/cbdm"]]
    assert not (tmp_path / "runs").exists()


def test_a_cell_on_which_a_process_works_is_left_alone(
    tmp_path: Path, store: Store, done: Path, timed: list[list[str]]
):
    study, folder = Study.read(tiny_study.write(tmp_path, store, **ONE)), StudyDir(tmp_path / "runs")
    assert len(found(study, folder, [done])) == 4
    with locked(lock_of(done / "cells" / "noise" / "al" / "seed4"), BusyError):
        left = found(study, folder, [done])
    assert [each.cell.name for each in left if "/al/" in each.cell.name] == ["noise/al/seed5"]


def test_the_cell_that_needs_least_is_copied(tmp_path: Path, store: Store, done: Path):
    study, folder = Study.read(tiny_study.write(tmp_path, store, **ONE)), StudyDir(tmp_path / "runs")
    part = shutil.copytree(done, tmp_path / "part")
    (part / "cells" / "noise" / "plain" / "seed4" / "weights" / "ema-0000006.safetensors").unlink()
    chosen = {each.cell.name: each.run.root for each in found(study, folder, [part, done])}
    assert chosen["noise/plain/seed4"].is_relative_to(done)
    assert chosen["noise/plain/seed5"].is_relative_to(part)
    shutil.rmtree(part / "cells" / "noise" / "al" / "seed4" / "state")  # all weights, and nothing to continue from
    assert len(found(study, folder, [part])) == 4


def test_weights_that_are_lacking_are_named(tmp_path: Path, store: Store, done: Path, caplog: pytest.LogCaptureFixture):
    study, folder = Study.read(tiny_study.write(tmp_path, store, **ONE)), StudyDir(tmp_path / "runs")
    part = shutil.copytree(done, tmp_path / "part")
    for path in part.glob("cells/noise/plain/*/weights/*-0000003.safetensors"):
        path.unlink()
    assert len(found(study, folder, [part])) == 2
    assert "2 cells are trained again: what was kept of them has no weights of step 3" in caplog.messages


@pytest.mark.parametrize(
    "change",
    [
        {"custom_sha256": "ab" * 32},
        {"start_from": "other.safetensors"},
        {"spec": {"data": {"tail": "list", "list": "mine.csv"}}},
        {"spec": {"devices": 2}},
    ],
)
def test_what_may_have_changed_is_not_copied(tmp_path: Path, store: Store, done: Path, change: dict[str, Any]):
    study, folder = Study.read(tiny_study.write(tmp_path, store, **ONE)), StudyDir(tmp_path / "runs")
    part = shutil.copytree(done, tmp_path / "part")
    path = part / "cells" / "noise" / "al" / "seed5" / "run.json"
    values = json.loads(path.read_text())
    spec = values["spec"] | change.get("spec", {})
    data = values["spec"]["data"] | spec["data"]
    values |= change | {"spec": spec | {"data": data}}
    values.pop("sha256")
    write_json(path, add_checksum(values))
    assert "noise/al/seed5" not in {each.cell.name for each in found(study, folder, [part])}
    assert len(found(study, folder, [part])) == 3


def test_an_archive_that_cannot_be_written_is_copied_into_folders_that_can(tmp_path: Path, store: Store, done: Path):
    study, folder = Study.read(tiny_study.write(tmp_path, store, **ONE)), StudyDir(tmp_path / "runs")
    part = shutil.copytree(done, tmp_path / "part")
    places = [part, *(each for each in part.rglob("*") if each.is_dir())]
    for place in places:
        place.chmod(0o500)
    take(found(study, folder, [part]))
    for place in places:
        place.chmod(0o700)
    copied = [each for each in folder.root.rglob("*") if each.is_dir()]
    assert len(list(folder.cells.glob("*/*/seed*/run.json"))) == 4
    assert all(each.stat().st_mode & 0o300 == 0o300 for each in copied)


def test_a_failed_copy_says_why_and_leaves_no_cell(
    tmp_path: Path, store: Store, done: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    study, folder = Study.read(tiny_study.write(tmp_path, store, **ONE)), StudyDir(tmp_path / "runs")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(RunError, match=r"seed4 cannot be copied: .*No space left on device"):
            take(found(study, folder, [done]))
    assert not [*folder.root.glob("cells/*/*/seed*/run.json")]
    take(found(study, folder, [done]))
    assert len([*folder.root.glob("cells/*/*/seed*/run.json")]) == 4


def test_a_study_with_one_method_under_two_names_gives_each_its_own_steps(
    tmp_path: Path, store: Store, done: Path, timed: list[list[str]]
):
    twice = {
        **ONE,
        '[[methods]]\nname = "al"': '[[methods]]\nname = "a-null"\nmethod = "plain"\n[[methods]]\nname = "al"',
    }
    first = tiny_study.write(tmp_path, store, **twice)
    record = json.loads((done / "steps.json").read_text())
    part = shutil.copytree(done, tmp_path / "part")
    study = Study.read(first)
    (part / "study.toml").write_text(study.text)
    record["arms"]["noise/a-null"] = {**record["arms"]["noise/plain"], "steps": {"time": 5, "steps": 3}}
    (part / "steps.json").write_text(json.dumps({**record, "hash": study.hash}))
    shutil.copytree(part / "cells" / "noise" / "plain", part / "cells" / "noise" / "a-null")
    stores, folder = stores_of(study), StudyDir(tmp_path / "runs")
    known = known_costs(study, stores, read_earlier([part], study, folder, stores))
    assert {key: cost.steps["time"] for key, cost in known.costs.items()} == (
        {"noise/plain": 6, "noise/a-null": 5, "noise/al": 3}
    )


def test_step_times_without_equal_time_are_not_taken_for_a_budget_in_seconds(
    tmp_path: Path, store: Store, done: Path, timed: list[list[str]]
):
    only = {**ONE, "seconds = 2": 'seconds = 0.6\nequal = ["steps"]'}
    study, folder = Study.read(tiny_study.write(tmp_path, store, **only)), StudyDir(tmp_path / "runs")
    part = shutil.copytree(done, tmp_path / "part")
    (part / "study.toml").write_text(study.text)
    stores = stores_of(study)
    assert not known_costs(study, stores, read_earlier([part], study, folder, stores)).costs


def test_known_steps_at_equal_time_are_kept_and_new_ones_follow_the_first():
    known = {
        "a": ArmCost(milliseconds=100.0, flop=1.0, images=1, steps={"time": 800, "steps": 416}),
        "b": ArmCost(milliseconds=200.0, flop=1.0, images=1, steps={"time": 416, "steps": 416}),
    }
    found = steps_of(BudgetSpec(steps=800), ["a", "b", "c"], [{"a": 0.2, "c": 0.5}], known)
    assert found["b"] == {"time": 416, "steps": 320}
    assert found["c"] == {"time": 320, "steps": 320}
