"""The charts of a report, as numbers; `plots.draw` draws them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from taildiff.evaluation.table import Group
from taildiff.reporting.load import LogLine, RunData, record_of
from taildiff.reporting.plots import Chart, Panel, Point, Series
from taildiff.reporting.summary import best_guidance, capitalised
from taildiff.spec.metrics import Metric

GROUPS: dict[Group, str] = {"all": "all classes", "head": "head", "body": "body", "tail": "tail"}
"""Groups of classes with the titles of their panels."""
CURVE_POINTS = 60
MOST_BARS = 30
_Loss = Callable[[LogLine], float | None]


def guidance_chart(runs: Sequence[RunData], metric: str) -> Chart | None:
    """One metric against guidance, one panel per group, one line per run; None if no run has it."""
    record = record_of(metric, runs)
    curves = {title: _series(runs, partial(_curve, metric=metric, group=group)) for group, title in GROUPS.items()}
    panels = _same_range([Panel(title, series) for title, series in curves.items() if series], record)
    better = "" if record.better == "none" else f" ({record.better} is better)"
    title = f"{capitalised(record.title)} against guidance{better}"
    return Chart(metric, title, record.description, "guidance", record.title, panels) if panels else None


def frontier_chart(runs: Sequence[RunData], metric: str) -> Chart | None:
    """One metric against accuracy (else precision) as guidance rises, one panel per group; None without a sweep.

    Methods that weaken the condition, like alignment, have their best at another guidance: a curve further out is
    better whatever the guidance, which no comparison at a single guidance can show.
    """
    has_accuracy = any(run.evaluation and run.evaluation.over_guidance("accuracy", "all") for run in runs)
    record, against = record_of(metric, runs), record_of("accuracy" if has_accuracy else "precision", runs)
    curves = {
        title: _series(runs, partial(_trade_off, group=group, x=against.name, y=metric), at_least=2)
        for group, title in GROUPS.items()
    }
    panels = [Panel(title, series, "scatter") for title, series in curves.items() if series]
    if not panels:
        return None
    better = f"right and {'low' if record.better == 'lower' else 'high'} is better"
    return Chart(
        f"frontier-{metric}",
        f"{capitalised(record.title)} against {against.title} over guidance ({better})",
        "Each mark is a guidance, joined in rising order. A method is better if its curve lies further out.",
        against.title,
        record.title,
        _same_range(panels, record),
        named="guidance",
    )


def _series(
    runs: Sequence[RunData], points_of: Callable[[RunData], tuple[Point, ...]], at_least: int = 1
) -> tuple[Series, ...]:
    """One series per run that has `at_least` this many points; its place decides the colour."""
    return tuple(
        Series(run.name, place, points) for place, run in enumerate(runs) if len(points := points_of(run)) >= at_least
    )


def _curve(run: RunData, metric: str, group: Group) -> tuple[Point, ...]:
    return tuple(
        Point(row.guidance, row.value, row.low, row.high)
        for row in (run.evaluation.over_guidance(metric, group) if run.evaluation else ())
        if row.value is not None and row.guidance is not None
    )


def _trade_off(run: RunData, group: Group, x: str, y: str) -> tuple[Point, ...]:
    across = {point.x: point.y for point in _curve(run, x, group)}
    curve = [point for point in _curve(run, y, group) if point.x in across]
    return tuple(replace(point, x=across[point.x], name=f"{point.x:g}") for point in curve)


def _same_range(panels: Sequence[Panel], record: Metric) -> tuple[Panel, ...]:
    """Groups are compared by eye, so their axes are the same: the range of the data, within the metric's bounds."""
    points = [point for panel in panels for series in panel.series for point in series.points]
    return tuple(replace(panel, y_range=_data_range(points, record)) for panel in panels)


def _data_range(points: Sequence[Point], record: Metric) -> tuple[float, float]:
    low = min(point.y if point.low is None else point.low for point in points)
    high = max(point.y if point.high is None else point.high for point in points)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    least, most = record.bounds
    return max(least, low - pad), min(high + pad, most + 0.02)  # a line at the upper bound stays visible


def class_chart(runs: Sequence[RunData], metrics: Iterable[str] = ("accuracy", "recall")) -> Chart | None:
    """Metrics of each class against its training images, one panel per metric, each run at its best guidance."""
    panels: list[Panel] = []
    for record in (record_of(metric, runs) for metric in metrics):
        if series := _series(runs, partial(_class_points, metric=record.name)):
            points = [point for each in series for point in each.points]
            y_range = (-0.03, 1.03) if record.bounds == (0.0, 1.0) else _data_range(points, record)
            title = f"{capitalised(record.title)} by class"
            panels.append(Panel(title, series, "scatter", log_x=True, y_range=y_range))
    if not panels:
        return None
    return Chart(
        "classes",
        "Each class against its training images",
        "Each mark is a class, each run at its best guidance; the rarest classes are on the left.",
        "training images (log)",
        "value",
        tuple(panels),
        named="class",
    )


