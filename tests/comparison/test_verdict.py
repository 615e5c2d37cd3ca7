"""The verdict: a stated family at each subject's own guidance, Holm-corrected, and one rule for bold everywhere."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from reporting.fake_runs import make_run, write_errors
from taildiff.cli.compare import pair
from taildiff.comparison.compare import choose, compare
from taildiff.comparison.difference import Difference, between
from taildiff.comparison.latex import to_latex
from taildiff.comparison.render import to_csv, to_markdown
from taildiff.comparison.select import Selection, select
from taildiff.comparison.table import Cell, ComparisonTable, Line
from taildiff.comparison.verdict import common_grid, corrected, holm, own_guidance
from taildiff.evaluation.best_guidance import Criterion
from taildiff.evaluation.table import Row, Table
from taildiff.run.layout import RunDir
from taildiff.spec.metrics import VERDICT_GROUPS, verdict_metrics


def compared(*runs: RunDir) -> ComparisonTable:
    return compare(choose([run.root for run in runs]))


def bold(lines: tuple[Line, ...]) -> set[tuple[str, str, int]]:
    return {(line.metric, line.group, at) for line in lines for at, cell in enumerate(line.cells) if cell.bold}


@pytest.fixture
def runs(tmp_path: Path) -> tuple[RunDir, RunDir]:
    """Fréchet distances 10 % lower than the first's with an error of 0.1 each; accuracies 0.02 higher with 0.01."""
    made = make_run(tmp_path / "plain"), make_run(tmp_path / "ccua", quality=1.0, weight=0.2)
    for key, run in enumerate(made):
        write_errors(run, key=key)
    return made


def test_holm_of_a_textbook_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_the_level_over_the_whole_family():
    draws = np.random.default_rng(0).uniform(size=(2000, 16))
    assert 0.03 < np.mean([min(holm(list(each))) <= 0.05 for each in draws]) < 0.07
    assert np.mean(draws.min(axis=1) <= 0.05) > 0.5  # what a reader of 16 uncorrected lines would see


def test_the_family_is_stated_metrics_over_stated_groups():
    assert verdict_metrics() == ("accuracy", "frechet", "kernel_distance", "recall")
    assert VERDICT_GROUPS == ("all", "head", "body", "tail")


def test_p_is_corrected_over_all_runs_and_bold_is_clear_and_better(tmp_path: Path, runs: tuple[RunDir, RunDir]):
    table = compared(*runs)
    assert len(table.verdict.lines) == 3 * 4  # the fake runs have no kernel distance
    assert table.verdict.guidances == (2.0, 2.0)
    frechet = next(line for line in table.verdict.lines if (line.metric, line.group) == ("frechet", "all"))
    difference = frechet.cells[1].difference
    assert difference is not None
    assert difference.value == pytest.approx(-0.9)
    assert difference.p_holm is not None
    assert difference.p is not None
    assert difference.clear
    assert {place for place in bold(table.verdict.lines) if place[0] == "frechet"} == {
        ("frechet", group, 1) for group in VERDICT_GROUPS
    }
    assert not any(metric == "recall" for metric, _, _ in bold(table.verdict.lines))  # equal values
    assert bold(table.lines) == set()
    assert not any(cell.difference and cell.difference.clear for line in table.lines for cell in line.cells)

    back = compared(*reversed(runs))  # the first is clearly better than every other
    assert {place for place in bold(back.verdict.lines) if place[0] == "frechet"} == {
        ("frechet", group, 0) for group in VERDICT_GROUPS
    }
    third = make_run(tmp_path / "third")
    write_errors(third, key=9)
    more = compared(*runs, third)
    again = next(line for line in more.verdict.lines if (line.metric, line.group) == ("frechet", "all"))
    for_three = again.cells[1].difference
    assert for_three is not None
    assert difference.p == for_three.p
    assert difference.p_holm < (for_three.p_holm or 0)  # 12 comparisons and 24


