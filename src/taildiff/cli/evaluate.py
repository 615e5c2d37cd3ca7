"""`taildiff evaluate RUN`: sample a run at several guidances and judge the images by class and by group."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich import box
from rich.markup import escape
from rich.table import Table as Grid

from taildiff.cli.common import command_line, console, guidances, next_steps, numbers, parse_options, progress_bar
from taildiff.cli.stores import store_of
from taildiff.data.store import Store
from taildiff.evaluation.table import Group, Metric, Table
from taildiff.runs import EvalDir, RunDir
from taildiff.spec import EvalSpec, SamplingSpec, parse

_SHOWN: tuple[Group, ...] = ("all", "head", "body", "tail")
_METRICS: tuple[tuple[Metric, str], ...] = (
    ("accuracy", "accuracy ↑"),
    ("frechet", "Fréchet ↓"),
    ("precision", "precision ↑"),
    ("recall", "recall ↑"),
)
_Values = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="G[,G…]")]


@dataclass(frozen=True)
class Evaluate:
    """Sample every class equally often at each guidance and judge the images against the real ones."""

    run: tyro.conf.Positional[Path]
    """The run to judge; its newest weights are taken."""
    data: Path | None = None
    """The store with the real images; default: that of the run."""
    guidance: _Values = None
    """Guidances to sample at: 1,1.5,2 (the default) or 1 1.5 2; 1 is no guidance."""
    omega: _Values = None
    """The same in the papers' other convention: omega = guidance - 1."""
    features: Literal["domain"] = "domain"
    """domain: a small classifier, trained once on the dataset's own real images."""
    per_class: int = EvalSpec().per_class
    """Images to sample of each class."""
    reference: Literal["train", "test", "all"] = "train"
    """Which real images of the store; always the uncut ones."""
    k: int = EvalSpec().k
    """Neighbours in precision and recall."""
    sampling: Annotated[SamplingSpec, tyro.conf.arg(name="")] = SamplingSpec()  # noqa: RUF009 (frozen)
    dry_run: bool = False
    """Print what would be done, and do nothing."""


def main(args: list[str]) -> int:
    """Evaluate and print the numbers, where they lie and the next command; 0 when done."""
    options = parse_options(Evaluate, args, "taildiff evaluate")
    run, spec = RunDir(options.run), _spec(options)
    run.info()  # a wrong path is told before anything else
    store = Store.open(options.data) if options.data else store_of(run)
    if options.dry_run:
        count = len(store.meta.class_names) * spec.per_class
        console.print_json(spec.model_dump_json())
        console.print(
            f"{count} images at each of {len(spec.guidance)} guidances; real images: {store.root}", markup=False
        )
        return 0
    from taildiff.evaluation.evaluate import evaluate  # torch: not before it is needed
    from taildiff.evaluation.generate import best_device

    with progress_bar() as progress:
        folder = evaluate(run, store, spec, progress, best_device())
    show(folder)
    next_steps(command_line("report", run.root))
    return 0


def show(folder: EvalDir) -> None:
    """Print an evaluation: the table by guidance and group, its notes, where it lies."""
    table = Table.read(folder)
    console.print(summary(table))
    for note in table.notes:
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False)
    judged = table.select("judge_accuracy", "all")
    if judged and judged[0].value is not None:
        text = f"The judge itself is right on {judged[0].value:.1%} of {judged[0].n_real} real images it never saw."
        console.print(text, highlight=False)
    console.print(f"\ntable:  {folder.table_csv}", markup=False, highlight=False, soft_wrap=True)


def summary(table: Table) -> Grid:
    """Guidance and group by metric."""
    definition = table.definition
    title = f"{escape(definition.run)}, step {definition.step}"
    grid = Grid(title=title, title_justify="left", box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    for name in ("guidance", "classes", *(title for _, title in _METRICS)):
        grid.add_column(name, justify="left" if name == "classes" else "right")
    groups: list[Group] = [group for group in _SHOWN if group in table.groups]
    for guidance in table.guidances:
        for group in groups:
            cells = [_cell(table, metric, group, guidance) for metric, _ in _METRICS]
            first, last = group == groups[0], group == groups[-1]
            grid.add_row(f"{guidance:g}" if first else "", group, *cells, end_section=last)
    return grid


def _cell(table: Table, metric: Metric, group: Group, guidance: float) -> str:
    value = table.value(metric, group, guidance)
    if value is None:
        return "–"
    return f"{value:.1f}" if metric == "frechet" else f"{value:.0%}"


def _spec(options: Evaluate) -> EvalSpec:
    values = {
        "features": options.features,
        "guidance": guidances(_numbers(options.guidance), _numbers(options.omega), EvalSpec().guidance),
        "per_class": options.per_class,
        "reference": options.reference,
        "k": options.k,
        "sampling": options.sampling,
    }
    return parse(EvalSpec, values)


def _numbers(texts: tuple[str, ...] | None) -> tuple[float, ...]:
    return () if texts is None else numbers(" ".join(texts))
