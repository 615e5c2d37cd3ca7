"""`taildiff report RUN [RUN …]`: one HTML page about one run, or about several side by side."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from taildiff.cli.common import console
from taildiff.reporting.load import common_parent, load
from taildiff.reporting.report import write_report
from taildiff.reporting.verdict import COLUMNS, VerdictRow, best_values, show, verdict_rows
from taildiff.reporting.words import claims
from taildiff.runs import RunDir


@dataclass(frozen=True)
class Report:
    """Write one self-contained HTML page about one run, or about several side by side."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN …]")]
    """Run directories."""
    out: Path | None = None
    """The page; default: report.html in the run, or in the folder that holds all runs."""
    title: str | None = None
    """Heading of the page; default: the runs and the dataset."""


def main(args: list[str]) -> int:
    """Write the page and print the verdict, its place and the next command; 0 when done."""
    options = tyro.cli(Report, args=args, prog="taildiff report")
    runs = [RunDir(path) for path in options.runs]
    comparison = load(runs)
    out = options.out or common_parent(runs) / "report.html"
    write_report(runs, out, options.title)
    rows = verdict_rows(comparison)
    console.print(verdict_table(rows))
    for claim in claims(rows):
        console.print(f"• {claim}", markup=False, highlight=False)
    console.print(f"\nreport: {out}", markup=False, highlight=False, soft_wrap=True)
    next_verb = "sample {} --per-class 8 --out samples" if comparison.runs[0].evaluation else "evaluate {}"
    console.print(f"next:   taildiff {next_verb.format(shlex.quote(str(runs[0].root)))}", markup=False, soft_wrap=True)
    return 0


def verdict_table(rows: Sequence[VerdictRow]) -> Table:
    """The rows of `reporting.verdict` for a terminal; the best of each column is bold."""
    table = Table("run", box=None, header_style="dim", pad_edge=False)
    for column in COLUMNS:
        table.add_column(f"{column.family}\n{column.title}", justify="right")
    best = best_values(rows)
    for row in rows:
        cells = [show(column.value(row), column.unit) for column in COLUMNS]
        marked = [
            f"[bold green]{cell}[/]" if top is not None and cell == show(top, column.unit) else cell
            for cell, top, column in zip(cells, best, COLUMNS, strict=True)
        ]
        table.add_row(_literal(row.run), *marked)
    return table


def _literal(text: str) -> str:
    return text.replace("[", "\\[")
