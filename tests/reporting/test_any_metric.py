"""A report shows every metric that an evaluation holds, and a new one needs only its record."""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from fake_runs import NAMES, make_run

from taildiff.cli.report import main
from taildiff.errors import InputError
from taildiff.evaluation.table import Table
from taildiff.reporting.displays import class_chart, guidance_chart
from taildiff.reporting.findings import claims
from taildiff.reporting.load import load
from taildiff.reporting.plots import Panel
from taildiff.reporting.report import render
from taildiff.reporting.summary import HEADLINE, ON_REQUEST, shown_metrics, summarise
from taildiff.run.layout import RunDir
from taildiff.spec.metrics import METRICS, Metric

WOBBLE = Metric(
    name="wobble",
    title="wobble",
    family="wobble",
    better="lower",
    bounds=(-inf, inf),
    digits=None,
    description="How much the samples wobble.",
)


def measured(run: RunDir, name: str, value: Callable[[float], float]) -> RunDir:
    """The run, whose evaluation also has the metric: a function of the accuracy, without intervals."""
    folder = next(run.evaluations())
    table = Table.read(folder)
    rows = [
        row.model_copy(update={"metric": name, "value": value(row.value or 0.0), "low": None, "high": None})
        for row in table.select("accuracy")
    ]
    replace(table, rows=(*table.rows, *rows)).write(folder)
    return run


def holds(panel: Panel, bounds: tuple[float, float]) -> bool:
    """Whether the axis shows every point and nothing far beyond the bounds."""
    assert panel.y_range is not None
    low, high = panel.y_range
    ys = [point.y for series in panel.series for point in series.points]
    return low <= min(ys) and max(ys) <= high and low >= bounds[0] - 0.03 and high <= bounds[1] + 0.03


def test_a_new_metric_shows_with_only_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(METRICS, "wobble", WOBBLE)
    few = measured(make_run(tmp_path / "few"), "wobble", lambda accuracy: 40 * accuracy - 50)
    many = measured(make_run(tmp_path / "many"), "wobble", lambda accuracy: 40 * accuracy)
    comparison = load([few, many])
    assert shown_metrics(comparison.runs) == (*HEADLINE, "wobble")

    summary = summarise(comparison)
    (place,) = (k for k, c in enumerate(summary.columns) if (c.heading, c.title) == ("Wobble ↓", "tail"))
    tail = {row.run: summary.columns[place].value(row) for row in summary.rows}
    assert tail["few"] == pytest.approx(tail["many"] - 50)
    assert not any(summary.bold(row, column) for row in summary.rows for column in summary.columns)
    assert not any("wobble" in claim.text for claim in claims(summary))  # its record does not say `verdict`

    curves = guidance_chart(comparison.runs, "wobble")
    assert curves is not None
    assert curves.title == "Wobble against guidance (lower is better)"
    assert curves.caption == WOBBLE.description
    classes = class_chart(comparison.runs, shown_metrics(comparison.runs))
    assert classes is not None
    panel = classes.panels[-1]
    assert panel.title == "Wobble by class"
    assert {point.name for series in panel.series for point in series.points} == set(NAMES)
    for drawn in (*curves.panels, panel):
        assert holds(drawn, WOBBLE.bounds)
        assert min(point.y for series in drawn.series for point in series.points) < -10

    page = render(comparison)
    assert page.count("Wobble by class") > len(NAMES)  # the panel and a row per class and run
    assert WOBBLE.description in page


@pytest.mark.parametrize("name", [name for name, record in METRICS.items() if record.option and name not in HEADLINE])
def test_every_metric_can_be_shown_with_its_own_axis_and_unit(tmp_path: Path, name: str):
    record = METRICS[name]
    least = max(record.bounds[0], -3.0)
    most = min(record.bounds[1], least + 6)
    run = measured(make_run(tmp_path / "a"), name, lambda accuracy: least + accuracy * (most - least))
    runs = load([run]).runs
    assert (name in shown_metrics(runs)) == (name not in ON_REQUEST)
    shown = shown_metrics(runs, [name])
    assert shown == (*HEADLINE, name)
    curves, classes = guidance_chart(runs, name), class_chart(runs, shown)
    assert curves is not None
    assert classes is not None
    assert classes.panels[-1].title.lower() == f"{record.title} by class".lower()
    assert all(holds(panel, record.bounds) for panel in (*curves.panels, classes.panels[-1]))
    summary = summarise(load([run]), [name])
    texts = [c.text(c.value(summary.rows[0])) for c in summary.columns if c.subject == record.title]
    assert len(texts) == 2
    assert all(text.endswith("%") == (record.unit == "share") for text in texts)


def test_metrics_shown_on_request_are_named_on_the_page(tmp_path: Path):
    run = measured(make_run(tmp_path / "a"), "density", lambda accuracy: 2 * accuracy)
    page = render(load([run]))
    assert "Density against guidance" not in page
    assert "--metrics all</code>: density." in page
    assert main([str(run.root), "--metrics", "density"]) == 0
    page = run.report.read_text(encoding="utf-8")
    assert "Density against guidance" in page
    assert "--metrics all" not in page
    assert render(load([run]), metrics=["all"]) == page


def test_the_distance_by_class_is_drawn_on_request_only(tmp_path: Path):
    run = make_run(tmp_path / "a")
    folder = next(run.evaluations())
    table = Table.read(folder)
    rows = [row.model_copy(update={"metric": "frechet"}) for row in table.select("accuracy", "class")]
    replace(table, rows=(*table.rows, *rows)).write(folder)
    assert "Fréchet distance by class" not in render(load([run]))
    assert "Fréchet distance by class" in render(load([run]), metrics=["frechet"])


def test_metrics_that_cannot_be_shown_are_refused(tmp_path: Path):
    runs = load([make_run(tmp_path / "a")]).runs
    with pytest.raises(InputError, match="unknown metric 'densty': did you mean 'density'"):
        shown_metrics(runs, ["densty"])
    with pytest.raises(InputError, match=r"no run's evaluation has vendi; .* --metrics cheap,vendi"):
        shown_metrics(runs, ["vendi"])
    with pytest.raises(InputError, match="taildiff evaluate RUN --utility"):
        shown_metrics(runs, ["utility_gain"])
