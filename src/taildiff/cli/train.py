"""`taildiff train`: train a recipe, or resume its run."""

import dataclasses
import re
import shlex
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape

from taildiff.api.training import Interrupted, Run, data_of, starting_spec, train, with_changes
from taildiff.cli.common import HELP, DeviceOption, command_line, console, next_steps, wants_progress
from taildiff.cli.config import ConfigFile, last_value
from taildiff.cli.parsing import parse_options
from taildiff.cli.settings import show_choices
from taildiff.data.latents import open_data
from taildiff.data.locate import on_digits
from taildiff.errors import SpecError
from taildiff.io.hub import is_hub_name
from taildiff.io.paths import output_folder
from taildiff.log import log
from taildiff.recipes import FIXED, FOR_DATA, METHODS, NAMES, describe
from taildiff.recipes.auto import METHOD
from taildiff.run.layout import RunDir
from taildiff.spec import DataFacts, RunSpec
from taildiff.text import forgiving
from taildiff.trackers.base import TrackerName, trackers

USAGE = f"""usage: taildiff train RECIPE [--method METHOD] [--data STORE] --out RUN [OPTIONS]

RECIPE is one of
  {textwrap.fill(", ".join(NAMES), 100, subsequent_indent="  ")}
(taildiff recipes describes them), or a .json file with a spec, as --dry-run prints it.
METHOD, for every recipe, is one of {", ".join(METHODS)}.

  taildiff train auto-ccua --data data/photos --out runs/first     train on your own images
  taildiff train mnist5k-ccua --out runs/ccua --steps 2000         every field of the recipe is an option
  taildiff train mnist5k-plain --method cbdm --out runs/cbdm       another method in the recipe's setting
  taildiff train RECIPE --help                                     the common options with the recipe's values
  taildiff train RECIPE --help-all                                 all of them
  taildiff train RECIPE --config run.toml                          options from a file; others on top of it

Rerun the same command to resume a stopped run."""
EXAMPLE = DataFacts(height=32, width=32, channels=3, class_names=("common", "rare"), counts=(1000, 10))
"""The data that --help shows an auto recipe for, without --data."""


COMMON = (
    *(
        "out",
        "data",
        "method",
        "steps",
        "seed",
        "batch_size",
        "device",
        "devices",
        "precision",
        "from",
        "max_time",
        "log",
    ),
    *("dry_run", "config", "quiet", "data.tail", "data.ratio", "data.resample", "data.flip"),
    *("model.channels", "model.depth", "model.width", "model.patch", "objective.drop.p"),
    *("optimizer.lr", "optimizer.warmup", "ema.decay", "every.samples", "every.save"),
)
"""What --help lists, in this order."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a recipe, or resume its run."""

    spec: Annotated[RunSpec, tyro.conf.arg(name="")]
    out: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """The run's folder; an existing run is resumed. [default: none; needed to train]"""
    store: Annotated[Path | None, tyro.conf.arg(name="data", metavar="STORE")] = None
    """The store to train on (from taildiff data prepare) or latents (from taildiff data encode). [default:
    the data of an existing run, or the embedded digits for the mnist5k recipes]"""
    method: Annotated[str | None, tyro.conf.arg(metavar="{" + ",".join(METHODS) + "}")] = None
    """The objective of this method, with its weights for this network; other options are applied after it.
    [default: the recipe's own]"""
    stop_at: int | None = None
    """Stop after this step without changing the schedule; the same command without it resumes. [default: --steps]"""
    max_time: str | None = None
    """Stop after this time, such as 90s, 45m, 1h30m. [default: no limit]"""
    start_from: Annotated[Path | None, tyro.conf.arg(name="from", metavar="WEIGHTS")] = None
    """Start from these weights: another run (its newest), a file under its weights/, an export, a model of diffusers, a
    checkpoint of SiT, DiT, REPA or DeltaFM, or OWNER/NAME on the Hub. Classes are matched by name; new ones start with
    fresh rows of the label table. [default: random weights, from --seed]"""
    device: DeviceOption = None
    log: Annotated[tuple[TrackerName, ...], tyro.conf.arg(metavar="NAME [NAME …]")] = ()
    """Show the run in tensorboard or wandb: metrics and sample grids, while it is trained (pip install
    'taildiff[tensorboard]' or 'taildiff[wandb]'); taildiff log does it afterwards. [default: none]"""
    dry_run: bool = False
    """Check all that training would refuse and print the spec as JSON; train nothing."""


def main(args: list[str]) -> int:
    """`taildiff train RECIPE …`."""
    if not args or args[0] in HELP:
        print(USAGE)
        return 0 if args else 2
    file = ConfigFile.named_in(args)
    name, rest = _recipe(args, file)
    default = Options(spec=_default(name, rest, file))
    options = parse_options(
        Options,
        rest,
        f"taildiff train {name}",
        default,
        _about(name),
        common(default.spec),
        file=file.without("recipe"),
        unset=unset(name, default.spec),
    )
    if options.stop_at is not None and options.stop_at < 1:
        raise SpecError(f"--stop-at {options.stop_at}: the first step is 1")
    max_time = None if options.max_time is None else duration(options.max_time)
    if options.out is not None:
        output_folder(options.out)
    if options.dry_run:
        trackers(options.log)
        _check(options)
        print(options.spec.model_dump_json(indent=1))
        return 0
    if options.out is None:
        raise SpecError("give an output folder: --out runs/NAME")
    data = data_of(options.spec, options.store, options.out)
    if options.spec.recipe.startswith("auto"):
        show_choices(options.spec, data)
    command = ["taildiff", "train", *args]
    try:
        run = train(
            options.spec,
            out=options.out,
            data=data,
            stop_at=options.stop_at,
            max_time=max_time,
            start_from=options.start_from,
            device=options.device,
            log=options.log,
            progress=wants_progress(),
            command=command,
        )
    except Interrupted as interrupted:
        run = interrupted.run
    outcome = run.outcome
    assert outcome
    if not outcome.is_rank_zero:
        return 0
    with forgiving(sys.stdout):  # after SIGHUP there is no terminal
        _report(run, options.spec, command, "tensorboard" in options.log)
    return 128 + outcome.signal if outcome.signal else 0


