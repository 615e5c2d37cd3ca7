"""`taildiff.study.new`, `run`, `status` and `report`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from taildiff.api.progress import reporting
from taildiff.comparison.select import Guidance, Selection
from taildiff.comparison.table import ComparisonTable
from taildiff.device import chosen_device
from taildiff.errors import DataError, InputError, RunError
from taildiff.io.atomic import write_atomic
from taildiff.io.paths import output_folder, output_path, text_path
from taildiff.log import Progress, log
from taildiff.study import margin
from taildiff.study.budget import Plan, measure, plan_of, read_plan
from taildiff.study.cells import StudyDir, cells_of, check, stores_of
from taildiff.study.choose import Progressed, holder
from taildiff.study.file import Study
from taildiff.study.predict import Prediction, before, predict
from taildiff.study.results import collect, comparison, to_csv
from taildiff.study.reuse import known_costs, read_earlier, take, takeable
from taildiff.study.statistics import aggregates
from taildiff.study.tables import tables_of
from taildiff.study.work import How, check_same, start, work

AnyPath = str | os.PathLike[str]
QUICK_ROUNDS = 2
"""In which step times are measured for a prediction alone."""


@dataclass(frozen=True)
class Line:
    """How far one cell is."""

    cell: str
    status: str
    """waiting, training, evaluating, complete or failed."""
    step: int
    steps: int | None
    """Of the whole run; None before the step times were measured."""
    detail: str = ""
    """Who works on it, or why it failed."""


@dataclass(frozen=True)
class Status:
    """How far a study is."""

    title: str
    hash: str
    folder: Path
    lines: tuple[Line, ...]
    plan: Plan | None
    """None before it was started."""
    prediction: Prediction
    """Of what is left."""

    def count(self, status: str) -> int:
        """The cells with this status."""
        return sum(line.status == status for line in self.lines)


def new(path: AnyPath) -> Path:
    """Write a commented study that runs as it is on the embedded digits; `InputError` if the file exists."""
    place = output_path(path, "FILE")
    if place.suffix.lower() != ".toml":
        raise InputError(f"{path}: a study is a .toml file; name it, such as {place.with_suffix('.toml')}")
    if place.exists():
        raise InputError(f"{path} exists; choose another name, or edit it")
    text = files("taildiff.study").joinpath("template.toml").read_text(encoding="utf-8")
    write_atomic(place, text.encode())
    return place


def run(
    path: AnyPath,
    out: AnyPath | None = None,
    *,
    reuse: Sequence[AnyPath] = (),
    retry_failed: bool = False,
    dry_run: bool = False,
    device: str | None = None,
    progress: bool | Progress = False,
    command: Sequence[str] = (),
) -> Status:
    """Train and evaluate what a study lacks, cell after cell; the same call resumes.

    Args:
        path: the study's file.
        out: the folder of its runs and results; default: beside the file, with the file's hash in its name.
        reuse: folders of earlier studies: cells with the same settings, data and seed are copied and not trained again.
        retry_failed: try cells again that failed.
        dry_run: check everything, predict the time from a few steps of each method, and write nothing.
        device: `cpu`, `cuda` or `mps`; default: `cuda` where there is one, else `cpu`.
        progress: True draws a progress bar, a callback gets (stage, done, total).
        command: recorded in each run's run.json.

    Raises:
        Interrupted: after Ctrl-C, SIGTERM or SIGHUP while a cell trains, once everything is saved.
        TaildiffError: for a file, setting or data that do not fit. A cell whose training or sampling fails is recorded
            as failed instead, and stays in the results.
    """
    study, folder = _opened(path, out)
    check_same(study, folder)
    if device is not None:
        chosen_device(device)  # refused before anything is written
    places = [Path(text_path(each, "--reuse")) for each in reuse]
    if dry_run:
        return _dry(study, folder, progress, device, places)
    stores = stores_of(study)
    check(study, stores)
    earlier = read_earlier(places, study, folder, stores)
    start(study, folder, stores)
    with reporting(progress) as report:
        known = known_costs(study, stores, earlier)
        progressed = Progressed(study, folder, plan_of(study, folder, stores, report, device, known))
        take(takeable(progressed, stores, earlier))
        log.info(f"{study.title} ({study.short_hash}): {predict(progressed, stores).text}")
        work(progressed, stores, How(report, tuple(command), device), retry_failed)
    return _status(progressed, predict(progressed, stores))


def _dry(
    study: Study, folder: StudyDir, progress: bool | Progress, device: str | None, places: Sequence[Path]
) -> Status:
    """What the study would do, checked and measured without writing."""
    check(study, {})  # mistakes in the file are reported before missing data
    stores = stores_of(study)
    check(study, stores)
    earlier = read_earlier(places, study, folder, stores)
    with reporting(progress) as report:
        known = known_costs(study, stores, earlier)
        plan = read_plan(folder) or measure(study, stores, QUICK_ROUNDS, report, device, known)
    progressed = Progressed(study, folder, plan)
    if found := takeable(progressed, stores, earlier):
        log.info(f"{len(found)} cells would be copied from earlier studies; the prediction does not subtract them")
    return _status(progressed, predict(progressed, stores))


def status(path: AnyPath, out: AnyPath | None = None) -> Status:
    """How far a study is; `out` as for `run`."""
    study, folder = _opened(path, out)
    check_same(study, folder)
    plan = read_plan(folder)
    if plan is None:
        return _status(Progressed(study, folder, Plan(hash=study.hash, arms={})), before(study))
    progressed = Progressed(study, folder, plan)
    try:
        stores = stores_of(study)
    except DataError:  # the results may be read where the data are not
        stores = {}
    return _status(progressed, predict(progressed, stores))


def _opened(path: AnyPath, out: AnyPath | None) -> tuple[Study, StudyDir]:
    study = Study.read(text_path(path, "FILE"))
    return study, StudyDir(study.folder if out is None else output_folder(out))


def _status(progressed: Progressed, prediction: Prediction) -> Status:
    study, plan = progressed.study, progressed.plan
    choices = progressed.choices() if plan.arms else {}
    lines: list[Line] = []
    for cell in cells_of(study, progressed.folder):
        step = max((*cell.run.checkpoint_steps(), *cell.run.weight_steps()), default=0)
        known = progressed.status(cell, choices) if plan.arms else "waiting"
        steps = plan.arms[cell.arm.key].last if plan.arms else None
        lines.append(Line(cell.name, known, step, steps, cell.failed or holder(cell)))
    return Status(
        study.title, study.short_hash, progressed.folder.root, tuple(lines), plan if plan.arms else None, prediction
    )


@dataclass(frozen=True)
class Report:
    """What `report` wrote."""

    page: Path
    files: tuple[Path, ...]
    """Tables and figures beside the page."""
    tables: tuple[ComparisonTable, ...]
    """Of each dataset at equal time and equal steps, the one of the verdict first."""
    margins: tuple[tuple[str, ...], ...]
    """What the study's margin says of each table, in sentences; empty without a margin."""


