"""`taildiff study new|run|status|report FILE`: methods x datasets x seeds at equal compute."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich import box
from rich.markup import escape
from rich.table import Table as Grid

from taildiff import study
from taildiff.api.training import Interrupted
from taildiff.cli.common import (
    HELP,
    DeviceOption,
    command_line,
    console,
    next_steps,
    print_all_help,
    print_line,
    print_note,
    print_stopped,
    print_verbs,
    unknown_verb,
    wants_progress,
)
from taildiff.cli.compare import Names, guidance_of, names, value
from taildiff.cli.parsing import parse_options
from taildiff.comparison.table import ComparisonTable
from taildiff.errors import InputError
from taildiff.spec import METRICS
from taildiff.study.page import findings
from taildiff.study.verbs import Status

VERBS = {
    "new FILE": "write a commented study that runs as it is on the embedded digits",
    "run FILE": "train and evaluate what is missing; rerun to resume, and run it several times to share the work",
    "status FILE": "how far each cell is, and how long the rest will take",
    "report FILE": "the results so far: one page, raw rows, tables for a paper, figures",
}
File = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True)
class New:
    """Write a commented study that runs as it is on the embedded digits."""

    file: File
    """The .toml file to write."""


@dataclass(frozen=True)
class Run:
    """Train and evaluate what a study lacks, cell after cell. Rerun the same command to resume; several processes may
    run one study at the same time.
    """

    file: File
    """The study."""
    out: Path | None = None
    """The folder of its runs and results. [default: beside the file, with the file's hash in its name]"""
    reuse: tuple[Path, ...] = ()
    """Folders of earlier studies: cells with the same settings, data and seed are copied and not trained again.
    [default: none]"""
    device: DeviceOption = None
    retry_failed: bool = False
    """Try failed cells again."""
    dry_run: bool = False
    """Check the file, time a few steps of each method, print the predicted hours and write nothing."""


@dataclass(frozen=True)
class StatusOf:
    """Print how far each cell of a study is."""

    file: File
    """The study."""
    out: Path | None = None
    """The folder, if it was given to run. [default: as in run]"""


@dataclass(frozen=True)
class ReportOf:
    """Write the results so far into the study's folder: a page, raw rows, and tables and figures for a paper."""

    file: File
    """The study."""
    out: Path | None = None
    """The folder, if it was given to run. [default: as in run]"""
    metrics: Names = None
    """Only these metrics in the tables: frechet,recall. [default: in LaTeX the primary ones, else all]"""
    groups: Names = None
    """Only these groups of classes in the tables: all, head, body, tail, many, medium, few, class.
    [default: in LaTeX the primary ones, else all]"""
    guidance: Annotated[str, tyro.conf.arg(metavar="best|G")] = "best"
    """The chosen guidance, or a value of the sweep: then the numbers are of the sampling seed that chose."""


def main(args: list[str]) -> int:
    """`taildiff study VERB …`."""
    if not args or args[0] in HELP:
        print_verbs("study", VERBS)
        print_all_help(main, VERBS if "--help-all" in args[:1] else ())
        return 0 if args else 2
    match args[0]:
        case "new":
            return _new(parse_options(New, args[1:], "taildiff study new"))
        case "run":
            return _run(parse_options(Run, args[1:], "taildiff study run"), args)
        case "status":
            return _status(parse_options(StatusOf, args[1:], "taildiff study status"))
        case "report":
            return _report(parse_options(ReportOf, args[1:], "taildiff study report"))
        case verb:
            raise InputError(unknown_verb("study", verb, VERBS))


def _new(options: New) -> int:
    print_line(f"study: {study.new(options.file)}")
    next_steps(command_line("study", "run", options.file, "--dry-run"), command_line("study", "run", options.file))
    return 0


def _run(options: Run, args: list[str]) -> int:
    command = ["taildiff", "study", *args]
    try:
        known = study.run(
            options.file,
            options.out,
            reuse=options.reuse,
            retry_failed=options.retry_failed,
            dry_run=options.dry_run,
            device=options.device,
            progress=wants_progress(),
            command=command,
        )
    except Interrupted as interrupted:
        print_stopped(command)
        return 128 + (interrupted.outcome.signal or 0)
    show(known, cells=not options.dry_run)
    where = ("--out", options.out) if options.out else ()
    where += ("--reuse", *options.reuse) if options.reuse else ()
    if options.dry_run:
        next_steps(command_line("study", "run", options.file, *where))
    return 0


def _status(options: StatusOf) -> int:
    show(study.status(options.file, options.out))
    where = ("--out", options.out) if options.out else ()
    next_steps(
        command_line("study", "run", options.file, *where), command_line("study", "report", options.file, *where)
    )
    return 0


def _report(options: ReportOf) -> int:
    written = study.report(
        options.file,
        options.out,
        metrics=names(options.metrics),
        groups=names(options.groups),
        guidance=guidance_of(options.guidance) or "best",
    )
    for table, margin in zip(written.tables, written.margins, strict=True):
        console.print(f"\n[bold]{escape(table.title)}[/]", highlight=False)
        if table.verdict.lines:
            console.print(_primary(table))
        for text in (*findings(table), *margin):
            console.print(f"• {text}", markup=False, highlight=False)
        for note in (*table.verdict.notes, *table.notes):
            print_note(f"note: {note}")
    print_line(f"\nreport: {written.page}")
    for path in written.files:
        print_line(f"        {path}")
    return 0


def _primary(table: ComparisonTable) -> Grid:
    """The numbers of the verdict, methods as rows; bold is clear and the better."""
    grid = Grid(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("method", overflow="fold")
    grid.add_column("g", justify="right")
    for line in table.verdict.lines:
        heading = METRICS[line.metric].on(table.is_fid).short_heading
        grid.add_column(f"{heading}\n{line.group}", justify="right", overflow="fold")
    for place, (name, guidance) in enumerate(zip(table.names, table.verdict.guidances, strict=True)):
        cells = [value(table, line, place) for line in table.verdict.lines]
        grid.add_row(escape(name), "–" if guidance is None else f"{guidance:g}", *cells)
    return grid


def show(known: Status, cells: bool = True) -> None:
    """Print the steps of each method, how far each cell is, and what is left."""
    console.print(f"[bold]{escape(known.title)}[/] ({known.hash})", highlight=False)
    print_line(f"folder: {known.folder}")
    if known.plan:
        console.print(_steps(known))
    if cells:
        console.print(_cells(known))
    counts = {name: known.count(name) for name in ("complete", "evaluating", "training", "waiting", "failed")}
    console.print(", ".join(f"{count} {name}" for name, count in counts.items() if count), highlight=False)
    console.print(known.prediction.text, highlight=False)


def _steps(known: Status) -> Grid:
    assert known.plan
    ats = list(next(iter(known.plan.arms.values())).steps)
    table = Grid(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    table.add_column("dataset/method", overflow="fold")
    for name in ("ms/step", "GFLOP/step", *(f"at equal {at}" for at in ats)):
        table.add_column(name, justify="right")
    for key, cost in known.plan.arms.items():
        table.add_row(
            escape(key), f"{cost.milliseconds:.1f}", f"{cost.flop / 1e9:.1f}", *(str(cost.steps[at]) for at in ats)
        )
    return table


def _cells(known: Status) -> Grid:
    table = Grid(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    for name in ("cell", "status", "step", ""):
        table.add_column(name, overflow="fold", justify="right" if name == "step" else "left")
    colours = {"complete": "green", "failed": "red", "waiting": "dim"}
    for line in known.lines:
        step = f"{line.step}/{line.steps}" if line.steps else str(line.step)
        style = colours.get(line.status, "yellow")
        table.add_row(escape(line.cell), f"[{style}]{line.status}[/]", step, escape(line.detail))
    return table
