"""One metric of one evaluation as a matplotlib figure, for notebooks and scripts."""

import io
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taildiff.evaluation.overview import GROUPS
from taildiff.evaluation.table import Row, Table
from taildiff.spec import METRICS


class MetricFigure(Figure):
    """A figure that notebooks show without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=120)
        return buffer.getvalue()


def metric_figure(table: Table, metric: str) -> Figure:
    """The metric by guidance, one line per group with its interval; without a sweep, one point per group."""
    figure = MetricFigure(figsize=(4.8, 3.4), layout="constrained")
    axes = figure.add_subplot(
        ylabel=METRICS[metric].on(table.definition.extractor.is_fid).heading, title=table.definition.run
    )
    rows = [row for row in table.select(metric) if row.group in GROUPS and row.value is not None]
    rows.sort(key=lambda row: (GROUPS.index(row.group), row.guidance or 0.0))
    swept = len({row.guidance for row in rows}) > 1
    for place, (group, of_group) in enumerate(groupby(rows, lambda row: row.group)):
        _draw(axes, place, group, list(of_group), swept)
    if swept:
        axes.set_xlabel("guidance")
        axes.legend(frameon=False)
    else:
        names = list(dict.fromkeys(row.group for row in rows))
        axes.set_xticks(range(len(names)), names)
    return figure


def _draw(axes: Axes, place: int, group: str, rows: list[Row], swept: bool) -> None:
    x = [row.guidance if swept and row.guidance is not None else place for row in rows]
    values = [row.value or 0.0 for row in rows]
    errors = [
        [value - row.low if row.low is not None else 0.0 for value, row in zip(values, rows, strict=True)],
        [row.high - value if row.high is not None else 0.0 for value, row in zip(values, rows, strict=True)],
    ]
    errors = [[max(0.0, error) for error in side] for side in errors]  # an interval need not hold its value
    axes.errorbar(x, values, yerr=errors, marker="o", capsize=3, color=f"C{place}", label=group)
