"""The figure of `taildiff compare`: each metric against guidance, by group, one line per subject, with intervals.

Where only one guidance is left, or images have none, it is a mark per group instead.
"""

from collections.abc import Sequence
from dataclasses import replace

from taildiff.comparison.render import titles
from taildiff.comparison.select import Selection, select
from taildiff.comparison.table import Cell, ComparisonTable, Line
from taildiff.errors import InputError
from taildiff.reporting.plots import Chart, Panel, Point, Series
from taildiff.reporting.svg_file import to_svg_file
from taildiff.spec import METRICS

HEADLINE = ("frechet", "recall", "accuracy")
GROUPS = ("all", "head", "body", "tail")


def comparison_svg(table: ComparisonTable, selection: Selection) -> str:
    """The figure as an SVG file, of the headline metrics by group where none are chosen."""
    chosen = Selection(selection.metrics or HEADLINE, selection.groups or GROUPS, selection.guidance)
    shown = select(table, chosen)
    judged = shown.verdict.lines if chosen.guidance == "best" and shown.verdict.judged else ()
    lines = [line for line in (*judged, *shown.lines) if not line.class_name]
    swept = chosen.guidance is None and len({line.guidance for line in lines}) > 1
    metrics = dict.fromkeys(line.metric for line in lines)
    charts = [_chart(shown, metric, [line for line in lines if line.metric == metric], swept) for metric in metrics]
    if not charts:
        raise InputError("nothing to draw: classes are not in the figure; choose groups such as all and tail")
    return to_svg_file(charts)


def _chart(table: ComparisonTable, metric: str, lines: Sequence[Line], swept: bool) -> Chart:
    record = METRICS[metric].on(table.is_fid)
    by_group = {
        group: [line for line in lines if line.group == group] for group in dict.fromkeys(x.group for x in lines)
    }
    kind = "line" if swept else "scatter"
    panels = [Panel(group, _series(table, own, swept), kind) for group, own in by_group.items()]
    return Chart(metric, record.heading, "", "guidance" if swept else "subject", record.title, _aligned(panels))


def _series(table: ComparisonTable, lines: Sequence[Line], swept: bool) -> tuple[Series, ...]:
    found: list[Series] = []
    for place, name in enumerate(titles(table)):
        points = [
            point
            for line in lines
            if (point := _point(line.cells[place], (line.guidance or 0.0) if swept else float(place + 1)))
        ]
        if points:
            found.append(Series(name, place, tuple(sorted(points, key=lambda point: point.x))))
    return tuple(found)


def _point(cell: Cell, x: float) -> Point | None:
    row = cell.row
    return None if row is None or row.value is None else Point(x, row.value, row.low, row.high)


def _aligned(panels: Sequence[Panel]) -> tuple[Panel, ...]:
    """Groups are compared by eye, so their axes are the same."""
    points = [point for panel in panels for series in panel.series for point in series.points]
    low = min(p.y if p.low is None else p.low for p in points)
    high = max(p.y if p.high is None else p.high for p in points)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return tuple(replace(panel, y_range=(low - pad, high + pad)) for panel in panels)
