"""`taildiff evaluate SOURCE`: compare a run's samples, or existing images, with real ones by class and by group."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich import box
from rich.markup import escape
from rich.table import Table as Grid

from taildiff.api.evaluation import Evaluation, evaluate
from taildiff.api.evaluation_request import Request, request
from taildiff.cli.common import (
    SAMPLING,
    DeviceOption,
    DevicesOption,
    command_line,
    console,
    guidances,
    next_steps,
    numbers,
    print_line,
    print_note,
    wants_progress,
)
from taildiff.cli.parsing import parse_options
from taildiff.errors import SpecError
from taildiff.evaluation.overview import Overview, classifier_line, overview, overview_metrics
from taildiff.run.layout import EvalDir
from taildiff.spec import CHEAP, EvalSpec, ModelHints, SamplingSpec
from taildiff.spec.metrics import requestable

_COLUMNS = 6
"""Metrics that fit side by side in a terminal."""
_Values = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="G[,G…]")]
_Metrics = Annotated[
    tuple[str, ...] | None,
    tyro.conf.arg(
        metavar="A[,B…]",
        help=f"What to measure: {', '.join(requestable())}; cheap: the first {len(CHEAP)}; all: every one. "
        "[default: cheap]",
    ),
]
_List = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="A[,B…]")]


@dataclass(frozen=True)
class Evaluate:
    """Compare images with real ones: those of a run, sampled equally often per class at each guidance; or existing
    images from any source: a folder with one sub-folder per class, or an npz (images, labels); or a model that was
    trained elsewhere, which becomes a run (NAME-run beside it, or --out).
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN|FOLDER|NPZ|MODEL")]
    """The run to evaluate (its newest weights), or existing images; or a model as in taildiff sample."""
    data: Path | None = None
    """The real images: a store, a folder of images by class, an npz of them, or one of statistics (mu, sigma).
    [default: the store of the run]"""
    guidance: _Values = None
    """Guidances to sample at, such as 1,1.5,2 or 1 1.5 2; 1 is no guidance. [default: 1,1.5,2]"""
    omega: _Values = None
    """The same in the papers' other convention: omega = guidance - 1. [default: 0,0.5,1]"""
    features: str = "domain"
    """domain: a small classifier, trained once on the dataset's own real images; inception, dinov2, effnet-lite0,
    torchscript:FILE, MODULE:FUNCTION."""
    metrics: _Metrics = None
    per_class: int | None = None
    """Images per class. [default: 100 for a run, as many as the rarest class has for existing images]"""
    seeds: _List = None
    """Sample with each of these seeds and report means: 0,1,2. [default: --seed alone]"""
    step: int | None = None
    """The weights of this step. [default: the newest]"""
    reference: str = "train"
    """Which real images of the store: train, test or all (before any tail is cut); or a path, as --data."""
    k: int = EvalSpec().k
    """Neighbours in precision and recall."""
    utility: bool = False
    """Also train classifiers on real, completed and generated images, and test them on held-out real ones."""
    intervals: Literal["all", "none"] = "all"
    """none: values alone, in less time; compare and report then call no difference clear."""
    trained_on: Path | None = None
    """For existing images and other models: the run, store or folder that the model was trained on; decides head, body
    and tail. [default: unknown; a long-tailed store then decides]"""
    out: Path | None = None
    """For existing images: where the evaluation goes. [default: beside them, with -evals at the end]"""
    vae: str | None = None
    """Where the VAE of a run on latents is now, a folder or a name on the Hugging Face Hub.
    [default: where it was]"""
    device: DeviceOption = None
    devices: DevicesOption = 1
    model: ModelHints = ModelHints()  # noqa: RUF009 (frozen)
    """For a file of parameters alone."""
    sampling: Annotated[SamplingSpec, tyro.conf.arg(name="")] = SAMPLING
    dry_run: bool = False
    """Check all that the evaluation would refuse and print what it would do; do nothing."""


def main(args: list[str]) -> int:
    """Evaluate, then print the numbers, the table's path and the next command; 0 when done."""
    options = parse_options(Evaluate, args, "taildiff evaluate")
    fields = _fields(options)
    places = {name: getattr(options, name) for name in ("data", "step", "trained_on", "out", "vae")}
    if options.dry_run:
        wanted = request(options.run, fields, **places, hints=options.model)
        wanted.check(options.device, options.devices)
        _show_plan(wanted)
        return 0
    more: Any = {"model": options.model.model_dump(), "device": options.device, "devices": options.devices}
    evaluation = evaluate(options.run, progress=wants_progress(), **more, **places, **fields)
    print_summary(evaluation)
    if evaluation.table.definition.source == "images":
        pages = [command_line(verb, options.run) for verb in ("report", "gallery")]
        known = EvalDir(evaluation.folder).sources.is_file() and options.out is None
        next_steps(*(pages if known else []), command_line("compare", options.run, "OTHER"))
    else:
        run = evaluation.folder.parent.parent
        next_steps(command_line("report", run), command_line("compare", run, "OTHER"))
    return 0


def _show_plan(wanted: Request) -> None:
    console.print_json(wanted.spec.model_dump_json())
    if wanted.of_images:
        print_line(f"images: {wanted.source}; real images: {wanted.data}")
        return
    facts, spec = wanted.facts, wanted.spec
    count = facts.classes * spec.per_class * len(spec.all_seeds)
    real = wanted.data or wanted.reference_of_run().root
    print_line(f"{count} images at each of {len(spec.guidance)} guidances; real images: {real}")


def print_summary(evaluation: Evaluation) -> None:
    """Print an evaluation: the table by guidance and group, its notes, and where it is."""
    table = evaluation.table
    metrics = overview_metrics(table)
    if text := classifier_line(table):
        console.print(text, highlight=False)
    for start in range(0, len(metrics), _COLUMNS):
        console.print(_grid(overview(table, metrics[start : start + _COLUMNS])))
    for note in table.notes:
        print_note(f"note: {note}")
    print_line(f"\ntable:  {evaluation.folder / 'table.csv'}")


def _grid(shown: Overview) -> Grid:
    grid = Grid(
        title=escape(shown.title), title_justify="left", box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False
    )
    for name in shown.columns:
        grid.add_column(name, justify="left" if name == "classes" else "right")
    for place, row in enumerate(shown.rows, start=1):
        grid.add_row(*row, end_section=place % shown.groups == 0)
    return grid


def _fields(options: Evaluate) -> Any:
    """The options that are fields of the evaluation, as `evaluate` takes them."""
    fields: dict[str, Any] = options.sampling.model_dump()
    fields |= {
        name: getattr(options, name) for name in ("features", "per_class", "reference", "k", "utility", "intervals")
    }
    fields["metrics"] = " ".join(options.metrics or ()).replace(",", " ").split()
    if options.guidance is not None or options.omega is not None:
        fields["guidance"] = guidances(_numbers(options.guidance), _numbers(options.omega))
    if options.seeds is not None:
        fields["seeds"] = _integers(options.seeds)
    return fields


def _integers(texts: tuple[str, ...]) -> list[int]:
    values = _numbers(texts)
    if not all(value.is_integer() for value in values):
        raise SpecError(f"--seeds are whole numbers such as 0,1,2, not {' '.join(texts)}")
    return [int(value) for value in values]


def _numbers(texts: tuple[str, ...] | None) -> tuple[float, ...]:
    return () if texts is None else numbers(" ".join(texts))