def _check(options: Options) -> None:
    """Raise what training would raise; what an option left out keeps from being checked is logged."""
    spec, out = options.spec, options.out
    needs_data = options.store is None and not on_digits(spec)
    if needs_data and not (out and RunDir(out).exists()):
        weights = options.start_from
        if weights and not weights.exists() and not is_hub_name(str(weights)):
            raise SpecError(f"--from {weights} does not exist")
        log.warning("training needs --data STORE; whether these settings fit the data was not checked")
        return
    if out is None:
        log.warning("training needs an output folder: --out runs/NAME")
    with tempfile.TemporaryDirectory(prefix="taildiff-") as place:  # a new run's, if none is named
        train(
            spec,
            out=out or Path(place, "run"),
            data=options.store,
            start_from=options.start_from,
            device=options.device,
            dry_run=True,
        )


def common(spec: RunSpec) -> list[str]:
    """The keys of the options that --help lists: those most often changed, and the weights of the terms in use."""
    terms = [f"objective.{name}.weight" for name in spec.objective.terms]
    terms += ["objective.transfer.mode"] if spec.objective.transfer.mode != "none" else []
    place = COMMON.index("objective.drop.p")
    return [*COMMON[:place], *terms, *COMMON[place:]]


def unset(name: str, spec: RunSpec) -> dict[str, str]:
    """What --data and --method are for this recipe if they are not given."""
    data = "the embedded digits" if on_digits(spec) else "none; needed for a new run"
    own = FIXED[name].method if name in FIXED else METHOD if name in FOR_DATA else "the file's objective"
    return {"data": data, "method": own}


def _recipe(args: list[str], file: ConfigFile) -> tuple[str, list[str]]:
    """The recipe's name, from the command line or the file, and the other arguments."""
    if not args[0].startswith("-"):
        return args[0], args[1:]
    if name := file.text("recipe"):
        return name, args
    raise SpecError(f"give a recipe before the options: taildiff train RECIPE {args[0]} …; one of {', '.join(NAMES)}")


def _about(name: str) -> str:
    """The first lines of --help."""
    title = describe(name).partition("\n\n")[0] if name in NAMES else f"The spec in {name}."
    text = f"Train a recipe, or resume its run. {title}"
    if name in FOR_DATA:
        text += f"\n\n{name} takes its values from the data: those shown are for --data STORE, else for an example."
    return text


def _default(name: str, args: list[str], file: ConfigFile) -> RunSpec:
    """The recipe before its options, for the data and with the method and the kinds of network that they name."""
    facts = None
    if name not in NAMES and not name.endswith(".json") and Path(name).exists():
        command = command_line("train", "auto-ccua", "--data", name, "--out", "runs/NAME")
        raise SpecError(f"give a recipe, then the data, as in: {command}")
    if name in FOR_DATA:
        place, example = last_value(args, "--data"), EXAMPLE if {*HELP} & set(args) else None
        place = place or file.text("data", "data.store")
        facts = open_data(Path(place)).facts if place else example
    spec = starting_spec(name, facts, last_value(args, "--method") or file.text("method"))
    kinds = {part: last_value(args, f"--{part}.kind") or file.text(f"{part}.kind") for part in ("model", "path")}
    return with_changes(spec, {part: {"kind": kind} for part, kind in kinds.items() if kind})


def _report(run: Run, spec: RunSpec, command: list[str], show: bool) -> None:
    """Print how training ended and the next commands; `show`: among them how to look at TensorBoard."""
    outcome = run.outcome
    assert outcome
    place = escape(str(run.path))
    if outcome.reason == "finished":
        console.print(f"[green]trained[/] {place} to step {outcome.step}", highlight=False)
        next_steps(
            command_line("sample", run.path, "--per-class", 8, "--out", run.path / "drawn"),
            command_line("evaluate", run.path),
            command_line("report", run.path),
            *([command_line("--logdir", run.path, program="tensorboard")] if show else []),
        )
        return
    console.print(
        f"[yellow]stopped[/] {place} after step {outcome.step} of {spec.steps} ({outcome.reason}), saved",
        soft_wrap=True,
    )
    how = "to resume" if outcome.reason == "signal" else "to resume, with another limit"
    next_steps(f"{shlex.join(command)}   # {how}")


def duration(text: str) -> float:
    """Seconds of `90`, `90s`, `45m`, `1h30m`."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    if not match or not any(match.groups()):
        raise SpecError(f"--max-time {text!r} is not a time such as 90s, 45m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds
