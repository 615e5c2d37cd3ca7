"""Which evaluation of a run is the newest: known by its content, so that copying the run changes nothing."""

import json
import os
import shutil
from pathlib import Path

from comparison.test_compare import redefined
from reporting.fake_runs import make_run
from taildiff.comparison.compare import choose, found_at
from taildiff.evaluation.table import Table
from taildiff.io.atomic import write_json
from taildiff.io.checksum import CHECKSUM, with_checksum
from taildiff.reporting.load import load
from taildiff.run.layout import EvalDir, RunDir


def names(run: RunDir) -> list[str]:
    return [folder.root.name for folder in run.evaluations()]


def touched(root: Path, names: list[str]) -> None:
    """Give the tables of these folders ascending times."""
    for second, name in enumerate(names):
        os.utime(root / name / "table.json", (second, second))


def older(folder: EvalDir) -> None:
    """Rewrite a table as versions without an order left it."""
    values = json.loads(folder.table_json.read_text())
    del values[CHECKSUM], values["order"]
    write_json(folder.table_json, with_checksum(values))


def filled(root: Path) -> tuple[RunDir, str]:
    """A run with an evaluation of step 600 and, finished later, `z`, `a` (another k) and one of step 500."""
    run = make_run(root)
    (first,) = names(run)
    redefined(run, run.evaluation("z").root)
    redefined(run, run.evaluation("a").root, spec={"k": 4})
    redefined(run, run.evaluation("early").root, step=500)
    return run, first


def test_the_newest_is_the_same_in_a_copy_with_other_times(tmp_path: Path):
    run, first = filled(tmp_path / "run")
    expected = ["early", first, "z", "a"]
    assert names(run) == expected
    shutil.copytree(run.root, tmp_path / "copy")
    copy = RunDir(tmp_path / "copy")
    for times in (sorted(expected), expected[::-1]):
        touched(copy.evals, times)
        assert names(copy) == expected
        chosen = load([copy]).runs[0].evaluation
        assert chosen
        assert chosen.folder.root.name == "a"
        assert choose([copy.root, run.root])[0].folder.root.name == "a"


def test_evaluations_of_images_are_ordered_alike(tmp_path: Path):
    run, first = filled(tmp_path / "run")
    shutil.copytree(run.evals, tmp_path / "x.npz-evals")
    touched(tmp_path / "x.npz-evals", ["a", "z", first, "early"])
    assert [folder.root.name for folder in found_at(tmp_path / "x.npz")] == ["early", first, "z", "a"]


def test_older_evaluations_come_by_step_then_by_time_and_before_later_ones(tmp_path: Path):
    run, first = filled(tmp_path / "run")
    for name in ("early", "z", "a", first):
        older(run.evaluation(name))
    touched(run.evals, ["a", first, "z", "early"])
    assert names(run) == ["early", "a", first, "z"]
    assert Table.read(run.evaluation("a")).rows
    redefined(run, run.evaluation("b").root, step=600)
    os.utime(run.evaluation("b").table_json, (0, 0))
    assert names(run) == ["early", "a", first, "z", "b"]


def test_a_damaged_table_does_not_hide_the_others(tmp_path: Path):
    run, first = filled(tmp_path / "run")
    for content in (b"{", b"[]", b'{"definition": 3}', b"[" * 10**5):
        run.evaluation("z").table_json.write_bytes(content)
        assert names(run) == ["z", "early", first, "a"]
