"""Charts as inline SVG; their colours are CSS variables, so that they follow light, dark and print.

A chart is data first (`Chart.table`) and a drawing second (`draw`). Text stays text, pyplot is not used, and equal
numbers give equal bytes.
"""

import html
import io
import re
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

Value = str | int | float | None

COLOURS = 7  # --c0 .. --c6 of the page: the palette of Okabe and Ito, lighter in dark mode
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2), (3, 1.5), (8, 2), (1, 3))
NARROW, WIDE = (270, 195), (360, 235)  # of the viewBox; the page shows four narrow or three wide panels side by side
INK, QUIET, GRID = "#010101", "#020202", "#030303"  # placeholders, replaced by CSS variables after drawing

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "taildiff",
    "text.parse_math": False,  # a class may be named "$1"
    "axes.unicode_minus": True,
    "font.size": 11.5,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class ChartTable:
    """Rows of plain values under named columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Point:
    """One value with its confidence interval, if any; `name` labels x (a class)."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    name: str = ""


@dataclass(frozen=True)
class Series:
    """The points of one run; `colour` is the run's position, the same in every chart."""

    name: str
    colour: int
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    series: tuple[Series, ...]
    kind: Literal["line", "scatter", "bars"] = "line"
    log_x: bool = False
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Chart:
    """Panels with the same axes; `table` has every number that is drawn."""

    key: str
    title: str
    caption: str
    x: str
    y: str
    panels: tuple[Panel, ...]
    named: str = ""
    """Heading of `Point.name`, if the points have names."""

    def table(self) -> ChartTable:
        """One row per point: panel, run, (name,) x, y, and the interval if any has one."""
        points = [(panel, series, point) for panel in self.panels for series in panel.series for point in series.points]
        bounded = any(point.low is not None for *_, point in points)
        columns = ("", "run", *([self.named] if self.named else []), self.x, self.y, *(["low", "high"] * bounded))
        rows = (
            (panel.title, series.name, *([p.name] if self.named else []), p.x, p.y, *([p.low, p.high] * bounded))
            for panel, series, p in points
        )
        return ChartTable(columns, tuple(rows))


def draw(chart: Chart, panel: Panel) -> str:
    """One panel as an `<svg>` element for a page that defines --ink, --quiet, --grid and --c0 … --c6."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has the font; here it only measures
        horizontal = panel.kind == "bars"
        lines = max((len(series.points) for series in panel.series), default=0)
        width, height = NARROW if len(chart.panels) > 3 else WIDE
        height = 58 + 19 * lines if horizontal else height
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        (_bars if horizontal else _points)(axes, panel)
        axes.set_title(panel.title, loc="left", fontsize=12.5, fontweight="bold", color=INK)
        axes.set_xlabel(chart.y if horizontal else chart.x, color=QUIET)
        if not horizontal:
            axes.set_ylabel(chart.y, color=QUIET)
        return _svg(figure, f"{panel.title}: {chart.y} against {chart.x}")


def _points(axes: Axes, panel: Panel) -> None:
    for series in panel.series:
        colour, xs, ys = _colour(series.colour), [p.x for p in series.points], [p.y for p in series.points]
        scatter = panel.kind == "scatter"
        marker = MARKERS[series.colour % COLOURS] if scatter or len(xs) <= 12 else None
        (line,) = axes.plot(xs, ys, color=colour, marker=marker, markersize=5.5, linewidth=1 if scatter else 2)
        line.set_dashes(DASHES[series.colour % COLOURS])
        bounds = [(p.x, p.low, p.high) for p in series.points if p.low is not None and p.high is not None]
        x, low, high = ([bound[k] for bound in bounds] for k in range(3))
        if bounds and scatter:
            axes.vlines(x, low, high, color=colour, linewidth=1, alpha=0.45)
        elif bounds:
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda value, _: short(value))
    _x_axis(axes, panel)
    if panel.y_range:
        axes.set_ylim(*panel.y_range)


def _x_axis(axes: Axes, panel: Panel) -> None:
    xs = sorted({point.x for series in panel.series for point in series.points})
    if panel.log_x and xs:
        _log_axis(axes, xs[0], xs[-1])
        axes.set_xlim(xs[0] / 1.25, xs[-1] * 1.25)
    elif 0 < len(xs) <= 6 and panel.kind == "line":
        axes.xaxis.set_major_locator(FixedLocator(xs))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: short(value))


def _log_axis(axes: Axes, low: float, high: float) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())


def _bars(axes: Axes, panel: Panel) -> None:
    """Counts: the first series (available) pale behind the last one (kept), which is solid and labelled."""
    for place, series in enumerate(panel.series):
        last = place == len(panel.series) - 1
        rows = range(len(series.points))
        axes.barh(rows, [p.y for p in series.points], color=_colour(0) if last else GRID, height=0.72)
        if last:
            axes.set_yticks(rows, [cut(p.name) for p in series.points], color=INK)
            for row, point in zip(rows, series.points, strict=True):
                axes.annotate(
                    short(point.y), (point.y, row), (4, 0), textcoords="offset points", va="center", size=10.5
                )
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    counts = [point.y for series in panel.series for point in series.points]
    axes.set_xlim(0, max([1.0, *counts]) * 1.15)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: short(value))


def _colour(place: int) -> str:
    return f"#0a0a{place % COLOURS:02d}"


def cut(text: str, limit: int = 18) -> str:
    """At most `limit` characters, ending in an ellipsis if shortened."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _svg(figure: Figure, label: str) -> str:
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"\s*<!--.*?-->|\s*<metadata>.*?</metadata>|\s*<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<[^>]+>", lambda tag: _restyle(tag[0]), svg)
    size = r'(<svg [^>]*?)width="[^"]*" height="[^"]*"'
    return re.sub(size, lambda match: f'{match[1]}role="img" aria-label="{html.escape(label)}"', svg, count=1)


def _restyle(tag: str) -> str:
    """One tag with the page's colours and font; text between tags is never changed."""
    tag = re.sub(r'<g id="[^"]*"', "<g", tag)  # ids must be unique on a page with several figures
    tag = re.sub(r" font-family: [^;\"]*;?", "", tag)
    tag = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", tag)
    for placeholder, name in ((INK, "ink"), (QUIET, "quiet"), (GRID, "grid")):
        tag = tag.replace(placeholder, f"var(--{name})")
    return re.sub(r"#0a0a0(\d)", r"var(--c\1)", tag)


def log_ticks(low: float, high: float) -> list[float]:
    """Round values between two positive numbers: powers of ten, and multiples by 2 and 5 if they fit.

    >>> log_ticks(4, 400)
    [5.0, 10.0, 50.0, 100.0]
    """
    decades = range(-6, 13)
    for steps in ((1, 2, 5), (1, 5), (1,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(ticks) <= 5:
            break
    return ticks or [low]


def short(value: Value) -> str:
    """A value for reading: three significant digits, thousands in full, a dash for None.

    >>> short(0.93333), short(12.345), short(1204), short(None)
    ('0.933', '12.3', '1204', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if value == int(value):
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
