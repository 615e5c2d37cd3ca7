"""A self-contained HTML page about one or more runs: no script, no external link; equal runs give equal bytes."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from taildiff.errors import InputError
from taildiff.evaluation.best_guidance import OVERALL, Criterion
from taildiff.io.atomic import write_atomic
from taildiff.reporting import displays
from taildiff.reporting.copies import FoundCopies, run_copies
from taildiff.reporting.findings import claims, classifiers, differences, enumerated, headline, trust
from taildiff.reporting.load import Comparison, RunData, record_of
from taildiff.reporting.page import environment
from taildiff.reporting.pictures import png_uri
from taildiff.reporting.plots import COLOURS, Chart, ChartTable, cut, draw, short
from taildiff.reporting.provenance import provenance
from taildiff.reporting.samples import TILES, SampleRow, SampleSheet, sample_sheet
from taildiff.reporting.settings import settings_of
from taildiff.reporting.summary import (
    Column,
    Summary,
    SummaryRow,
    best_guidance,
    measured_metrics,
    shown_metrics,
    summarise,
)
from taildiff.reporting.utility import run_utility
from taildiff.text import shown

NUMBERS = {2: "Two", 3: "Three", 4: "Four", 5: "Five", 6: "Six"}
LARGEST_GRID = 3_000_000
"""Largest training grid, in bytes, that the page includes."""


@dataclass(frozen=True)
class Legend:
    """A run and its position, which decides its colour."""

    name: str
    place: int


@dataclass(frozen=True)
class DrawnChart:
    """A chart with its panels as SVG."""

    chart: Chart
    panels: tuple[Markup, ...]
    legend: tuple[Legend, ...]


@dataclass(frozen=True)
class SummaryCell:
    """A cell of the summary."""

    text: str
    detail: str
    bold: bool
    """Clear in the verdict, and the better."""


@dataclass(frozen=True)
class SummaryLine:
    """A row of the summary."""

    run: Legend
    cells: tuple[SummaryCell, ...]


@dataclass(frozen=True)
class Missing:
    """A part that the report lacks, and the command that creates it."""

    what: str
    command: str


@dataclass(frozen=True)
class TrainingGrid:
    """The newest grid of samples from training, shown if there are no images of an evaluation."""

    run: Legend
    step: int
    uri: str


def write_page(
    comparison: Comparison,
    out: Path,
    title: str | None = None,
    metrics: Sequence[str] = (),
    copies: Sequence[FoundCopies] = (),
) -> Path:
    """Write the page about loaded runs to `out` and return `out`.

    `metrics` are shown besides those of `summary.shown_metrics`, and what was found about `copies` of training images.
    Missing parts are listed with the command that creates them.
    """
    try:
        write_atomic(out, render(comparison, title, metrics, copies).encode())
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}. Choose another file with --out") from None
    return out


def render(
    comparison: Comparison,
    title: str | None = None,
    metrics: Sequence[str] = (),
    copies: Sequence[FoundCopies] = (),
) -> str:
    """The page as text."""
    pages = environment()
    pages.filters["short"] = short
    runs, each = comparison.runs, settings_of(comparison.runs)
    pages.filters["place"] = {run.name: place % COLOURS for place, run in enumerate(each)}.__getitem__
    summary, sheet, settings = summarise(comparison, metrics), sample_sheet(each), differences(each)
    utility = run_utility(each)
    text = pages.get_template("report.html.jinja").render(
        title=title or _title(each),
        lead=_lead(runs),
        differ=(*_differ(runs, each, settings), *classifiers(comparison)),
        verdict=headline(summary),
        claims=claims(summary),
        copies=run_copies(copies, each),
        utility=utility,
        trust=trust(comparison),
        missing=[*_missing(runs, each, sheet), *_unjudged(each, copies, [part.run for part in utility])],
        headings=Counter(column.heading for column in summary.columns),  # of neighbouring columns
        columns=summary.columns,
        lines=_summary_lines(summary),
        rule=f"Best guidance: the lowest {_criterion(runs).title}.",
        unshown=_unshown(each, metrics),
        quality=_quality(each, metrics),
        sheet=sheet,
        proof=_proof(each, sheet),
        foreign=any(run.is_foreign for run in runs),
        tiles=TILES,
        small=all(max(run.info.facts.height, run.info.facts.width) <= 64 for run in runs),
        grids=() if sheet else _grids(each),
        data=[_drawn(chart, each) for chart in displays.counts_charts(each)],
        losses=[_drawn(chart, each) for chart in displays.loss_charts(each)],
        settings=ChartTable(("setting", *(run.name for run in each)), tuple((name, *own) for name, own in settings)),
        provenance=provenance(runs),
    )
    return shown(text) + "\n"


def _quality(runs: Sequence[RunData], metrics: Sequence[str]) -> tuple[DrawnChart, ...]:
    """Every shown metric against guidance, two frontiers, and the metrics by class."""
    shown = shown_metrics(runs, metrics)
    by_class = [name for name in shown if name != "frechet" or name in metrics]  # biased for the images of one class
    swept = [run for run in runs if not run.is_foreign]
    charts = [displays.guidance_chart(swept, name) for name in shown]
    charts += [displays.frontier_chart(swept, name) for name in ("recall", "frechet")]
    return tuple(_drawn(chart, runs) for chart in [*charts, displays.class_chart(runs, by_class)] if chart)


def _unshown(runs: Sequence[RunData], metrics: Sequence[str]) -> str:
    shown = shown_metrics(runs, metrics)
    return ", ".join(record_of(name, runs).title for name in measured_metrics(runs) if name not in shown)


def _proof(runs: Sequence[RunData], sheet: SampleSheet | None) -> tuple[SampleRow, str] | None:
    """The class whose samples go with the verdict, and why it was chosen: the rarest, or the worst where none is."""
    if sheet is None:
        return None
    if max(runs[0].counts) > min(runs[0].counts):
        return sheet.rows[-1], "the rarest class"
    guidance = best_guidance(runs[0].evaluation) if runs[0].evaluation else None
    rows = runs[0].evaluation.by_class("accuracy", guidance) if runs[0].evaluation and guidance is not None else ()
    value = {row.class_name: row.value or 0.0 for row in rows}
    known = [row for row in sheet.rows if row.name in value]
    return (min(known, key=lambda row: value[row.name]), "the worst recognised class") if known else None


def _criterion(runs: Sequence[RunData]) -> Criterion:
    """By which the best guidance is found."""
    return next((run.evaluation.criterion for run in runs if run.evaluation), OVERALL)


def _title(runs: Sequence[RunData]) -> str:
    subject, data = enumerated([run.name for run in runs]), runs[0].info.facts.name
    return f"{subject} on {data}" if data else subject


def _lead(runs: Sequence[RunData]) -> str:
    run = runs[0]
    counts = run.counts
    facts = run.info.facts
    size = f"{facts.height} × {facts.width}"
    spread = f"from {max(counts)} in the commonest class to {min(counts)} in the rarest"
    spread = spread if max(counts) > min(counts) else f"{counts[0]} of each"
    if run.is_foreign and run.evaluation:
        drawn = sum(run.evaluation.table.definition.drawn)
        return (
            f"{drawn} existing images were compared with real ones of {size} pixels: {sum(counts)} in {len(counts)} "
            f"classes, {spread}."
        )
    latents = (
        f", as latents of {facts.codec.height} × {facts.codec.width}"
        if facts.codec and all(each.info.latents for each in runs)
        else ""
    )
    who = "A model was" if len(runs) == 1 else f"{NUMBERS.get(len(runs), len(runs))} models were"
    return f"{who} trained on {sum(counts)} images of {size} pixels in {len(counts)} classes, {spread}{latents}."


def _differ(
    runs: Sequence[RunData], of_setting: Sequence[RunData], settings: Sequence[tuple[str, list[str]]]
) -> tuple[str, ...]:
    if len(runs) == 1:
        return ()
    if len(of_setting) == 1:
        return ("They differ only in the seed.",)
    if not settings:
        return ("Their settings are equal.",)
    if len(settings) > 4:
        return (f"They differ in {len(settings)} settings, listed at the end.",)
    named = [f"{name} ({', '.join(_each(of_setting, values))})" for name, values in settings]
    seeds = ", besides the seed" if len(of_setting) < len(runs) else ""
    return ("They differ only in " + " and ".join(named) + f"{seeds}.",)


def _each(runs: Sequence[RunData], values: Sequence[str]) -> list[str]:
    return [f"{run.name} {value.removesuffix('.0')}" for run, value in zip(runs, values, strict=True)]


def _legend(runs: Sequence[RunData]) -> tuple[Legend, ...]:
    return tuple(Legend(run.name, place % COLOURS) for place, run in enumerate(runs))


def _drawn(chart: Chart, runs: Sequence[RunData]) -> DrawnChart:
    used = {series.name for panel in chart.panels for series in panel.series}
    legend = tuple(entry for entry in _legend(runs) if entry.name in used)
    return DrawnChart(chart, tuple(Markup(draw(chart, panel)) for panel in chart.panels), legend)


def _summary_lines(summary: Summary) -> tuple[SummaryLine, ...]:
    if all(column.value(row) is None for column in summary.columns for row in summary.rows):
        return ()
    return tuple(
        SummaryLine(
            Legend(row.title, place % COLOURS),
            tuple(_cell(row, column, summary.bold(row, column)) for column in summary.columns),
        )
        for place, row in enumerate(summary.rows)
    )


def _cell(row: SummaryRow, column: Column, bold: bool) -> SummaryCell:
    score = column.score(row)
    details = [cut(score.class_name)] if score and score.class_name else []
    if score and score.low is not None and score.high is not None and row.seeds == 1:
        low = column.text(score.low).removesuffix("\N{NO-BREAK SPACE}%")
        details.append(f"{low} to {column.text(score.high)}")
    return SummaryCell(column.shown(row), ": ".join(details), bold)


def _missing(runs: Sequence[RunData], of_setting: Sequence[RunData], sheet: SampleSheet | None) -> tuple[Missing, ...]:
    missing: list[Missing] = []
    if runs[0].is_foreign:
        again = f"taildiff evaluate {shlex.quote(str(runs[0].run.root))} --data STORE"
        return (
            () if sheet else (Missing("The images as they were compared were deleted; to decode them again:", again),)
        )
    for run in runs:
        place = shlex.quote(str(run.run.root))
        if not run.log:
            missing.append(Missing(f"{run.name} has no training log and no loss curves.", shlex.join(run.info.command)))
        if run.evaluation is None:
            missing.append(Missing(f"{run.name} has not been evaluated.", f"taildiff evaluate {place}"))
    for number, run in enumerate(of_setting):
        if run.evaluation and (sheet is None or number not in sheet.runs):
            place = shlex.quote(str(run.run.root))
            sample = f"taildiff sample {place} --per-class 8 --out {shlex.quote(f'{run.name}-images')}"
            missing.append(Missing(f"The images of {run.name}'s evaluation were deleted; to sample new ones:", sample))
    if len(of_setting) == 1:
        other = shlex.join(["taildiff", "report", *(str(run.run.root) for run in runs), "OTHER_RUN"])
        what = "run" if len(runs) == 1 else "setting"
        missing.append(Missing(f"There is only one {what}, so nothing to compare it with.", other))
    return tuple(missing)


def _unjudged(runs: Sequence[RunData], copies: Sequence[FoundCopies], with_utility: Sequence[str]) -> list[Missing]:
    """What evaluated runs lack to say whether their images are copies and whether they help."""
    missing: list[Missing] = []
    for run in runs:
        command = f"taildiff evaluate {shlex.quote(str(run.run.root))}{' --data STORE' if run.is_foreign else ''}"
        if run.evaluation and run.name not in [found.run for found in copies]:
            what = "was not searched for copies of training images: it lacks its images or its store, or is large"
            missing.append(Missing(f"{run.name} {what}.", f"{command} --metrics cheap,memorized"))
        if run.evaluation and run.name not in with_utility:
            missing.append(
                Missing(f"Whether images of {run.name} help a classifier was not tested.", f"{command} --utility")
            )
    return missing


def _grids(runs: Sequence[RunData]) -> tuple[TrainingGrid, ...]:
    grids: list[TrainingGrid] = []
    for entry, run in zip(_legend(runs), runs, strict=True):
        newest = max(run.run.samples.glob("step-*.png"), default=None)
        if newest and newest.stat().st_size <= LARGEST_GRID:
            step = newest.stem.removeprefix("step-")
            grids.append(TrainingGrid(entry, int(step) if step.isdigit() else 0, png_uri(newest.read_bytes())))
    return tuple(grids)