def report(
    path: AnyPath,
    out: AnyPath | None = None,
    *,
    metrics: Sequence[str] = (),
    groups: Sequence[str] = (),
    guidance: Guidance = "best",
) -> Report:
    """Write the results of a study as far as it is: one page, raw rows, tables and figures; needs no images or weights.

    The folder gets report.html, cells.csv (one row per number of each cell), and for each dataset at equal time and
    steps table-….tex, .md and .csv, besides the figures as .svg.

    Args:
        path: the study's file.
        out: the folder, if it was given to `run`.
        metrics: of the tables; default: those of the primary family in LaTeX, all in the others.
        groups: of the tables: all, head, body, tail, many, medium, few, class.
        guidance: `best`, the chosen one, or a value of the sweep, whose numbers are of sampling seed A.

    Raises:
        TaildiffError: for a study that was not started, or a metric, group or guidance that it has not.
    """
    from taildiff.reporting.svg_file import to_svg_file  # matplotlib
    from taildiff.study.figures import charts_of
    from taildiff.study.page import render

    selection = Selection.of(metrics, groups, "best" if guidance == "best" else None)
    study, folder = _opened(path, out)
    check_same(study, folder)
    if (plan := read_plan(folder)) is None:
        raise RunError(f"{folder.root} has no results yet: taildiff study run {path}")
    progressed = Progressed(study, folder, plan)
    blocks = collect(progressed)
    charts = charts_of(blocks)
    compared = [(block, comparison(block)) for block in blocks]
    primary = [block.measured() for block in blocks if block.primary]
    text = render(progressed, compared, charts, aggregates(primary))
    shown = compared if guidance == "best" else [(block, comparison(block, guidance)) for block in blocks]
    contents = {"cells.csv": to_csv(blocks)} | {f"{chart.key}.svg": to_svg_file([chart]) for chart in charts}
    for block, table in shown:
        contents |= tables_of(f"table-{block.dataset}-{block.at}", table, selection)
    for name, content in {"report.html": text, **contents}.items():
        write_atomic(folder.root / name, content.encode())
    written = tuple(folder.root / name for name in contents)
    margins = tuple(tuple(margin.findings(block, plan)) for block in blocks)
    return Report(folder.root / "report.html", written, tuple(table for _, table in shown), margins)
