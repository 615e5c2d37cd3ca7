import dataclasses
import doctest
from pathlib import Path

import fake_runs
import pytest
from fake_runs import OPTIMUM, make_run, write_errors
from hypothesis import given
from hypothesis import strategies as st

from taildiff.errors import RunError
from taildiff.evaluation.table import Definition, ExtractorInfo, Row, Table
from taildiff.reporting import plots, summary
from taildiff.reporting.findings import claims, classifiers, differences, trust
from taildiff.reporting.load import Evaluation, load
from taildiff.reporting.summary import (
    HEADLINE,
    ON_REQUEST,
    Summary,
    SummaryRow,
    best_guidance,
    columns,
    format_value,
    summarise,
)
from taildiff.run.layout import EvalDir
from taildiff.spec import CHEAP, METRICS, EvalSpec


def _summary(*rows: SummaryRow) -> Summary:
    return Summary(columns([METRICS[name] for name in HEADLINE]), rows)


def _evaluation(frechet: dict[float, float | None]) -> Evaluation:
    definition = Definition(
        name="d",
        run="r",
        step=1,
        spec=EvalSpec(),
        weights_hash="",
        store_hash="",
        extractor=ExtractorInfo(name="domain", dim=2, hash=""),
        class_names=("a", "b"),
        counts=(2, 1),
    )
    shared = {"run": "r", "step": 1, "n_real": 9, "n_generated": 9, "sampler": "heun", "steps": 2, "ema": True}
    rows = tuple(
        Row.model_validate(
            shared | {"metric": "frechet", "group": "all", "value": value, "guidance": g, "seed": 0, "definition": "d"}
        )
        for g, value in frechet.items()
    )
    return Evaluation(EvalDir(Path("d")), Table(rows, definition))


@given(st.dictionaries(st.floats(0, 10), st.floats(0, 1e6) | st.none(), max_size=6))
def test_the_best_guidance_is_the_lowest_one_of_the_lowest_distance(frechet: dict[float, float | None]):
    best = best_guidance(_evaluation(frechet))
    known = {g: value for g, value in frechet.items() if value is not None}
    if not known:
        assert best is None
        return
    assert best == min(g for g, value in known.items() if value == min(known.values()))


def test_a_row_holds_the_numbers_of_the_best_guidance(tmp_path: Path):
    (row,) = summarise(load([make_run(tmp_path / "a", quality=1.0)])).rows
    assert row.guidance == OPTIMUM
    for group in ("all", "head", "body", "tail"):
        score = row.score("frechet", group)
        assert score is not None
        assert score.value == pytest.approx(fake_runs.frechet(group, OPTIMUM, 1.0))
    worst = row.score("accuracy", summary.WORST)
    assert worst is not None
    assert worst.class_name == "9"
    assert worst.value == pytest.approx(fake_runs.accuracy(1.0, OPTIMUM, 1.0))
    assert row.seconds == pytest.approx(600 * 0.2)
    assert row.legible_guidance == 3.0  # accuracy rises with guidance, the distance has its minimum at 2
    assert row.legible_worst == pytest.approx(fake_runs.accuracy(1.0, 3.0, 1.0), abs=1e-4)


@pytest.mark.parametrize(
    ("overall", "worst", "legible"), [(0.85, 0.5, True), (0.849, 0.9, False), (0.99, 0.499, False), (None, 0.9, None)]
)
def test_legible_is_both_thresholds(overall: float | None, worst: float, legible: bool | None):
    assert SummaryRow("a", legible_all=overall, legible_worst=worst).legible is legible


def test_legible_is_relative_to_what_the_classifier_reaches_on_real_images(tmp_path: Path):
    """Photographs of which it recognises 49 % cannot have samples of which it recognises 85 %."""
    weak = SummaryRow("a", legible_all=0.42, legible_worst=0.26, real_all=0.49, real_worst=0.5)
    assert weak.legible is True  # 0.86 and 0.52 of it
    assert dataclasses.replace(weak, legible_all=0.41).legible is False
    assert dataclasses.replace(weak, legible_worst=0.24).legible is False

    run = make_run(tmp_path / "run")
    folder = next(run.evaluations())
    table = Table.read(folder)
    (overall,) = table.select("classifier_accuracy")
    classes = [
        overall.model_copy(update={"group": "class", "class_name": name, "value": value, "n_real": n})
        for name, value, n in (("0", 1.0, 400), ("8", 0.4, 20), ("9", 0.1, 4))
    ]
    dataclasses.replace(table, rows=(*table.rows, *classes)).write(folder)
    (row,) = summarise(load([run])).rows
    assert row.real_all == pytest.approx(0.5)  # the mean over classes
    assert row.real_worst == 1.0  # of class 0: 0.99; those of 8 and 9 (too few real images: 0.5 counts) are above it
    assert row.legible is True
    assert classifiers(load([run])) == ["The classifier recognises 98.5% of 1000 real images that it never saw."]


