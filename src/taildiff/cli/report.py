"""`taildiff report RUN [RUN …]`: one HTML page about one run, or about several side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from taildiff.cli.common import command_line, console, next_steps, parse_options
from taildiff.reporting.findings import claims
from taildiff.reporting.load import Comparison, common_parent, load
from taildiff.reporting.report import write_page
from taildiff.reporting.summary import COLUMNS, VerdictRow, best_values, show, verdict_rows
from taildiff.run.layout import RunDir


@dataclass(frozen=True)
class Report:
    """Write one self-contained HTML page about one run, or about several side by side."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN …]")]
    """Run directories."""
    out: Path | None = None
    """The page; default: report.html in the run, or in the folder that holds all runs."""
    title: str | None = None
    """Heading of the page; default: the runs and the dataset."""


def main(args: Sequence[str]) -> int:
    """Write the page and print the verdict, its place and the next command; 0 when done."""
    options = parse_options(Report, args, "taildiff report")
    runs = [RunDir(path) for path in options.runs]
    comparison = load(runs)
    out = options.out or common_parent(runs) / "report.html"
    write_page(comparison, out, options.title)
    rows = verdict_rows(comparison)
    console.print(verdict_table(rows))
    for claim in claims(rows):
        console.print(f"• {claim}", markup=False, highlight=False)
    console.print(f"\nreport: {out}", markup=False, highlight=False, soft_wrap=True)
    next_steps(*_next(comparison))
    return 0


def _next(comparison: Comparison) -> list[str]:
    unjudged = [command_line("evaluate", run.run.root) for run in comparison.runs if run.evaluation is None]
    first = comparison.runs[0].run.root
    return unjudged or [command_line("sample", first, "--per-class", 8, "--out", first.parent / f"{first.name}-images")]


def verdict_table(rows: Sequence[VerdictRow]) -> Table:
    """The rows of `reporting.verdict`, a column a run so that they fit a terminal; the best of each line is bold."""
    table = Table("", box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_column(escape(row.run), justify="right", overflow="fold")
    family = ""
    for column, top in zip(COLUMNS, best_values(rows), strict=True):
        if column.family != family:
            table.add_section()
        family = column.family
        cells = [show(column.value(row), column.unit) for row in rows]
        best = show(top, column.unit) if top is not None else None
        marked = [f"[bold green]{cell}[/]" if cell == best else cell for cell in cells]
        table.add_row(f"{_plain(family)}, {column.title}{family.removeprefix(_plain(family))}", *marked)
    return table


def _plain(family: str) -> str:
    return family.removesuffix(" ↓").removesuffix(" ↑")
