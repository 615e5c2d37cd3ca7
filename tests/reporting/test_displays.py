import xml.etree.ElementTree as ElementTree
from pathlib import Path

import fake_runs
import numpy as np
import pytest
from fake_runs import COUNTS, NAMES, make_run
from hypothesis import given
from hypothesis import strategies as st

from taildiff.reporting.displays import (
    CURVE_POINTS,
    class_chart,
    counts_charts,
    frontier_chart,
    guidance_chart,
    loss_charts,
    thin,
)
from taildiff.reporting.load import load
from taildiff.reporting.plots import Chart, Panel, Point, Series, cut, draw, log_ticks
from taildiff.reporting.samples import spread


def test_the_guidance_chart_is_the_table(tmp_path: Path):
    runs = load([make_run(tmp_path / "a"), make_run(tmp_path / "b", quality=1.0)]).runs
    chart = guidance_chart(runs, "frechet")
    assert chart is not None
    assert [panel.title for panel in chart.panels] == ["all classes", "head", "body", "tail"]
    tail = {(run, g): value for title, run, g, value in chart.table().rows if title == "tail"}
    assert len(tail) == 6
    for (run, guidance), value in tail.items():
        assert isinstance(guidance, float)
        assert value == pytest.approx(fake_runs.frechet("tail", guidance, {"a": 0.0, "b": 1.0}[str(run)]))


def test_the_frontier_joins_both_metrics_of_each_guidance(tmp_path: Path):
    runs = load([make_run(tmp_path / "a"), make_run(tmp_path / "b", quality=1.0, guidance=(3.0, 1.0, 2.0))]).runs
    chart = frontier_chart(runs, "recall")
    assert chart is not None
    assert chart.x == "accuracy"
    for run in runs:
        assert run.evaluation
        (series,) = (s for panel in chart.panels if panel.title == "tail" for s in panel.series if s.name == run.name)
        assert [point.name for point in series.points] == ["1", "2", "3"]
        for point in series.points:
            assert point.x == run.evaluation.table.value("accuracy", "tail", float(point.name))
            assert point.y == run.evaluation.table.value("recall", "tail", float(point.name))
    assert frontier_chart(load([make_run(tmp_path / "c", guidance=(1.0,))]).runs, "recall") is None


def test_panels_of_groups_share_one_range_that_holds_all_points_and_intervals(tmp_path: Path):
    chart = guidance_chart(load([make_run(tmp_path / "a")]).runs, "accuracy")
    assert chart is not None
    (limits,) = {panel.y_range for panel in chart.panels}
    assert limits is not None
    for *_, low, high in chart.table().rows:
        assert isinstance(low, float)
        assert isinstance(high, float)
        assert limits[0] <= low <= high <= limits[1]


def test_a_metric_that_no_run_has_makes_no_chart(tmp_path: Path):
    runs = load([make_run(tmp_path / "a"), make_run(tmp_path / "b", evaluated=False)]).runs
    assert guidance_chart(runs, "precision") is None
    assert guidance_chart(runs[1:], "frechet") is None
    assert class_chart(runs[1:]) is None
    shown = guidance_chart(runs, "frechet")
    assert shown is not None
    assert {series.name for panel in shown.panels for series in panel.series} == {"a"}


def test_classes_stand_at_their_training_counts(tmp_path: Path):
    chart = class_chart(load([make_run(tmp_path / "a")]).runs)
    assert chart is not None
    for title, _, name, count, value, low, high in chart.table().rows:
        assert count == COUNTS[NAMES.index(str(name))]
        if title == "Accuracy by class":
            assert value == pytest.approx(fake_runs.accuracy(int(str(name)) / 9, fake_runs.OPTIMUM, 0.0), abs=1e-4)
        assert isinstance(value, float)
        assert low is not None
        assert high is not None


