"""`taildiff report RUN [RUN …] | FOLDER`: one HTML page about one run, several side by side, or existing images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from taildiff.api.results import report, report_on
from taildiff.cli.common import command_line, console, next_steps, print_line
from taildiff.cli.parsing import parse_options
from taildiff.reporting.findings import claims, classifiers
from taildiff.reporting.load import Comparison
from taildiff.reporting.summary import Summary, summarise


@dataclass(frozen=True)
class Report:
    """Write one self-contained HTML page about one run, about several side by side, or about existing images."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN …] | FOLDER")]
    """Run directories; or one evaluated folder or npz of images from any source."""
    out: Path | None = None
    """The page, an .html file, replaced if it exists. [default: report.html in the run, or in the folder of all runs;
    FOLDER-report.html beside a folder of images]"""
    title: str | None = None
    """Heading of the page. [default: the runs and the dataset]"""
    metrics: str = ""
    """Further measured metrics to show, such as density,coverage; all: every measured one. [default: the usual ones]"""


def main(args: Sequence[str]) -> int:
    """Write the page and print the summary, the page's path and the next command; 0 on success."""
    options = parse_options(Report, args, "taildiff report")
    metrics = [name.strip() for name in options.metrics.split(",") if name.strip()]
    out = report(*options.runs, out=options.out, title=options.title, metrics=metrics)
    comparison = report_on(options.runs)
    for line in classifiers(comparison):
        console.print(line, highlight=False)
    print_summary(summarise(comparison, metrics))
    print_line(f"\nreport: {out}")
    next_steps(*_next(comparison))
    return 0


def _next(comparison: Comparison) -> list[str]:
    evaluations = [command_line("evaluate", run.run.root) for run in comparison.runs if run.evaluation is None]
    first = comparison.runs[0].run.root
    if comparison.runs[0].is_foreign:
        return [command_line("gallery", first)]
    return evaluations or [
        command_line("sample", first, "--per-class", 8, "--out", first.parent / f"{first.name}-images")
    ]


def print_summary(summary: Summary) -> None:
    """Print the table and the findings of a report."""
    console.print(summary_table(summary))
    for claim in claims(summary):
        console.print(f"• {claim}", markup=False, highlight=False)


def summary_table(summary: Summary) -> Table:
    """The summary with one column per run, to fit a terminal; bold follows the verdict."""
    table = Table("", box=None, header_style="bold", pad_edge=False)
    for row in summary.rows:
        table.add_column(escape(row.title), justify="right", overflow="fold")
    heading = ""
    for column in summary.columns:
        if column.heading != heading:
            table.add_section()
        heading = column.heading
        texts = [(column.shown(row), summary.bold(row, column)) for row in summary.rows]
        marked = [f"[bold green]{text}[/]" if bold else text for text, bold in texts]
        plain = heading.rstrip(" ↓↑")
        table.add_row(f"{plain}, {column.title}{heading.removeprefix(plain)}", *marked)
    return table
