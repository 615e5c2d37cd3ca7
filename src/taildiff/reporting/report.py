"""One self-contained HTML page about one run or several: no script, no external link, same runs, same bytes."""

import base64
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from taildiff.errors import InputError
from taildiff.io.atomic import write_atomic
from taildiff.reporting import displays
from taildiff.reporting.findings import Claim, claims, differences, trust
from taildiff.reporting.load import Comparison, RunData, load
from taildiff.reporting.plots import COLOURS, Chart, Table, cut, draw, short
from taildiff.reporting.provenance import provenance
from taildiff.reporting.samples import TILES, SampleSheet, sample_sheet
from taildiff.reporting.summary import COLUMNS, RULE, Score, VerdictRow, best_values, show, verdict_rows
from taildiff.run.layout import RunDir

NUMBERS = {2: "Two", 3: "Three", 4: "Four", 5: "Five", 6: "Six"}
LARGEST_GRID = 3_000_000
"""Bytes of a training grid that is still put into the page."""


@dataclass(frozen=True)
class Legend:
    """A run and its place, which decides its colour."""

    name: str
    place: int


@dataclass(frozen=True)
class Drawn:
    """A chart with its panels as SVG."""

    chart: Chart
    table: Table
    panels: tuple[Markup, ...]
    legend: tuple[Legend, ...]


@dataclass(frozen=True)
class Cell:
    """A cell of the verdict table."""

    text: str
    detail: str
    best: bool


@dataclass(frozen=True)
class VerdictLine:
    """A row of the verdict table."""

    run: Legend
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Missing:
    """Something the report cannot show, and the command that makes it."""

    what: str
    command: str


@dataclass(frozen=True)
class TrainingGrid:
    """The newest grid of samples drawn during training, shown while there is no evaluation."""

    run: Legend
    step: int
    uri: str


@dataclass(frozen=True)
class Page:
    """All that the template shows."""

    title: str
    lead: str
    differ: tuple[str, ...]
    legend: tuple[Legend, ...]
    claims: tuple[Claim, ...]
    trust: tuple[str, ...]
    missing: tuple[Missing, ...]
    families: tuple[tuple[str, int], ...]
    """Headings over the verdict's columns, each with its number of columns."""
    heads: tuple[str, ...]
    lines: tuple[VerdictLine, ...]
    rule: str
    quality: tuple[Drawn, ...]
    sheet: SampleSheet | None
    tiles: int
    grids: tuple[TrainingGrid, ...]
    data: tuple[Drawn, ...]
    losses: tuple[Drawn, ...]
    settings: Table | None
    provenance: Table


def write_report(runs: Sequence[RunDir], out: Path, title: str | None = None) -> Path:
    """Write the page about `runs` to `out` and return it.

    Parts that are missing are named with the command that makes them; a damaged file raises `RunError` with its name.
    """
    return write_page(load(runs), out, title)


def write_page(comparison: Comparison, out: Path, title: str | None = None) -> Path:
    """`write_report` of runs that are already read."""
    try:
        write_atomic(out, render(comparison, title).encode())
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}. Name another file with --out") from None
    return out


def render(comparison: Comparison, title: str | None = None) -> str:
    """The page as text."""
    template = files("taildiff.reporting").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["short"] = short
    environment.filters["place"] = {run.name: place % COLOURS for place, run in enumerate(comparison.runs)}.__getitem__
    return environment.from_string(template).render(page=_page(comparison, title)) + "\n"


def _page(comparison: Comparison, title: str | None) -> Page:
    runs = comparison.runs
    rows = verdict_rows(comparison)
    sheet = sample_sheet(runs)
    quality = [displays.guidance_chart(runs, metric) for metric in ("frechet", "accuracy", "recall")]
    frontier = [displays.frontier_chart(runs, metric) for metric in ("recall", "frechet")]
    settings = differences(runs)
    return Page(
        title=title or _title(runs),
        lead=_lead(runs),
        differ=_differ(runs, settings),
        legend=_legend(runs),
        claims=tuple(claims(rows)),
        trust=tuple(trust(comparison)),
        missing=_missing(runs, sheet),
        families=tuple(Counter(column.family for column in COLUMNS).items()),
        heads=tuple(column.title for column in COLUMNS),
        lines=_verdict_lines(runs, rows),
        rule=RULE,
        quality=tuple(_drawn(chart, runs) for chart in [*quality, *frontier, displays.class_chart(runs)] if chart),
        sheet=sheet,
        tiles=TILES,
        grids=() if sheet else _grids(runs),
        data=tuple(_drawn(chart, runs) for chart in displays.counts_charts(runs)),
        losses=tuple(_drawn(chart, runs) for chart in displays.loss_charts(runs)),
        settings=_settings(runs, settings),
        provenance=provenance(runs),
    )


def _title(runs: Sequence[RunData]) -> str:
    names = [run.name for run in runs]
    subject = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    data = runs[0].info.facts.name
    return f"{subject} on {data}" if data else subject