def test_counts_go_from_the_commonest_to_the_rarest_beside_the_whole(tmp_path: Path):
    a = make_run(tmp_path / "a", counts=(5, 90, 30), names=("x", "y", "z"), full=90)
    (chart,) = counts_charts(load([a]).runs)
    before, after = chart.panels[0].series
    assert [(p.name, p.y) for p in after.points] == [("y", 90), ("z", 30), ("x", 5)]
    assert [p.y for p in before.points] == [90, 90, 90]
    assert "125 of 270 images" in chart.caption
    assert "18 : 1" in chart.caption

    other = make_run(tmp_path / "b", counts=(50, 9, 3), names=("x", "y", "z"), full=90)
    assert len(counts_charts(load([a, other]).runs)) == 2


def test_loss_charts_leave_out_what_was_not_logged(tmp_path: Path):
    plain, ccua = make_run(tmp_path / "plain"), make_run(tmp_path / "ccua", weight=0.2)
    terms, noise, groups = loss_charts(load([plain, ccua]).runs)
    assert {p.title: [s.name for s in p.series] for p in terms.panels} == {
        "denoising": ["plain", "ccua"],
        "ucl": ["ccua"],
        "al": ["ccua"],
    }
    assert [p.title for p in noise.panels] == ["noise 0–0.25", "noise 0.25–0.5", "noise 0.5–0.75", "noise 0.75–1"]
    tail = groups.panels[-1].series[0].points
    assert [p.x for p in tail] == list(range(50, 601, 50))  # the other lines had no sample of the tail


@given(st.lists(st.tuples(st.integers(0, 10**6), st.none() | st.floats(-1e3, 1e3)), max_size=400))
def test_thinning_keeps_the_mean_the_last_step_and_the_limit(values: list[tuple[int, float | None]]):
    points = thin(values)
    known = [(step, value) for step, value in values if value is not None]
    assert len(points) <= CURVE_POINTS
    assert bool(points) == bool(known)
    if known:
        assert points[-1].x == known[-1][0]
        size = -(-len(known) // CURVE_POINTS)
        sizes = [min(size, len(known) - start) for start in range(0, len(known), size)]
        mean = float(np.average([p.y for p in points], weights=sizes))
        assert mean == pytest.approx(np.mean([value for _, value in known]), abs=1e-6)


@given(st.integers(1, 2000), st.integers(2, 20))
def test_shown_classes_are_distinct_and_hold_both_ends(total: int, limit: int):
    places = spread(total, limit)
    assert len(places) == min(total, limit)
    assert places == sorted(set(places))
    assert (places[0], places[-1]) == (0, total - 1)


@given(st.floats(1, 1e5), st.floats(1, 1e4))
def test_log_ticks_lie_inside(low: float, ratio: float):
    ticks = log_ticks(low, low * ratio)
    assert 1 <= len(ticks) <= 5
    assert all(low <= tick <= low * ratio for tick in ticks)


def _chart(name: str, **panel: object) -> tuple[Chart, Panel]:
    series = (Series(name, 3, (Point(1.0, 2.0, 1.0, 3.0, name), Point(10.0, 4.0, None, None, name))),)
    made = Panel(name, series, **panel)  # type: ignore[arg-type]
    return Chart("key", "title", "caption", "x", "y", (made,)), made


@pytest.mark.parametrize("kind", ["line", "scatter", "bars"])
@pytest.mark.parametrize("name", ["$\\frac{1}{2}$", '<b id="x">"&', "--> x", "名前", "style font: 10px x #010101"])
def test_a_drawing_is_xml_whose_text_is_what_was_given(kind: str, name: str):
    svg = draw(*_chart(name, kind=kind, log_x=True))
    root = ElementTree.fromstring(svg)
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert (cut(name) if kind == "bars" else name) in texts
    assert name in str(root.get("aria-label"))
    assert not [e.get("id") for e in root.iter("{http://www.w3.org/2000/svg}g") if e.get("id")]
    styles = [style for element in root.iter() if (style := element.get("style"))]
    assert styles
    assert not [style for style in styles if "#" in style.replace("url(#", "")]  # every colour is the page's
    assert "var(--ink)" in svg
    assert svg == draw(*_chart(name, kind=kind, log_x=True))


def test_each_run_has_its_colour_from_the_page():
    svg = draw(*_chart("a"))
    assert "var(--c3)" in svg
    assert "var(--c0)" not in svg
