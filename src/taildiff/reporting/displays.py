"""The charts of a report, as numbers; `plots.draw` makes pictures of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taildiff.evaluation.table import Group, Metric, Row
from taildiff.reporting.load import LogLine, RunData
from taildiff.reporting.plots import Chart, Panel, Point, Series
from taildiff.reporting.summary import best_guidance

GROUPS: tuple[Group, ...] = ("all", "head", "body", "tail")
GROUP_TITLES: dict[Group, str] = {"all": "all classes", "head": "head", "body": "body", "tail": "tail"}
METRICS: dict[Metric, str] = {
    "frechet": "Fréchet distance",
    "accuracy": "share recognised",
    "recall": "recall",
    "precision": "precision",
}
CURVE_POINTS = 60
LOG_RATIO = 20
"""From this ratio of the largest to the smallest count on, counts are drawn on a log scale."""
MOST_BARS = 30


def guidance_chart(runs: Sequence[RunData], metric: Metric) -> Chart | None:
    """One metric against guidance, a panel a group, a line a run; None when no run has it."""
    panels: list[Panel] = []
    for group in GROUPS:
        series = tuple(
            Series(run.name, place, points)
            for place, run in enumerate(runs)
            if run.evaluation and (points := _points(run.evaluation.over_guidance(metric, group)))
        )
        if series:
            panels.append(Panel(GROUP_TITLES[group], series))
    if not panels:
        return None
    better = "lower is better" if metric == "frechet" else "higher is better"
    caption = {
        "frechet": "Distance between the distributions of generated and balanced real images.",
        "accuracy": "Samples that a classifier trained on real images takes for the class they were made for.",
        "recall": "Part of the real images' variety that the samples cover. Wrong-class samples raise it too: read it "
        "beside the share recognised.",
    }.get(metric, "")
    title = f"{METRICS[metric]} against guidance ({better})"
    return Chart(
        metric, title[0].upper() + title[1:], caption, "guidance", METRICS[metric], _same_range(panels, metric)
    )


def frontier_chart(runs: Sequence[RunData], metric: Metric) -> Chart | None:
    """One metric against accuracy (else precision) as guidance rises, a panel a group; None without a sweep.

    Alignment weakens the condition, so methods have their best at other guidances: a curve that lies further out is
    better whatever the guidance, which no comparison at one guidance can show.
    """
    judged = [run for run in runs if run.evaluation]
    against: Metric = "accuracy" if any(_known(run, "accuracy") for run in judged) else "precision"
    panels: list[Panel] = []
    for group in GROUPS:
        series = tuple(
            Series(run.name, place, points)
            for place, run in enumerate(runs)
            if run.evaluation and len(points := _trade(run, group, against, metric)) > 1
        )
        if series:
            panels.append(Panel(GROUP_TITLES[group], series, kind="scatter"))
    if not panels:
        return None
    better = "right and low" if metric == "frechet" else "right and high"
    title = f"{METRICS[metric]} against {METRICS[against]} over guidance ({better} is better)"
    caption = "Each mark is a guidance, joined in rising order. A method is better where its curve lies further out."
    return Chart(
        f"frontier-{metric}",
        title[0].upper() + title[1:],
        caption,
        METRICS[against],
        METRICS[metric],
        _same_range(panels, metric),
        named="guidance",
    )


def _known(run: RunData, metric: Metric) -> bool:
    return bool(run.evaluation and run.evaluation.over_guidance(metric, "all"))


def _trade(run: RunData, group: Group, x: Metric, y: Metric) -> tuple[Point, ...]:
    assert run.evaluation
    across = {row.guidance: row.value for row in run.evaluation.over_guidance(x, group)}
    up = [row for row in run.evaluation.over_guidance(y, group) if across.get(row.guidance) is not None]
    return tuple(
        Point(across[row.guidance] or 0.0, row.value or 0.0, row.low, row.high, f"{row.guidance:g}") for row in up
    )


def _points(rows: Sequence[Row]) -> tuple[Point, ...]:
    return tuple(
        Point(row.guidance, row.value, row.low, row.high)
        for row in rows
        if row.value is not None and row.guidance is not None
    )


def _same_range(panels: Sequence[Panel], metric: Metric) -> tuple[Panel, ...]:
    """Groups are compared by eye, so their axes are the same; shares end at 1 at most."""
    points = [point for panel in panels for series in panel.series for point in series.points]
    low = min(point.y if point.low is None else point.low for point in points)
    high = max(point.y if point.high is None else point.high for point in points)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    low, high = max(0.0, low - pad), high + pad
    if metric != "frechet":
        high = min(high, 1.02)
    return tuple(Panel(panel.title, panel.series, panel.kind, y_range=(low, high)) for panel in panels)


def class_chart(runs: Sequence[RunData]) -> Chart | None:
    """Accuracy and recall of each class against its training images, each run at its best guidance."""
    panels: list[Panel] = []
    by_class: tuple[Metric, ...] = ("accuracy", "recall")
    for metric in by_class:
        series = tuple(
            Series(run.name, place, points) for place, run in enumerate(runs) if (points := _class_points(run, metric))
        )
        if series:
            title = METRICS[metric] + " by class"
            panels.append(Panel(title[0].upper() + title[1:], series, kind="scatter", log_x=True))
    if not panels:
        return None
    return Chart(
        "classes",
        "Each class against its training images",
        "Each mark is a class, each run at its best guidance; the rarest classes are on the left.",
        "training images (log)",
        "value",
        tuple(Panel(p.title, p.series, "scatter", log_x=True, y_range=(-0.03, 1.03)) for p in panels),
        named="class",
    )


def _class_points(run: RunData, metric: Metric) -> tuple[Point, ...]:
    guidance = best_guidance(run.evaluation) if run.evaluation else None
    if run.evaluation is None or guidance is None:
        return ()
    rows = {row.class_name: row for row in run.evaluation.by_class(metric, guidance)}
    named = [(run.counts[label], run.info.facts.class_names[label]) for label in run.ranked]
    return tuple(
        Point(count, row.value, row.low, row.high, name)
        for count, name in named
        if (row := rows.get(name)) and row.value is not None and count > 0
    )


def counts_charts(runs: Sequence[RunData]) -> list[Chart]:
    """Training images of each class, cut beside whole; one chart for each different cut."""
    cuts: dict[tuple[int, ...], list[RunData]] = {}
    for run in runs:
        cuts.setdefault(run.counts, []).append(run)
    return [_counts(same, of_all=len(cuts) == 1) for same in cuts.values()]


def _counts(runs: Sequence[RunData], of_all: bool) -> Chart:
    run, whole = runs[0], runs[0].info.facts.counts
    kept = [run.counts[label] for label in run.ranked]
    low, high = min(kept), max(kept)
    after = Series("trained on", 0, _count_points(run, run.counts))
    before = Series("available", 0, _count_points(run, whole))
    series = (before, after) if whole != run.counts else (after,)
    kind = "bars" if len(kept) <= MOST_BARS else "line"
    if kind == "line":
        series = tuple(
            Series(
                s.name,
                6 - 6 * (s.name == "trained on"),
                tuple(Point(k, p.y, name=p.name) for k, p in enumerate(s.points, 1)),
            )
            for s in series
        )
    log = high > LOG_RATIO * max(low, 1)
    share = f" of {sum(whole)}" if whole != run.counts else ""
    ends = f"from {high} in the commonest class to {low} in the rarest ({high / max(low, 1):.3g} : 1)"
    caption = f"{sum(kept)}{share} images, {ends}."
    names = "" if of_all else " (" + ", ".join(run.name for run in runs) + ")"
    panel = Panel("Images by class", series, kind, log_x=log if kind == "bars" else False)
    unit = "images (log)" if log and kind == "bars" else "images"
    return Chart("counts", "How many images each class has" + names, caption, "rank", unit, (panel,), named="class")


def _count_points(run: RunData, counts: Sequence[int]) -> tuple[Point, ...]:
    names = run.info.facts.class_names
    return tuple(Point(rank, counts[label], name=names[label]) for rank, label in enumerate(run.ranked, start=1))


@dataclass(frozen=True)
class _Curve:
    title: str
    get: Callable[[LogLine], float | None]


def loss_charts(runs: Sequence[RunData]) -> list[Chart]:
    """Loss by term, by quarter of the noise level and by class group; only those that were logged."""
    lines = [line for run in runs for line in run.log]
    terms = list(dict.fromkeys(name for line in lines for name in line.terms))
    noise = max((len(line.by_noise.get("denoising", ())) for line in lines), default=0)
    groups = [g for g in ("head", "body", "tail") if any(g in line.by_group.get("denoising", {}) for line in lines)]
    quarters = [f"noise {quarter / noise:g}–{(quarter + 1) / noise:g}" for quarter in range(noise)]
    charts = (
        ("terms", "Loss by term", "Unweighted.", [_Curve(name, _term(name)) for name in terms]),
        (
            "noise",
            "Denoising loss by noise level",
            "0 is a clean image, 1 pure noise.",
            [_Curve(title, _quarter(q)) for q, title in enumerate(quarters)],
        ),
        (
            "groups",
            "Denoising loss by class group",
            "The training images themselves: a low loss in the tail can be memory.",
            [_Curve(group, _group(group)) for group in groups],
        ),
    )
    made = [_losses(runs, key, title, caption, curves) for key, title, caption, curves in charts]
    return [chart for chart in made if chart]


def _term(name: str) -> Callable[[LogLine], float | None]:
    return lambda line: line.terms.get(name)


def _quarter(quarter: int) -> Callable[[LogLine], float | None]:
    def get(line: LogLine) -> float | None:
        values = line.by_noise.get("denoising", ())
        return values[quarter] if quarter < len(values) else None

    return get


def _group(group: str) -> Callable[[LogLine], float | None]:
    return lambda line: line.by_group.get("denoising", {}).get(group)


def _losses(runs: Sequence[RunData], key: str, title: str, caption: str, curves: Sequence[_Curve]) -> Chart | None:
    panels: list[Panel] = []
    for curve in curves:
        series = tuple(
            Series(run.name, place, points)
            for place, run in enumerate(runs)
            if (points := thin([(line.step, curve.get(line)) for line in run.log]))
        )
        if series:
            panels.append(Panel(curve.title, series, y_range=_late_range(series)))
    return Chart(key, title, caption, "step", "loss", tuple(panels)) if panels else None


def thin(values: Sequence[tuple[int, float | None]], limit: int = CURVE_POINTS) -> tuple[Point, ...]:
    """At most `limit` points: means over equal stretches of the known values, each at its stretch's last step."""
    known = [(step, value) for step, value in values if value is not None]
    size = max(1, -(-len(known) // limit))
    parts = [known[start : start + size] for start in range(0, len(known), size)]
    return tuple(Point(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts)


def _late_range(series: Sequence[Series]) -> tuple[float, float]:
    """The axis shows what is left after the first tenth of the steps; the fall from the start may leave the frame."""
    last = max(point.x for s in series for point in s.points)
    values = [point.y for s in series for point in s.points if point.x >= 0.1 * last]
    low, high = min(values), max(values)
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
    return max(0.0, low - pad) if low >= 0 else low - pad, high + pad