def test_each_run_has_its_own_guidance_of_the_common_ones(tmp_path: Path, runs: tuple[RunDir, RunDir]):
    wide = make_run(tmp_path / "wide", guidance=(1.0, 1.5, 3.0))
    write_errors(wide)
    table = compared(runs[0], wide)
    assert table.verdict.guidances == (1.0, 1.0)  # 2, the best of the first, was not tried by the other
    assert any("swept over different values: the verdict chooses from the common ones" in note for note in table.notes)
    (folder,) = wide.evaluations()
    known = Table.read(folder)
    lowered = [
        row.model_copy(update={"value": 1.0}) if (row.metric, row.guidance) == ("frechet", 3.0) else row
        for row in known.rows
    ]
    replace(known, rows=tuple(lowered)).write(folder)
    write_errors(wide)
    table = compared(runs[0], wide)
    assert table.verdict.guidances == (1.0, 3.0)
    assert table.verdict.at == "1, 3"
    assert "| 1, 3 |" in to_markdown(table)
    apart = make_run(tmp_path / "apart", guidance=(4.0, 2.5, 1.0))
    assert common_grid([(1.0, 2.0), (), (2.0, 3.0)]) == (2.0,)
    assert common_grid([(1.0,), (2.0,)]) == ()
    assert own_guidance(lambda key: key[3] if key[0] == "accuracy" else None, (1.0, 2.0), Criterion()) == 2.0
    assert apart.exists()


def test_guidance_chosen_on_the_same_images_is_said_to_be_so(tmp_path: Path, runs: tuple[RunDir, RunDir]):
    chosen = "each guidance was chosen from 1, 2, 3 by the lowest Fréchet distance over all classes, on the same images"
    table = compared(*runs)
    assert any(note.startswith(chosen) for note in table.verdict.notes), table.verdict.notes
    assert chosen in to_markdown(table)
    assert chosen in to_latex(select(table, Selection().of_paper))
    single = [make_run(tmp_path / name, guidance=(2.0,)) for name in ("a", "b")]
    for run in single:
        write_errors(run)
    assert not any("was chosen from" in note for note in compared(*single).verdict.notes)


def test_terminal_markdown_and_latex_mark_the_same_numbers(runs: tuple[RunDir, RunDir]):
    table = compared(*runs)
    count = len(bold(table.verdict.lines))
    assert count >= 4
    assert to_markdown(table).count("**") == 2 * count
    few = select(table, Selection().of_paper)
    assert to_latex(few).count(r"\textbf") == len(bold(few.verdict.lines)) > 0
    rows = [row for row in csv.DictReader(io.StringIO(to_csv(table))) if row["part"] == "verdict"]
    assert sum(row["clear"] == "true" for row in rows) == count
    console = Console(width=300, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        console.print(pair(table, table.verdict.lines, 1, verdict=True))
        console.print(pair(table, table.lines, 1))
    assert len(re.findall(r"\x1b\[1;32m", capture.get())) == count


def test_without_replicates_of_this_version_there_is_no_verdict(tmp_path: Path, runs: tuple[RunDir, RunDir]):
    (folder,) = runs[1].evaluations()
    with np.load(folder.root / "replicates.npz") as file:
        old = {"replicates": file["generated"], "rows": file["rows"]}  # resampled the real images for recall
    np.savez(folder.root / "replicates.npz", **old)
    table = compared(*runs)
    assert not table.verdict.judged
    assert bold(table.verdict.lines) == set()
    assert any(note.startswith("no verdict") for note in table.verdict.notes)
    assert any("no intervals of differences for ccua: evaluated by an older version" in note for note in table.notes)


def test_a_share_that_is_all_or_nothing_has_no_certain_difference():
    """Resampling three right ones of three shows no spread; Fisher's exact p of 3 and 1 of 3 is 0.4."""

    def row(value: float, low: float, high: float) -> Row:
        return Row(
            run="", step=0, metric="accuracy", group="all", value=value, low=low, high=high, n_real=0, n_generated=3,
            sampler="", steps=0, guidance=None, ema=False, seed=0, definition="",
        )  # fmt: skip

    all_right, none = row(1.0, 0.44, 1.0), row(0.0, 0.0, 0.56)
    difference = between(none, all_right, (np.zeros(100), np.ones(100)))
    assert difference is not None
    assert difference.p == pytest.approx(0.014, abs=0.002)
    tie = between(all_right, all_right, (np.ones(100), np.ones(100)))
    assert tie is not None
    assert tie.p is not None
    assert tie.p > 0.99
    assert corrected([Line("accuracy", "all", "", 1.0, (Cell(all_right), Cell(none, difference=Difference(-1.0))))])
