"""Several seeds in a report: means with their spread, never rivals."""

from pathlib import Path

import pytest
from fake_runs import make_run

from comparison.test_seeds import T2, changed
from taildiff.api.results import report
from taildiff.cli.report import main
from taildiff.reporting.findings import claims, trust
from taildiff.reporting.load import load
from taildiff.reporting.settings import settings_of
from taildiff.reporting.summary import summarise
from taildiff.run.layout import RunDir


@pytest.fixture
def runs(tmp_path: Path) -> list[RunDir]:
    """Fréchet distances 9, 8.1, 7.2 over all classes at guidance 2 (and 8.1 of the single run)."""
    seeds = [make_run(tmp_path / f"plain-{seed}", quality=seed, steps=600 + 10 * seed) for seed in range(3)]
    for seed, run in enumerate(seeds):
        changed(run, seed=seed, steps=620)
    return [*seeds, make_run(tmp_path / "ccua", quality=1.0, weight=0.2)]


def test_seeds_of_one_setting_are_one_row_of_means(runs: list[RunDir]):
    summary = summarise(load(runs))
    assert [row.title for row in summary.rows] == ["plain (3 seeds)", "ccua"]
    frechet, half = summary.rows[0].score("frechet", "all"), T2 * 0.9 / 3**0.5
    assert frechet is not None
    assert (frechet.value, frechet.low, frechet.high) == pytest.approx((8.1, 8.1 - half, 8.1 + half))
    assert summary.rows[0].seconds == pytest.approx(610 * 0.2)
    column = next(c for c in summary.columns if (c.subject, c.title) == ("Fréchet distance", "all"))
    assert [column.shown(row) for row in summary.rows] == ["8.10 ± 2.24", "8.10"]
    assert not any("plain-" in str(claim) for claim in claims(summary))


def test_seeds_alone_have_no_rivals(runs: list[RunDir]):
    (row,) = summarise(load(runs[:3])).rows
    assert row.title == "plain (3 seeds)"
    found = " ".join(map(str, claims(summarise(load(runs[:3])))))
    assert "ahead" not in found
    assert "took" not in found


def test_the_page_says_what_the_means_cover(runs: list[RunDir], tmp_path: Path):
    text = " ".join(trust(load(runs)))
    assert "plain stands for means over the training seeds 0, 1, 2" in text
    assert "evaluated at unequal steps, 600 to 620" in text
    assert "One training run of ccua (seed 0)" in text
    page = report(*[run.root for run in runs], out=tmp_path / "page.html").read_text(encoding="utf-8")
    assert "plain (3 seeds)" in page
    assert "8.10 ± 2.24" in page
    assert "4 models were trained" in page or "Four models were trained" in page
    assert "There is only one setting" in report(*[run.root for run in runs[:3]]).read_text(encoding="utf-8")


def test_the_terminal_shows_the_spread(runs: list[RunDir], capsys: pytest.CaptureFixture[str]):
    assert main([str(run.root) for run in runs]) == 0
    assert "8.10 ± 2.24" in capsys.readouterr().out


def test_curves_are_means_over_the_steps_that_all_have_logged(runs: list[RunDir]):
    (plain, _) = settings_of(load(runs).runs)
    logs = [member.log for member in plain.members]
    assert plain.log[-1].step == 600
    for name in ("denoising",):
        expected = sum(log[59].terms[name] or 0.0 for log in logs) / 3
        assert plain.log[59].terms[name] == pytest.approx(expected)


def test_equal_runs_of_one_seed_stay_apart(tmp_path: Path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    assert [run.name for run in settings_of(load([a, b]).runs)] == ["a", "b"]


def test_unevaluated_and_differently_swept_seeds_are_named(tmp_path: Path):
    seeds = [
        make_run(tmp_path / "x-0", guidance=(1.0, 2.0, 3.0)),
        make_run(tmp_path / "x-1", guidance=(1.0, 2.0), quality=1.0),
        make_run(tmp_path / "x-2", evaluated=False),
    ]
    for seed, run in enumerate(seeds):
        changed(run, seed=seed)
    (setting,) = settings_of(load(seeds).runs)
    assert setting.evaluation is not None
    assert setting.evaluation.table.guidances == (1.0, 2.0)
    text = " ".join(trust(load(seeds)))
    assert "over the training seeds 0, 1:" in text
    assert "different guidance" in text
