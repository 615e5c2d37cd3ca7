"""`taildiff evaluate SOURCE`: judge a run's samples, or images that are there, by class and by group."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich import box
from rich.markup import escape
from rich.table import Table as Grid

from taildiff.cli.common import command_line, console, guidances, next_steps, numbers, parse_options, progress_bar
from taildiff.cli.judging import Asked, judge_images, judge_run
from taildiff.errors import SpecError
from taildiff.evaluation.table import Group, Table
from taildiff.run.layout import EvalDir, RunDir
from taildiff.spec import CHEAP, METRICS, EvalSpec, SamplingSpec, parse
from taildiff.spec.metrics import requestable, requested

_SHOWN: tuple[Group, ...] = ("all", "head", "body", "tail")
_COLUMNS = 6
"""Metrics a terminal has room for side by side."""
_Values = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="G[,G…]")]
_Metrics = Annotated[
    tuple[str, ...] | None,
    tyro.conf.arg(
        metavar="A[,B…]",
        help=f"What to measure: {', '.join(requestable())}; cheap (default): the first {len(CHEAP)}; all: every one.",
    ),
]
_List = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="A[,B…]")]


@dataclass(frozen=True)
class Evaluate:
    """Judge images against real ones: those of a run, sampled equally often of each class at each guidance; or a
    folder of images with one sub-folder a class, or an npz (images, labels), whoever made them.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN|FOLDER|NPZ")]
    """The run to judge (its newest weights are taken), or images that are there already."""
    data: Path | None = None
    """The real images: a store, a folder of images by class, an npz of them, or one of statistics (mu, sigma);
    default: the store of the run."""
    guidance: _Values = None
    """Guidances to sample at: 1,1.5,2 (the default) or 1 1.5 2; 1 is no guidance."""
    omega: _Values = None
    """The same in the papers' other convention: omega = guidance - 1."""
    features: str = "domain"
    """domain: a small classifier, trained once on the dataset's own real images; inception, dinov2, effnet-lite0,
    torchscript:FILE, MODULE:FUNCTION."""
    metrics: _Metrics = None
    per_class: int | None = None
    """Images of each class; default: 100 to sample, or as many as the rarest class of a folder has."""
    seeds: _List = None
    """Sample with each of these seeds and give means: 0,1,2."""
    step: int | None = None
    """The weights of this step instead of the newest."""
    reference: str = "train"
    """Which real images of the store, train, test or all (always the uncut ones); or a path, as --data."""
    k: int = EvalSpec().k
    """Neighbours in precision and recall."""
    utility: bool = False
    """Also train classifiers on real, completed and generated images, and test them on held-out real ones."""
    trained_on: Path | None = None
    """For a folder or npz: the run, store or folder that its model was trained on; decides head, body and tail."""
    out: Path | None = None
    """For a folder or npz: where the evaluation goes [default: beside it, with -evals at the end]."""
    vae: str | None = None
    """Where the VAE of a run on latents is now, a folder or a name on the hub; default: where it was."""
    sampling: Annotated[SamplingSpec, tyro.conf.arg(name="")] = SamplingSpec()  # noqa: RUF009 (frozen)
    dry_run: bool = False
    """Print what would be done, and do nothing."""


def main(args: list[str]) -> int:
    """Evaluate and print the numbers, where they lie and the next command; 0 when done."""
    options = parse_options(Evaluate, args, "taildiff evaluate")
    asked, run = _asked(options), RunDir(options.run)
    images = options.run.exists() and not run.exists()
    if not images:
        run.info()  # a wrong path is told before anything else
        _refuse(options, "trained_on", "out")
    else:
        _refuse(options, "guidance", "omega", "seeds", "step", "vae")
    if options.dry_run:
        return _dry(options, asked, images)
    with progress_bar() as progress:
        folder = judge_images(asked, progress) if images else judge_run(run, asked, progress)
    show(folder)
    if images:
        next_steps(command_line("compare", options.run, "OTHER"))
    else:
        next_steps(command_line("report", run.root), command_line("compare", run.root, "OTHER"))
    return 0


def _refuse(options: Evaluate, *names: str) -> None:
    for name in names:
        if getattr(options, name) is not None:
            what = "a run" if name in ("trained_on", "out") else "images that are there already"
            raise SpecError(f"--{name.replace('_', '-')} has no meaning for {what}: leave it out")


