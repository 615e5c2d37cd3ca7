"""The report of a study: one self-contained HTML page; no script, no external link. Imports no torch."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from statistics import fmean

from markupsafe import Markup

from taildiff.comparison.render import change, shown
from taildiff.comparison.table import ComparisonTable, Line
from taildiff.reporting.page import environment
from taildiff.reporting.plots import COLOURS, Chart, draw, short
from taildiff.spec import METRICS
from taildiff.study import margin
from taildiff.study.cells import cells_of
from taildiff.study.choose import Progressed
from taildiff.study.results import Block
from taildiff.study.statistics import Aggregate, Spread, spreads
from taildiff.text import shown as safe


@dataclass(frozen=True)
class TableCell:
    """Text, small print below it, and whether it is clear and the better."""

    text: str
    detail: str = ""
    bold: bool = False


@dataclass(frozen=True)
class PageTable:
    """A table of the page; the first cell of a row is its heading."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """A chart with its panels as SVG and its legend: names and colours."""

    chart: Chart
    panels: tuple[Markup, ...]
    legend: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Part:
    """What the page shows of one block."""

    name: str
    findings: tuple[str, ...]
    tables: tuple[PageTable, ...]
    notes: tuple[str, ...]


def render(
    progressed: Progressed, compared: Sequence[tuple[Block, ComparisonTable]], charts: Sequence[Chart],
    overall: Sequence[Aggregate],
) -> str:  # fmt: skip
    """The page as text."""
    template = files("taildiff.study").joinpath("study.html.jinja").read_text(encoding="utf-8")
    pages = environment()  # with the palette of the reports
    pages.filters["short"] = short
    study = progressed.study
    text = pages.from_string(template).render(
        title=study.title,
        hash=study.hash,
        lead=_lead(progressed, [block for block, _ in compared]),
        parts=[_part(block, table, progressed) for block, table in compared],
        overall=_overall(overall),
        figures=[_figure(chart) for chart in charts],
        machine=json.dumps(progressed.plan.machine, indent=1),
        file=study.text,
    )
    return safe(text) + "\n"


def _lead(progressed: Progressed, blocks: Sequence[Block]) -> str:
    spec = progressed.study.spec
    cells = {outcome.cell.name: outcome.status for outcome in blocks[0].outcomes}
    for block in blocks:
        cells |= {outcome.cell.name: outcome.status for outcome in block.outcomes}
    counted = [f"{list(cells.values()).count(s)} {s}" for s in ("complete", "failed") if s in cells.values()]
    missing = sum(status not in ("complete", "failed") for status in cells.values())
    counted += [f"{missing} missing"] if missing else []
    steps = f"the time of {spec.budget.steps} steps of {spec.methods[0].name}"
    if spec.budget.equal == ("steps",):
        steps = f"{spec.budget.steps} steps"
    budget = f"{spec.budget.seconds:g} s of training" if spec.budget.seconds else steps
    return (
        f"{len(spec.datasets)} dataset{'s' * (len(spec.datasets) > 1)}, {len(spec.methods)} methods, "
        f"{len(spec.seeds.training)} training seed{'s' * (len(spec.seeds.training) > 1)}, {budget} per run. "
        f"Of {len(cells)} cells, {', '.join(counted)}.{_reused(progressed)}"
    )


def _reused(progressed: Progressed) -> str:
    """Which cells and step times are of earlier studies."""
    cells = Counter(cell.reused for cell in cells_of(progressed.study, progressed.folder) if cell.reused)
    copied = ", ".join(f"{count} of study {study}" for study, count in cells.items())
    times = ", ".join(f"{key} ({origin})" for key, origin in progressed.plan.reused.items())
    text = f" Cells copied from earlier studies: {copied}." if cells else ""
    return text + (f" Step times taken from earlier studies: {times}." if times else "")


def _part(block: Block, table: ComparisonTable, progressed: Progressed) -> Part:
    preliminary = "Preliminary numbers" if block.leading else "Primary numbers"
    tables = [_numbers("Verdict" if table.verdict.judged else preliminary, table, table.verdict.lines)]
    tables += [_costs(block, progressed), _spreads(block)]
    chosen = "leading" if block.leading else "chosen"
    tables.append(_numbers(f"All numbers at the {chosen} guidance: description", table, table.lines, folded=True))
    shown_tables = tuple(each for each in tables if each.rows)
    found = (*findings(table), *margin.findings(block, progressed.plan))
    return Part(block.name, found, shown_tables, (*table.verdict.notes, *table.notes))


def findings(table: ComparisonTable) -> list[str]:
    """What the verdict says, in sentences; none without a verdict."""
    if not table.verdict.judged:
        return []
    first, clear, unclear = table.names[0], list[str](), 0
    for line in table.verdict.lines:
        record = METRICS[line.metric].on(table.is_fid)
        for name, cell in zip(table.names[1:], line.cells[1:], strict=True):
            if cell.difference is None or cell.difference.p_holm is None:
                continue
            if not cell.difference.clear:
                unclear += 1
                continue
            sign = -1 if record.better == "lower" else 1
            ahead = "ahead of" if sign * cell.difference.value > 0 else "behind"
            where = "over all classes" if line.group == "all" else f"in the {line.group}"
            values = " against ".join(shown(line.metric, each, each.seeds) for each in (cell, line.cells[0]))
            clear.append(f"{name} is {ahead} {first} in {record.title} {where}: {values}, {change(line.metric, cell)}.")
    if unclear:
        clear.append(f"Too close to call: {'the other ' if clear else 'all '}{unclear} comparisons with {first}.")
    return clear


def _numbers(title: str, table: ComparisonTable, lines: Sequence[Line], folded: bool = False) -> PageTable:
    """Methods as rows, numbers as columns; folded tables the other way round, as they are long."""
    heads = [f"{METRICS[x.metric].on(table.is_fid).short_heading}, {x.class_name or x.group}" for x in lines]
    cells = [
        [
            TableCell(shown(x.metric, cell, table.seeds[k]), change(x.metric, cell) if k else "", cell.bold)
            for k, cell in enumerate(x.cells)
        ]
        for x in lines
    ]
    if folded:
        rows = [(TableCell(head), *own) for head, own in zip(heads, cells, strict=True)]
        return PageTable(title, ("", *table.names), tuple(rows), folded=True)
    rows = [(TableCell(name), *(own[k] for own in cells)) for k, name in enumerate(table.names)] if lines else []
    note = f"Mean ± half of Student's 95 % interval; below it the difference to {table.names[0]} with its interval."
    return PageTable(title, ("", *heads), tuple(rows), note)


def _costs(block: Block, progressed: Progressed) -> PageTable:
    """Setting, guidance, steps, seconds, operations and images of each method."""
    rows: list[tuple[TableCell, ...]] = []
    for method in block.study.spec.methods:
        choice, own = block.choice(method.name), block.of_method(method.name)
        cost = progressed.plan.arms[own[0].cell.arm.key]
        seconds = [each.seconds for each in own if each.seconds is not None]
        done = sum(each.status == "complete" or bool(block.leading and each.search) for each in own)
        setting = "–" if choice is None else str(method.settings[choice.setting] or "the method's own")
        guidance = "–" if choice is None else f"{choice.guidance:g}{' so far' if block.leading else ''}"
        texts = (
            *(method.name, setting, guidance, f"{done} of {len(own)}"),
            *(str(own[0].step), f"{fmean(seconds):.0f}" if seconds else "–"),
            *(f"{cost.milliseconds:.1f}", f"{own[0].flop / 1e12:.3g}"),
            str(own[0].images),
        )
        rows.append(tuple(map(TableCell, texts)))
    columns = ("", "setting", "guidance", "cells", "steps", "seconds", "ms a step, in turns", "TFLOP", "images")
    return PageTable("What each method was given", columns, tuple(rows))


def _spreads(block: Block) -> PageTable:
    methods = block.measured()
    found = spreads(methods)
    numbers = dict.fromkeys((each.metric, each.group) for each in found)
    rows: list[tuple[TableCell, ...]] = []
    for method in methods:
        own = {(each.metric, each.group): each for each in found if each.method == method.name}
        if own:
            cells = [TableCell("–") if n not in own else TableCell(_deviations(n[0], own[n])) for n in numbers]
            rows.append((TableCell(method.name), *cells))
    heads = [f"{METRICS[metric].title}, {group}" for metric, group in numbers]
    note = (
        "Standard deviation between training seeds | between sampling seeds A and B of the same weights. A difference "
        "within the first is no property of a method."
    )
    return PageTable("Spread over training seeds beside spread over sampling seeds", ("", *heads), tuple(rows), note)


def _deviations(metric: str, spread: Spread) -> str:
    texts = ["–" if value is None else METRICS[metric].text(value) for value in (spread.training, spread.sampling)]
    return " | ".join(texts)


def _overall(overall: Sequence[Aggregate]) -> PageTable | None:
    if not overall:
        return None
    rows = [
        tuple(map(TableCell, (
            f"{each.method}: {METRICS[each.metric].title}, {each.group}",
            "{:.3f} [{:.3f}, {:.3f}]".format(*each.ratio),
            "–" if each.improvement is None else "{:.2f} [{:.2f}, {:.2f}]".format(*each.improvement),
            str(each.cells),
        )))
        for each in overall
    ]  # fmt: skip
    columns = ("", "interquartile mean of ratios to the first method", "probability of improvement", "runs")
    note = "95 % intervals of the bootstrap stratified by dataset (Agarwal et al. 2021): description."
    return PageTable("Over all datasets", columns, tuple(rows), note)


def _figure(chart: Chart) -> Figure:
    named = dict.fromkeys((series.name, series.colour % COLOURS) for panel in chart.panels for series in panel.series)
    return Figure(chart, tuple(Markup(draw(chart, panel)) for panel in chart.panels), tuple(named))
