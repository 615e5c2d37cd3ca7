"""`taildiff compare A B …`: evaluations side by side, the best in bold, differences with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich import box
from rich.markup import escape
from rich.table import Table as Grid

from taildiff.cli.common import command_line, console, next_steps, parse_options
from taildiff.comparison.compare import ComparisonTable, choose, compare
from taildiff.comparison.render import change, out_suffix, render, shown, titles, where
from taildiff.comparison.seeds import compare_seeds, only_seeds_differ
from taildiff.errors import RunError
from taildiff.io.atomic import write_atomic
from taildiff.run.layout import RunDir
from taildiff.spec import METRICS


@dataclass(frozen=True)
class Compare:
    """Put evaluations of the same definition side by side; differences are to the first one."""

    evaluated: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="A B …")]
    """Runs, or images (folders, npz files), that have been evaluated, or folders of evaluations."""
    at: Literal["time", "steps", "images"] | None = None
    """Compare runs at equal training time, steps or images instead of their newest evaluations."""
    over_seeds: bool = False
    """One column for runs that differ in nothing but the seed: mean ± Student's 95 % interval over training seeds."""
    out: Path | None = None
    """Write the whole table: .csv, .md or .tex by its suffix."""
    classes: bool = False
    """Print every class too; a file always has them."""


def main(args: Sequence[str]) -> int:
    """Print the table and write it where asked; 0 when done."""
    options = parse_options(Compare, args, "taildiff compare")
    if len(options.evaluated) < 2:
        raise RunError("name two or more to compare: taildiff compare A B")
    suffix = out_suffix(options.out) if options.out else ""
    paths, notes = options.evaluated, ()
    compared = compare_seeds(paths, options.at) if options.over_seeds else compare(choose(paths, options.at))
    console.print(grid(compared, options.classes))
    if not options.over_seeds and (alike := only_seeds_differ(paths)):
        notes = (f"{alike} differ in nothing but the seed: --over-seeds puts their mean and spread into one column",)
    for note in (*compared.notes, *notes):
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False)
    if options.out:
        write_atomic(options.out, render(compared, suffix).encode())
        console.print(f"\ntable: {options.out}", markup=False, highlight=False, soft_wrap=True)
    if all(RunDir(path).exists() for path in options.evaluated):
        next_steps(command_line("report", *options.evaluated))
    return 0


def grid(compared: ComparisonTable, classes: bool) -> Grid:
    """The comparison for a terminal."""
    table = Grid(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    for name in ("metric", "classes", "g"):
        table.add_column(name)
    for place, name in enumerate(titles(compared)):
        table.add_column(escape(name), justify="right", overflow="fold")
        if place:
            table.add_column("difference", justify="right", overflow="fold")
    for line in compared.lines:
        if line.group == "class" and not classes:
            continue
        cells: list[str] = []
        for place, cell in enumerate(line.cells):
            text = shown(line.metric, cell, compared.seeds[place] if compared.seeds else None)
            cells.append(f"[bold green]{text}[/]" if cell.best else text)
            if place:
                said = escape(change(line.metric, cell))
                cells.append(said if cell.difference is None or cell.difference.clear else f"[dim]{said}[/]")
        guidance = "" if line.guidance is None else f"{line.guidance:g}"
        table.add_row(METRICS[line.metric].on(compared.is_fid).heading, escape(where(line)), guidance, *cells)
    return table