def _class_points(run: RunData, metric: str) -> tuple[Point, ...]:
    guidance = best_guidance(run.evaluation) if run.evaluation else None
    if run.evaluation is None or guidance is None:
        return ()
    rows = {row.class_name: row for row in run.evaluation.by_class(metric, guidance)}
    classes = [(run.counts[label], run.info.facts.class_names[label]) for label in run.ranked]
    return tuple(
        Point(count, row.value, row.low, row.high, name)
        for count, name in classes
        if (row := rows.get(name)) and row.value is not None and count > 0
    )


def counts_charts(runs: Sequence[RunData]) -> list[Chart]:
    """Training images of each class before and after the cut; one chart per distinct cut."""
    cuts: dict[tuple[int, ...], list[RunData]] = {}
    for run in runs:
        cuts.setdefault(run.counts, []).append(run)
    return [_counts(same, only=len(cuts) == 1) for same in cuts.values()]


def _counts(runs: Sequence[RunData], only: bool) -> Chart:
    run, available = runs[0], runs[0].info.facts.counts
    kept = [run.counts[label] for label in run.ranked]
    low, high, bars, cut = min(kept), max(kept), len(kept) <= MOST_BARS, available != run.counts
    series = [Series("real" if run.is_foreign else "trained on", 0, _count_points(run, run.counts))]
    if cut:
        series.insert(0, Series("available", 0 if bars else 6, _count_points(run, available)))
    ends = f"from {high} in the commonest class to {low} in the rarest ({high / max(low, 1):.3g} : 1)"
    caption = f"{sum(kept)}{f' of {sum(available)}' if cut else ''} images, {ends}."
    names = "" if only else " (" + ", ".join(run.name for run in runs) + ")"
    panel = Panel("Images by class", tuple(series), "bars" if bars else "line")
    return Chart("counts", "How many images each class has" + names, caption, "rank", "images", (panel,), named="class")


def _count_points(run: RunData, counts: Sequence[int]) -> tuple[Point, ...]:
    names = run.info.facts.class_names
    return tuple(Point(rank, counts[label], name=names[label]) for rank, label in enumerate(run.ranked, start=1))


def loss_charts(runs: Sequence[RunData]) -> list[Chart]:
    """Loss by term, by noise level and by class group, as far as they were logged."""
    lines = [line for run in runs for line in run.log]
    terms = list(dict.fromkeys(name for line in lines for name in line.terms))
    levels = max((len(line.by_noise.get("denoising", ())) for line in lines), default=0)
    groups = [g for g in ("head", "body", "tail") if any(g in line.by_group.get("denoising", {}) for line in lines)]
    by_term = {name: partial(_term_loss, name) for name in terms}
    by_noise = {f"noise {k / levels:g}–{(k + 1) / levels:g}": partial(_noise_loss, k) for k in range(levels)}
    by_group = {group: partial(_group_loss, group) for group in groups}
    memory = "Loss on the training images: a low loss in the tail can be memorisation."
    charts = (
        _losses(runs, "terms", "Loss by term", "Unweighted.", by_term),
        _losses(runs, "noise", "Denoising loss by noise level", "0 is a clean image, 1 pure noise.", by_noise),
        _losses(runs, "groups", "Denoising loss by class group", memory, by_group),
    )
    return [chart for chart in charts if chart]


def _term_loss(name: str, line: LogLine) -> float | None:
    return line.terms.get(name)


def _noise_loss(level: int, line: LogLine) -> float | None:
    values = line.by_noise.get("denoising", ())
    return values[level] if level < len(values) else None


def _group_loss(group: str, line: LogLine) -> float | None:
    return line.by_group.get("denoising", {}).get(group)


def _losses(runs: Sequence[RunData], key: str, title: str, caption: str, losses: Mapping[str, _Loss]) -> Chart | None:
    curves = {name: _series(runs, partial(_log_points, loss=loss)) for name, loss in losses.items()}
    panels = [Panel(name, series, y_range=_late_range(series)) for name, series in curves.items() if series]
    return Chart(key, title, caption, "step", "loss", tuple(panels)) if panels else None


def _log_points(run: RunData, loss: _Loss) -> tuple[Point, ...]:
    return thin([(line.step, loss(line)) for line in run.log])


def thin(values: Sequence[tuple[int, float | None]], limit: int = CURVE_POINTS) -> tuple[Point, ...]:
    """At most `limit` points: means over equal numbers of values, each at its last step; None is left out."""
    logged = [(step, value) for step, value in values if value is not None]
    size = max(1, -(-len(logged) // limit))
    parts = [logged[start : start + size] for start in range(0, len(logged), size)]
    return tuple(Point(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts)


def _late_range(series: Sequence[Series]) -> tuple[float, float]:
    """The range of all values after the first tenth of the steps; the initial drop may leave the frame."""
    last = max(point.x for s in series for point in s.points)
    values = [point.y for s in series for point in s.points if point.x >= 0.1 * last]
    low, high = min(values), max(values)
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
    return max(0.0, low - pad) if low >= 0 else low - pad, high + pad