def _lead(runs: Sequence[RunData]) -> str:
    run = runs[0]
    counts = run.counts
    facts = run.info.facts
    size = f"{facts.height} × {facts.width}"
    spread = f"from {max(counts)} in the commonest class to {min(counts)} in the rarest"
    latents = (
        f", as latents of {facts.codec.height} × {facts.codec.width}"
        if facts.codec and all(each.info.latents for each in runs)
        else ""
    )
    who = "A model was" if len(runs) == 1 else f"{NUMBERS.get(len(runs), len(runs))} models were"
    return f"{who} trained on {sum(counts)} images of {size} pixels in {len(counts)} classes, {spread}{latents}."


def _differ(runs: Sequence[RunData], settings: Sequence[tuple[str, list[str]]]) -> tuple[str, ...]:
    if len(runs) == 1:
        return ()
    if not settings:
        return ("Their settings are equal.",)
    if len(settings) > 4:
        return (f"They differ in {len(settings)} settings, listed at the end.",)
    named = [f"{name} ({', '.join(_each(runs, values))})" for name, values in settings]
    return ("They differ only in " + " and ".join(named) + ".",)


def _each(runs: Sequence[RunData], values: Sequence[str]) -> list[str]:
    return [f"{run.name} {value.removesuffix('.0')}" for run, value in zip(runs, values, strict=True)]


def _legend(runs: Sequence[RunData]) -> tuple[Legend, ...]:
    return tuple(Legend(run.name, place % COLOURS) for place, run in enumerate(runs))


def _drawn(chart: Chart, runs: Sequence[RunData]) -> Drawn:
    used = {series.name for panel in chart.panels for series in panel.series}
    legend = tuple(entry for entry in _legend(runs) if entry.name in used)
    return Drawn(chart, chart.table(), tuple(Markup(draw(chart, panel)) for panel in chart.panels), legend)


def _verdict_lines(runs: Sequence[RunData], rows: Sequence[VerdictRow]) -> tuple[VerdictLine, ...]:
    best = best_values(rows)
    if all(column.value(row) is None for column in COLUMNS for row in rows):
        return ()
    return tuple(
        VerdictLine(entry, tuple(_cell(row, place, best[place]) for place in range(len(COLUMNS))))
        for entry, row in zip(_legend(runs), rows, strict=True)
    )


def _cell(row: VerdictRow, place: int, best: float | None) -> Cell:
    column = COLUMNS[place]
    text = show(column.value(row), column.unit)
    score = column.get(row)
    detail = ""
    if isinstance(score, Score) and score.low is not None and score.high is not None:
        detail = f"{show(score.low, column.unit)} to {show(score.high, column.unit)}".replace(
            "\N{NO-BREAK SPACE}% to", " to"
        )
    if column.title.startswith("worst") and row.worst_class is not None:
        name = cut(row.worst_class)
        detail = f"{name}: {detail}" if detail else name
    return Cell(text, detail, best is not None and text == show(best, column.unit))


def _missing(runs: Sequence[RunData], sheet: SampleSheet | None) -> tuple[Missing, ...]:
    missing: list[Missing] = []
    for run in runs:
        place = shlex.quote(str(run.run.root))
        if not run.log:
            missing.append(Missing(f"{run.name} has no training log, so no loss curves.", shlex.join(run.info.command)))
        if run.evaluation is None:
            missing.append(Missing(f"{run.name} has not been evaluated.", f"taildiff evaluate {place}"))
        elif sheet is None or run.name not in {runs[p].name for p in sheet.runs if p is not None}:
            sample = f"taildiff sample {place} --per-class 8 --out {shlex.quote(f'{run.name}-images')}"
            missing.append(Missing(f"The images {run.name} was judged by are gone; new ones:", sample))
    if len(runs) == 1:
        other = f"taildiff report {shlex.quote(str(runs[0].run.root))} OTHER_RUN"
        missing.append(Missing("Only one run: nothing to compare it with.", other))
    return tuple(missing)


def _grids(runs: Sequence[RunData]) -> tuple[TrainingGrid, ...]:
    grids: list[TrainingGrid] = []
    for entry, run in zip(_legend(runs), runs, strict=True):
        newest = max(run.run.samples.glob("step-*.png"), default=None)
        if newest and newest.stat().st_size <= LARGEST_GRID:
            step = newest.stem.removeprefix("step-")
            uri = "data:image/png;base64," + base64.b64encode(newest.read_bytes()).decode()
            grids.append(TrainingGrid(entry, int(step) if step.isdigit() else 0, uri))
    return tuple(grids)


def _settings(runs: Sequence[RunData], settings: Sequence[tuple[str, list[str]]]) -> Table | None:
    if not settings:
        return None
    return Table(("setting", *(run.name for run in runs)), tuple((name, *values) for name, values in settings))