def test_who_is_ahead_follows_the_verdict(tmp_path: Path):
    weak, strong = make_run(tmp_path / "weak"), make_run(tmp_path / "strong", quality=2.0)
    (unknown,) = (c for c in claims(summarise(load([weak, strong]))) if "verdict" in c.text)
    assert unknown.text.startswith("No verdict")  # the fake evaluations have no replicates
    for key, run in enumerate((weak, strong)):
        write_errors(run, key=key)
    found = summarise(load([weak, strong]))
    ahead = next(c for c in claims(found) if "ahead" in c.text)
    assert ahead.run == "strong"
    assert f"in the tail ({19.0 * 0.8:.1f} against 19.0)" in ahead.text
    assert "recall" not in ahead.text  # equal
    marked = {(row.run, c.metric, c.title) for row in found.rows for c in found.columns if found.bold(row, c)}
    assert ("strong", "frechet", "tail") in marked
    assert ("strong", "accuracy", summary.WORST) not in marked  # not of the family, however large the lead
    assert {run for run, _, _ in marked} == {"strong"}

    other = make_run(tmp_path / "other", quality=4.0)
    write_errors(other, key=2)
    ahead = next(c for c in claims(summarise(load([other, strong]))) if "ahead" in c.text)
    assert ahead.run == "other"
    of_three = [str(c) for c in claims(summarise(load([weak, strong, other]))) if "ahead" in c.text]
    assert of_three[0].startswith("strong (guidance 2) is ahead of weak in ")
    assert of_three[1].startswith("other (guidance 2) is ahead of weak in ")


def test_small_differences_are_too_close_however_they_print(tmp_path: Path):
    runs = [make_run(tmp_path / name, quality=quality) for name, quality in (("low", 0.0), ("high", 0.2))]
    for key, run in enumerate(runs):
        write_errors(run, error=0.1, key=key)
    found = summarise(load(runs))
    assert not any("ahead" in c.text for c in claims(found))
    (close,) = (c for c in claims(found) if "Too close to call" in c.text)
    assert close.run is None
    assert "Fréchet distance over all classes (low 9.00, high 8.82)" in close.text
    assert not any(found.bold(row, column) for row in found.rows for column in found.columns)


def test_runs_swept_over_different_guidance_have_their_best_of_the_common_values(tmp_path: Path):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", guidance=(1.0, 3.0))]
    comparison = load(runs)
    assert comparison.warnings == (
        "The runs were evaluated at different guidance values: each has its best of the common ones (1, 3).",
    )
    assert {row.guidance for row in summarise(comparison).rows} <= {1.0, 3.0}
    apart = load([runs[0], make_run(tmp_path / "c", guidance=(1.5,))])
    assert "none in common, so there is no verdict" in apart.warnings[0]


def test_equal_runs_have_no_winner(tmp_path: Path):
    found = claims(summarise(load([make_run(tmp_path / "a"), make_run(tmp_path / "b")])))
    assert not any("ahead" in c.text or "took" in c.text for c in found)


def test_the_cost_names_the_slower_run():
    quick, slow = SummaryRow("quick", seconds=100.0), SummaryRow("slow", seconds=160.0)
    assert str(claims(_summary(quick, slow))[-1]) == "slow took 1.60 times the training time of quick."
    assert claims(_summary(quick, SummaryRow("same", seconds=104.0))) == []


def test_differences_are_the_changed_fields_only(tmp_path: Path):
    runs = load([make_run(tmp_path / "a"), make_run(tmp_path / "b", weight=0.2)]).runs
    assert differences(runs) == [("objective.al.weight", ["0.0", "0.2"]), ("objective.ucl.weight", ["0.0", "0.2"])]


def test_trust_names_what_limits_the_numbers(tmp_path: Path):
    short = make_run(tmp_path / "short")
    lines = short.metrics.read_text().splitlines(keepends=True)
    text = " ".join(trust(load([short, make_run(tmp_path / "b", weight=0.2)])))
    assert "1000 generated and 1000 real images" in text
    assert "Fréchet distances have no interval" in text
    assert "One training run per setting (seed 0)" in text
    assert "training is not finished" not in text
    short.metrics.write_text("".join(lines[:30]))
    assert "short is at step 300 of 600" in " ".join(trust(load([short])))


def test_evaluations_of_one_method_are_compared_and_others_give_a_warning(tmp_path: Path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    assert load([a, b]).warnings == ()

    folder = next(b.evaluations())
    table = Table.read(folder)
    spec = table.definition.spec.model_copy(update={"per_class": 7})
    changed = table.definition.model_copy(update={"spec": spec})
    dataclasses.replace(table, definition=changed).write(folder)
    assert "not comparable" in load([a, b]).warnings[0]

    second = b.evaluation("second")  # newer, but by a method of its own: the shared one is taken
    table.write(second)
    dataclasses.replace(table, definition=changed).write(b.evaluation("third"))
    comparison = load([a, b])
    assert comparison.warnings == ()
    assert comparison.runs[1].evaluation is not None
    assert comparison.runs[1].evaluation.folder == second


def test_a_run_given_twice_is_refused_and_equal_names_are_told_apart(tmp_path: Path):
    a, b = make_run(tmp_path / "x" / "run"), make_run(tmp_path / "y" / "run")
    assert [run.name for run in load([a, b]).runs] == ["x/run", "y/run"]
    with pytest.raises(RunError, match="given twice"):
        load([a, b, a])


@pytest.mark.parametrize("module", [summary, plots])
def test_examples_in_docstrings(module: object):
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


def test_the_default_metrics_are_headline_or_shown_on_request():
    assert {*HEADLINE, *ON_REQUEST} == set(CHEAP)


def test_values_print_with_the_unit_of_their_metric():
    units = {name: summary.unit_of(record) for name, record in METRICS.items()}
    assert format_value(0.934, units["recall"]) == "93\xa0%"
    assert format_value(-0.004, units["utility_gain"]) == "-0.4\xa0%"
    assert format_value(9.0, units["frechet"]) == "9.00"
    assert format_value(0.00123, units["kernel_distance"]) == "0.00123"