def _asked(options: Evaluate) -> Asked:
    data, column = options.data, options.reference
    if column not in ("train", "test", "all"):
        if data is not None:
            raise SpecError(f"--data {data} and --reference {column} name two references: give one of them")
        data, column = Path(column), "train"
    spec = _spec(options, column)
    per_class = options.per_class or 0
    return Asked(options.run, data, options.trained_on, options.out, options.step, spec, per_class, options.vae)


def _dry(options: Evaluate, asked: Asked, images: bool) -> int:
    console.print_json(asked.spec.model_dump_json())
    if images:
        console.print(f"images: {options.run}; real images: {asked.data}", markup=False, soft_wrap=True)
        return 0
    store = asked.store_of_run(RunDir(options.run))
    count = len(store.meta.class_names) * asked.spec.per_class * len(asked.spec.all_seeds)
    said = f"{count} images at each of {len(asked.spec.guidance)} guidances; real images: {store.root}"
    console.print(said, markup=False)
    return 0


def show(folder: EvalDir) -> None:
    """Print an evaluation: the table by guidance and group, its notes, where it lies."""
    table = Table.read(folder)
    shown = _shown(table)
    for start in range(0, len(shown), _COLUMNS):
        console.print(summary(table, shown[start : start + _COLUMNS]))
    for note in table.notes:
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False)
    judged = table.select("classifier_accuracy", "all")
    if judged and judged[0].value is not None:
        text = f"The judge itself is right on {judged[0].value:.1%} of {judged[0].n_real} real images it never saw."
        console.print(text, highlight=False)
    console.print(f"\ntable:  {folder.table_csv}", markup=False, highlight=False, soft_wrap=True)


def _shown(table: Table) -> list[str]:
    default = table.definition.spec.metrics == CHEAP
    of_images = (METRICS[name] for name in table.metrics if METRICS[name].option)
    return [metric.name for metric in of_images if metric.overview or not default]


def summary(table: Table, metrics: Sequence[str]) -> Grid:
    """Guidance and group by metric."""
    definition = table.definition
    title = f"{escape(definition.run)}" + (f", step {definition.step}" if definition.source == "run" else "")
    grid = Grid(title=title, title_justify="left", box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    swept, is_fid = definition.source == "run", definition.extractor.is_fid
    headings = [METRICS[metric].on(is_fid).short_heading for metric in metrics]
    for name in (*(["guidance"] if swept else []), "classes", *headings):
        grid.add_column(name, justify="left" if name == "classes" else "right")
    groups: list[Group] = [group for group in _SHOWN if group in table.groups]
    for guidance in table.guidances if swept else (None,):
        for group in groups:
            cells = [_cell(table, metric, group, guidance) for metric in metrics]
            first, last = group == groups[0], group == groups[-1]
            shown = [f"{guidance:g}" if first and guidance is not None else ""] if swept else []
            grid.add_row(*shown, group, *cells, end_section=last)
    return grid


def _cell(table: Table, metric: str, group: Group, guidance: float | None) -> str:
    value = table.value(metric, group, guidance)
    return "–" if value is None else METRICS[metric].rounded(value)


def _spec(options: Evaluate, column: str) -> EvalSpec:
    values = {
        "features": options.features,
        "metrics": _metrics(options.metrics),
        "guidance": guidances(_numbers(options.guidance), _numbers(options.omega), EvalSpec().guidance),
        "per_class": EvalSpec().per_class if options.per_class is None else options.per_class,
        "seeds": tuple(_whole(options.seeds)),
        "reference": column,
        "k": options.k,
        "utility": options.utility,
        "sampling": options.sampling,
    }
    return parse(EvalSpec, values)


def _metrics(texts: tuple[str, ...] | None) -> tuple[str, ...]:
    try:
        return requested(" ".join(texts or ()).replace(",", " ").split())
    except ValueError as error:
        raise SpecError(str(error)) from None


def _whole(texts: tuple[str, ...] | None) -> list[int]:
    values = _numbers(texts)
    if any(value != int(value) for value in values):
        raise SpecError(f"--seeds are whole numbers such as 0,1,2, not {' '.join(texts or ())}")
    return [int(value) for value in values]


def _numbers(texts: tuple[str, ...] | None) -> tuple[float, ...]:
    return () if texts is None else numbers(" ".join(texts))
