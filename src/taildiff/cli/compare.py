"""`taildiff compare A B …`: the verdict on evaluations, and the numbers that were asked for with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich import box
from rich.markup import escape
from rich.table import Table as Grid

from taildiff.api.results import compare
from taildiff.cli.common import command_line, console, next_steps, numbers, print_line, print_note
from taildiff.cli.parsing import parse_options
from taildiff.comparison.render import guidance_text, interval, p_value, shown, titles
from taildiff.comparison.select import Guidance
from taildiff.comparison.settings import only_seeds_differ
from taildiff.comparison.table import ComparisonTable, Line
from taildiff.errors import SpecError
from taildiff.run.layout import RunDir
from taildiff.spec import METRICS

Names = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="A[,B…]")]
WIDTH = 80
"""Columns that the tables fit."""


@dataclass(frozen=True)
class Compare:
    """Put evaluations of the same definition side by side; differences are to the first one."""

    evaluated: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="A B …")]
    """Evaluated runs, folders or npz files of images, or folders of evaluations."""
    at: Literal["time", "steps", "images"] | None = None
    """Compare runs at equal training time, steps or images, by the nearest evaluations. [default: by their newest]"""
    over_seeds: bool = False
    """One column for runs that differ only in the seed: mean ± Student's 95 % interval over training seeds. Runs of
    unequal steps (--max-time) are compared at equal training time."""
    metrics: Names = None
    """Only these metrics: frechet,recall. [default: all]"""
    groups: Names = None
    """Only these groups of classes: all, head, body, tail, many, medium, few; class: every class. [default: all
    groups]"""
    guidance: Annotated[str | None, tyro.conf.arg(metavar="best|G")] = None
    """Only this guidance; best: each at its own, as in the verdict. [default: all]"""
    out: Path | None = None
    """Write the table: .csv or .md; .tex for a paper, which has few numbers where none are chosen; or the figure: .svg.
    An existing file of that kind is replaced. [default: no file]"""
    classes: bool = False
    """Print every class too; a file always has them."""


def main(args: Sequence[str]) -> int:
    """Print the table and write it if requested; 0 when done."""
    options = parse_options(Compare, args, "taildiff compare")
    paths, notes = options.evaluated, ()
    table = compare(
        *paths,
        at=options.at,
        over_seeds=options.over_seeds,
        metrics=names(options.metrics),
        groups=names(options.groups),
        guidance=guidance_of(options.guidance),
        out=options.out,
    )
    chosen = bool(options.metrics or options.groups or options.guidance or options.classes)
    show(table, chosen, classes=options.classes or "class" in names(options.groups))
    if not options.over_seeds and (alike := only_seeds_differ(paths)):
        notes = (f"{alike} differ only in the seed: --over-seeds shows their mean and spread in one column",)
    for note in (*table.verdict.notes, *table.notes, *notes):
        print_note(f"note: {note}")
    if options.out:
        print_line(f"\n{'figure' if options.out.suffix.lower() == '.svg' else 'table'}: {options.out}")
    if all(RunDir(path).exists() for path in paths):
        next_steps(command_line("report", *paths))
    return 0


def names(values: Sequence[str] | None) -> list[str]:
    """The names in `A,B`, `A B` and several options."""
    return " ".join(values or ()).replace(",", " ").split()


def guidance_of(text: str | None) -> Guidance | None:
    """The value of --guidance."""
    if text is None or text == "best":
        return text
    value, *others = numbers(text)
    if others:
        raise SpecError(f"--guidance takes one value or best, not {text}; without it all are shown")
    return value


def show(table: ComparisonTable, chosen: bool, classes: bool = False) -> None:
    """Print the verdict, and the other numbers if some were `chosen` or there is no verdict, `WIDTH` columns wide."""
    if table.verdict.judged:
        console.print("verdict, each at its own guidance; bold is clear and the better", style="bold", highlight=False)
        for other in range(1, len(table.names)):
            console.print(pair(table, table.verdict.lines, other, verdict=True))
    lines = [line for line in table.lines if classes or line.group != "class"]
    if not lines:
        return
    if table.verdict.judged and not chosen:
        print_line(
            f"{len(lines)} numbers, of all metrics, groups and guidances: --out FILE.csv writes them; --metrics, "
            "--groups and --guidance show some here"
        )
        return
    if table.verdict.judged:
        console.print("all numbers: description, not corrected for the number of comparisons", highlight=False)
    if len(table.names) == 2:
        console.print(pair(table, lines, 1))
        return
    per_table = max(1, (WIDTH - _LEAD) // (_VALUE_WITH_INTERVAL if table.seeds else _VALUE))
    for start in range(0, len(table.names), per_table):
        console.print(values(table, lines, range(start, min(start + per_table, len(table.names)))))


_LEAD, _VALUE, _VALUE_WITH_INTERVAL = 32, 12, 16
"""Columns of metric, classes and guidance; of a value; of one with its interval over seeds."""


def pair(compared: ComparisonTable, lines: Sequence[Line], other: int, verdict: bool = False) -> Grid:
    """The first subject and another one, with their difference."""
    table = _grid([titles(compared)[0], titles(compared)[other], "difference", *(["p"] if verdict else [])])
    for line in lines:
        cell = line.cells[other]
        if cell.row is None:
            continue
        differences = [escape(interval(line.metric, cell)), *([p_value(cell)] if verdict else [])]
        unclear = verdict and cell.difference is not None and not cell.difference.clear
        cells = [value(compared, line, place) for place in (0, other)]
        cells += [f"[dim]{text}[/]" for text in differences] if unclear else differences
        table.add_row(*_lead(compared, line, (0, other), verdict), *cells)
    return table


def values(compared: ComparisonTable, lines: Sequence[Line], places: Sequence[int]) -> Grid:
    """Some subjects side by side, without differences."""
    table = _grid([titles(compared)[place] for place in places])
    for line in lines:
        table.add_row(*_lead(compared, line, places, False), *(value(compared, line, place) for place in places))
    return table


def _grid(columns: Sequence[str]) -> Grid:
    width, padding = min(WIDTH, console.width), (0, 1, 0, 0)
    table = Grid(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, padding=padding, width=width)
    for name in ("metric", "classes", "g"):
        table.add_column(name, overflow="fold")
    for name in columns:
        table.add_column(escape(name), justify="right", overflow="fold")
    return table


def _lead(compared: ComparisonTable, line: Line, places: Sequence[int], verdict: bool) -> tuple[str, str, str]:
    own = compared.verdict.guidances
    at = [f"{own[place]:g}" for place in places if own[place] is not None] if verdict else []
    guidance = ", ".join(dict.fromkeys(at)) if verdict else guidance_text(compared, line, verdict)
    heading = METRICS[line.metric].on(compared.is_fid).short_heading
    return heading, escape(line.class_name or line.group), guidance


def value(compared: ComparisonTable, line: Line, place: int) -> str:
    """The number of one subject; bold where it is clear and the better."""
    cell = line.cells[place]
    text = shown(line.metric, cell, compared.seeds[place] if compared.seeds else None)
    return f"[bold green]{text}[/]" if cell.bold else text
