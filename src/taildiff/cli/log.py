"""`taildiff log RUN [RUN …] --to TRACKER`: what runs have logged, in an experiment tracker."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from taildiff.api.training import Run
from taildiff.cli.common import command_line, next_steps, print_line
from taildiff.cli.parsing import parse_options
from taildiff.errors import InputError
from taildiff.run.layout import RunDir
from taildiff.trackers.base import TrackerName


@dataclass(frozen=True)
class Log:
    """Show metrics and sample grids of runs in an experiment tracker: one curve per run, however often it stopped."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN …]")]
    """The runs' folders."""
    to: TrackerName = "tensorboard"
    """tensorboard: event files in RUN/tensorboard, which are replaced; wandb: the project WANDB_PROJECT or taildiff, or
    with WANDB_MODE=offline a folder in RUN/wandb. (pip install 'taildiff[tensorboard]' or 'taildiff[wandb]')"""


def main(args: Sequence[str]) -> int:
    """Send the runs one after the other, then print how to look at them; 0 on success."""
    options = parse_options(Log, args, "taildiff log")
    if not options.runs:
        raise InputError("give a run: taildiff log runs/NAME --to tensorboard")
    for run in options.runs:
        RunDir(run).info()  # a mistyped path is refused before anything is sent
    for run in options.runs:
        lines = Run(run).log(options.to)
        print_line(f"Sent {lines:,} lines of {run} to {options.to}")
    if options.to == "tensorboard":
        common = options.runs[0] if len(options.runs) == 1 else options.runs[0].parent
        next_steps(command_line("--logdir", common, program="tensorboard"))
    return 0
