"""`taildiff train`: train a recipe, or resume its run."""

import dataclasses
import itertools
import re
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape

from taildiff.api.training import Interrupted, Run, data_of, starting_spec, train
from taildiff.cli.common import DeviceOption, command_line, console, next_steps, parse_options, wants_progress
from taildiff.data.latents import LatentStore, open_data
from taildiff.data.store import Store
from taildiff.errors import SpecError
from taildiff.io.paths import output_folder
from taildiff.log import log
from taildiff.recipes import FOR_DATA, METHODS, NAMES, check_data
from taildiff.spec import DataFacts, DataSpec, ObjectiveSpec, RunSpec, SiTSpec, UNetSpec
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
  taildiff train RECIPE --help                                     all options with the recipe's values

Rerun the same command to resume a stopped run."""
EXAMPLE = DataFacts(height=32, width=32, channels=3, class_names=("common", "rare"), counts=(1000, 10))
"""The data that --help shows an auto recipe for, without --data."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a recipe, or resume its run."""

    spec: Annotated[RunSpec, tyro.conf.arg(name="")]
    out: Path | None = None
    """The run's folder; an existing run is resumed."""
    store: Annotated[Path | None, tyro.conf.arg(name="data")] = None
    """The store to train on (from taildiff data prepare) or latents (from taildiff data encode); the mnist5k recipes
    need none."""
    method: Annotated[str | None, tyro.conf.arg(metavar="{" + ",".join(METHODS) + "}")] = None
    """The objective of this method, with its weights for this network; other options are applied after it."""
    stop_at: int | None = None
    """Stop after this step without changing the schedule; the same command without it resumes."""
    max_time: str | None = None
    """Stop after this time, such as 90s, 45m, 1h30m."""
    start_from: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Start from these weights: another run (its newest), a file under its weights/, an export, a model of diffusers, a
    checkpoint of SiT, DiT, REPA or DeltaFM, or OWNER/NAME on the Hub. Classes are matched by name; new ones start with
    fresh rows of the label table."""
    device: DeviceOption = None
    log: tuple[TrackerName, ...] = ()
    """Also show metrics and sample grids in these, while training (pip install 'taildiff[tensorboard]' or
    'taildiff[wandb]'); taildiff log does it afterwards."""
    dry_run: bool = False
    """Check that the settings fit --data, print the resolved spec as JSON, and do nothing."""


def main(args: list[str]) -> int:
    """`taildiff train RECIPE …`."""
    if not args or args[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if args else 2
    name, rest = args[0], args[1:]
    if name.startswith("-"):
        raise SpecError(f"give a recipe before the options: taildiff train RECIPE {name} …; one of {', '.join(NAMES)}")
    options = parse_options(Options, rest, f"taildiff train {name}", Options(spec=_default(name, rest)), _about(name))
    if options.stop_at is not None and options.stop_at < 1:
        raise SpecError(f"--stop-at {options.stop_at}: the first step is 1")
    max_time = None if options.max_time is None else duration(options.max_time)
    if options.out is not None:
        output_folder(options.out)
    if options.dry_run:
        trackers(options.log)
        if options.store:
            _check_fit(options.spec, options.store)
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


def _check_fit(spec: RunSpec, place: Path) -> None:
    """Raise what training would raise for these data and settings; reads no image, and a missing place is no error."""
    from taildiff.data.longtail import Split

    if not place.exists():
        log.warning(f"{place} does not exist; whether these settings fit it was not checked")
        return
    data = open_data(place)
    check_data(spec, data.facts)
    Split.cut(data, spec.data)


def _about(name: str) -> str:
    """The first lines of --help."""
    text = "Train a recipe, or resume its run."
    if name in FOR_DATA:
        text += f" {name} takes its values from the data: those shown are for --data STORE, else for an example."
    return text


def _default(name: str, args: list[str]) -> RunSpec:
    """The recipe before its options, for the data and with the method that they name."""
    facts = None
    if name not in NAMES and not name.endswith(".json") and Path(name).exists():
        command = command_line("train", "auto-ccua", "--data", name, "--out", "runs/NAME")
        raise SpecError(f"give a recipe, then the data, as in: {command}")
    if name in FOR_DATA:
        place, example = last_value(args, "--data"), EXAMPLE if {"-h", "--help"} & set(args) else None
        facts = open_data(Path(place)).facts if place else example
    return starting_spec(name, facts, last_value(args, "--method"))


def last_value(args: list[str], flag: str) -> str | None:
    """The value of the last `--flag VALUE` or `--flag=VALUE`."""
    value = None
    for before, arg in itertools.pairwise(["", *args]):
        if before == flag:
            value = arg
        elif arg.startswith(f"{flag}="):
            value = arg.removeprefix(f"{flag}=")
    return value


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


def show_choices(spec: RunSpec, store: Store | LatentStore) -> None:
    """Print what an auto recipe took from the data."""
    facts = store.facts
    console.print(
        f"[bold]{spec.recipe}[/] for {escape(facts.name)}: {sum(facts.counts)} images of {facts.height}x{facts.width}, "
        f"{'colour' if facts.channels == 3 else 'grey'}, {facts.classes} classes of "
        f"{min(facts.counts)} to {max(facts.counts)} images"
        + (f", as latents {'x'.join(map(str, facts.shape))}" if facts.codec else ""),
        highlight=False,
    )
    match spec.model:
        case UNetSpec(channels=channels, blocks=blocks, attention=attention):
            shape = f"U-Net, channels {channels}, {blocks} block(s) per level, attention at {attention}"
        case SiTSpec(depth=depth, width=width, patch=patch):
            shape = f"SiT, {depth} blocks of width {width}, patch {patch}"
    console.print(
        f"  model      {shape}\n"
        f"  steps      {spec.steps} with {spec.batch_size} images each, learning rate {spec.optimizer.lr:g}\n"
        f"  order      {order(spec.data)}, mirror images {'yes' if spec.data.flip else 'no'}\n"
        f"  objective  {terms(spec.objective)}\n"
        f"  (each is an option: taildiff train {spec.recipe} --data STORE --help)",
        highlight=False,
    )


def order(data: DataSpec) -> str:
    """How images are drawn: by epoch, or by one of the two laws of class resampling."""
    if data.resample_power is not None:
        return f"class resampling by size, power {data.resample_power:g}"
    return "epochs" if data.resample is None else f"class resampling f = {data.resample:g}"


def terms(spec: ObjectiveSpec) -> str:
    """The terms added to denoising, with their weights, and the share of the batch in a cheaper pass without labels."""
    words = [f"{type(block).__name__.removesuffix('Spec')} {block.weight:g}" for block in spec.terms.values()]
    words += [f"targets {spec.transfer.mode}"] if spec.transfer.mode != "none" else []
    words += [f"null rows {spec.null_fraction:g}"] if spec.null_fraction < 1 else []
    words += [f"shared null rows {spec.shared_null:g}"] if spec.shared_null else []
    return ", ".join(words) or "denoising alone"
