"""`taildiff compare A B …`: the verdict on evaluations, then all numbers side by side with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich import box
from rich.markup import escape
from rich.table import Table as Grid

from taildiff.api.results import compare
from taildiff.cli.common import command_line, console, next_steps, parse_options, print_line, print_note
from taildiff.comparison.render import change, guidance_text, shown, titles, where
from taildiff.comparison.settings import only_seeds_differ
from taildiff.comparison.table import ComparisonTable, Line
from taildiff.run.layout import RunDir
from taildiff.spec import METRICS


@dataclass(frozen=True)
class Compare:
    """Put evaluations of the same definition side by side; differences are to the first one."""

    evaluated: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="A B …")]
    """Evaluated runs, folders or npz files of images, or folders of evaluations."""
    at: Literal["time", "steps", "images"] | None = None
    """Compare runs at equal training time, steps or images, by the nearest evaluations, instead of by their newest."""
    over_seeds: bool = False
    """One column for runs that differ only in the seed: mean ± Student's 95 % interval over training seeds. Runs of
    unequal steps (--max-time) are compared at equal training time."""
    out: Path | None = None
    """Write the whole table: .csv, .md or .tex; an existing file of that kind is replaced."""
    classes: bool = False
    """Print every class too; a file always has them."""


def main(args: Sequence[str]) -> int:
    """Print the table and write it if requested; 0 when done."""
    options = parse_options(Compare, args, "taildiff compare")
    paths, notes = options.evaluated, ()
    table = compare(*paths, at=options.at, over_seeds=options.over_seeds, out=options.out)
    if table.verdict.judged:
        console.print("verdict, each at its own guidance; bold is clear and the better", style="bold", highlight=False)
        console.print(grid(table, table.verdict.lines, verdict=True))
        console.print("all numbers: description, not corrected for the number of comparisons", highlight=False)
    console.print(grid(table, [line for line in table.lines if options.classes or line.group != "class"]))
    if not options.over_seeds and (names := only_seeds_differ(paths)):
        notes = (f"{names} differ only in the seed: --over-seeds shows their mean and spread in one column",)
    for note in (*table.verdict.notes, *table.notes, *notes):
        print_note(f"note: {note}")
    if options.out:
        print_line(f"\ntable: {options.out}")
    if all(RunDir(path).exists() for path in paths):
        next_steps(command_line("report", *paths))
    return 0


def grid(compared: ComparisonTable, lines: Sequence[Line], verdict: bool = False) -> Grid:
    """Lines of a comparison for a terminal."""
    table = Grid(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    for name in ("metric", "classes", "g"):
        table.add_column(name)
    for place, name in enumerate(titles(compared)):
        table.add_column(escape(name), justify="right", overflow="fold")
        if place:
            table.add_column("difference", justify="right", overflow="fold")
    for line in lines:
        cells: list[str] = []
        for place, cell in enumerate(line.cells):
            text = shown(line.metric, cell, compared.seeds[place] if compared.seeds else None)
            cells.append(f"[bold green]{text}[/]" if cell.bold else text)
            if place:
                difference = escape(change(line.metric, cell))
                unclear = verdict and cell.difference is not None and not cell.difference.clear
                cells.append(f"[dim]{difference}[/]" if unclear else difference)
        guidance = guidance_text(compared, line, verdict)
        table.add_row(METRICS[line.metric].on(compared.is_fid).heading, escape(where(line)), guidance, *cells)
    return table
