"""`taildiff fill`: complete rare classes with generated images, from a run or a bare folder of photographs."""

import dataclasses
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich import box
from rich.markup import escape
from rich.table import Table as Grid

from taildiff.api.filling import Filled, fill
from taildiff.api.training import Interrupted
from taildiff.cli.common import (
    SAMPLING,
    DeviceOption,
    command_line,
    console,
    guidances,
    next_steps,
    print_line,
    print_note,
    print_stopped,
    wants_progress,
)
from taildiff.cli.parsing import parse_options
from taildiff.cli.train import duration
from taildiff.errors import InputError
from taildiff.filling.request import Amounts, Layout, Originals
from taildiff.spec import SamplingSpec

_N = tyro.conf.arg(metavar="N")
_Counts = Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS=N[,…]")]


@dataclasses.dataclass(frozen=True)
class Options:
    """Complete the rare classes of a run's data with generated images that are of their class and no copies.

    Say how many in one way: --to, --add, --counts or --balance. For a bare folder of photographs, one sub-folder per
    class, everything that comes before is done in OUT-work: prepare, train, evaluate. Rerun the same command to resume.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN|FOLDER")]
    """A run, or a folder of photographs."""
    out: Path
    """A new folder, laid out as the photographs are; what each image is, is in OUT-info beside it."""
    to: Annotated[int | None, _N] = None
    """Fill each class up to N images, training images included. [default: by --add, --counts or --balance]"""
    add: Annotated[int | None, _N] = None
    """Add N images to each class. [default: by --to, --counts or --balance]"""
    counts: _Counts = ()
    """Fill these classes up to these numbers: cat=200,owl=50. [default: by --to, --add or --balance]"""
    balance: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """Fill each class up to this share of the largest one, such as 0.5. [default: by --to, --add or --counts]"""
    rare: bool = False
    """Only classes with fewer than 20 training images."""
    classes: tuple[str, ...] = ()
    """Only these classes, by name: --classes A B. [default: all]"""
    originals: Originals = "auto"
    """How the training images come into the folder; auto: links where their files are found, else resized to the size
    of the generated ones. Held-out images stay out and do not count."""
    layout: Layout = "classes"
    """OUT/<class>, or with split OUT/train/<class> and OUT/test/<class> with the held-out images."""
    keep_rejected: bool = False
    """Keep rejected images in OUT-info/rejected."""
    force: bool = False
    """Fill classes of fewer than 5 training images too."""
    check: bool = False
    """Also train classifiers with and without the new images, and test them on held-out ones."""
    guidance: float | None = None
    """g in null + g (conditional - null); 1 is none. [default: the best of the run's evaluations; without any 1.5, or 1
    where the null label was never trained]"""
    omega: float | None = None
    """The same as g - 1, as papers of the DDPM family write it. [default: --guidance - 1]"""
    sampling: Annotated[SamplingSpec, tyro.conf.arg(name="")] = SAMPLING
    data: Path | None = None
    """Where the run's store is now. [default: where it was]"""
    vae: str | None = None
    """Where the VAE of a run on latents is now, a folder or a name on the Hugging Face Hub.
    [default: where it was]"""
    batch_size: Annotated[int | None, _N] = None
    """Images sampled together; changes speed and memory only. [default: 256, fewer large images]"""
    size: Annotated[int | None, _N] = None
    """Of photographs: pixels per side to train at and to generate. [default: 32]"""
    max_time: str | None = None
    """Of photographs: stop training after this time in all: 90s, 45m, 1h30m. [default: no limit]"""
    steps_of_training: Annotated[int | None, _N] = None
    """Of photographs: training steps. [default: chosen from the data]"""
    device: DeviceOption = None
    dry_run: bool = False
    """Check all that the fill would refuse and print how many images each class would get, or the steps and predicted
    hours of a folder; do nothing."""

    @property
    def amounts(self) -> Amounts:
        """How many images each class gets."""
        return Amounts(self.to, self.add, counts_of(self.counts), self.balance, self.classes, self.rare)

    @property
    def seconds(self) -> float | None:
        """--max-time."""
        return None if self.max_time is None else duration(self.max_time)


def main(args: list[str]) -> int:
    """`taildiff fill RUN …`; 0 when done, also where images are missing."""
    options = parse_options(Options, args, "taildiff fill")
    guidance = next(iter(guidances(_given(options.guidance), _given(options.omega))), None)
    command = ["taildiff", "fill", *args]
    try:
        filled = _filled(options, guidance, command)
    except KeyboardInterrupt as stop:
        print_stopped(command)
        return 128 + ((stop.outcome.signal if isinstance(stop, Interrupted) else None) or signal.SIGINT)
    if options.dry_run:
        for line in filled.plan:
            print_line(line)
        return 0
    print_filled(filled)
    checked = [] if options.check else [command_line("fill", *args, "--check")]
    next_steps(command_line("gallery", options.out), *checked)
    return 0


def _filled(options: Options, guidance: float | None, command: Sequence[str]) -> Filled:
    amounts = options.amounts
    return fill(
        options.run,
        out=options.out,
        to=amounts.to,
        add=amounts.add,
        counts=amounts.counts,
        balance=amounts.balance,
        rare=amounts.rare,
        classes=amounts.classes,
        originals=options.originals,
        layout=options.layout,
        keep_rejected=options.keep_rejected,
        force=options.force,
        check=options.check,
        guidance=guidance,
        data=options.data,
        vae=options.vae,
        size=options.size,
        max_time=options.seconds,
        steps_of_training=options.steps_of_training,
        batch_size=options.batch_size,
        device=options.device,
        dry_run=options.dry_run,
        progress=wants_progress(),
        command=command,
        **options.sampling.model_dump(),
    )


def print_filled(filled: Filled) -> None:
    """Print the counts of each class, what is missing and why, and where the images are."""
    grid = Grid(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    rejected = ("copy", "class", "repeat")
    columns = ("class", "training", "asked", "drawn", *(f"{name}" for name in rejected), "admitted", "missing")
    for name in columns:
        grid.add_column(name, justify="left" if name == "class" else "right")
    for name, counts in filled.counts.items():
        numbers = (counts.training, counts.asked, counts.drawn, *(counts.rejected[each] for each in rejected))
        grid.add_row(escape(name), *(f"{n:,}" for n in (*numbers, counts.admitted, counts.missing)))
    console.print(grid)
    for note in filled.notes:
        print_note(note)
    admitted = sum(counts.admitted for counts in filled.counts.values())
    print_line(f"{admitted:,} generated images in {filled.folder}; what each is: {filled.info / 'manifest.jsonl'}")
    if filled.check:
        for line in filled.check.lines:
            print_line(line)


def counts_of(texts: Sequence[str]) -> dict[str, int]:
    """`cat=200,owl=50` as numbers by class; `InputError` for anything else."""
    counts: dict[str, int] = {}
    for part in ",".join(texts).split(",") if texts else ():
        name, equals, number = part.rpartition("=")
        if not equals or not number.strip().isdecimal():
            raise InputError(f"--counts {part!r} is not CLASS=N, such as cat=200")
        if name.strip() in counts:
            raise InputError(f"--counts names the class '{name.strip()}' twice; give it one number")
        counts[name.strip()] = int(number)
    return counts


def _given(value: float | None) -> tuple[float, ...]:
    return () if value is None else (value,)
