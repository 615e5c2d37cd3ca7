"""taildiff train: train a recipe, or go on where it stopped."""

import dataclasses
import itertools
import re
import shlex
import textwrap
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape

from taildiff.cli.common import command_line, console, next_steps, parse_options, progress_bar
from taildiff.data.latents import LatentStore, open_data
from taildiff.data.locate import default_store
from taildiff.data.store import Store
from taildiff.errors import SpecError
from taildiff.log import log
from taildiff.recipes import FOR_DATA, METHODS, NAMES, check_data, recipe, with_method
from taildiff.run.layout import RunDir
from taildiff.spec import DataFacts, ObjectiveSpec, RunSpec, SiTSpec, UNetSpec, parse, read_json

USAGE = f"""usage: taildiff train RECIPE [--method METHOD] [--data STORE] --out RUN [OPTIONS]

RECIPE is one of
  {textwrap.fill(", ".join(NAMES), 100, subsequent_indent="  ")}
(taildiff recipes tells more), or a .json file with a spec, such as --dry-run prints.
METHOD, for any of them, is one of {", ".join(METHODS)}.

  taildiff train auto-ccua --data data/photos --out runs/first     train on your own images
  taildiff train mnist5k-ccua --out runs/ccua --steps 2000         any field of the recipe is an option
  taildiff train mnist5k-plain --method cbdm --out runs/cbdm       another method in the recipe's setting
  taildiff train RECIPE --help                                     all options with the recipe's values

The same command continues a run that was stopped."""
EXAMPLE = DataFacts(height=32, width=32, channels=3, class_names=("common", "rare"), counts=(1000, 10))
"""What an auto recipe is shown for in --help, when no data are named."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a recipe, or go on where it stopped."""

    spec: Annotated[RunSpec, tyro.conf.arg(name="")]
    out: Path | None = None
    """The run's folder; an existing run is continued."""
    store: Annotated[Path | None, tyro.conf.arg(name="data")] = None
    """The store to train on (taildiff data prepare makes one), or latents (taildiff data encode); the mnist5k
    recipes need none."""
    method: Annotated[str | None, tyro.conf.arg(metavar="{" + ",".join(METHODS) + "}")] = None
    """The objective of this method, with its weights for this network; all other options come on top."""
    stop_at: int | None = None
    """Stop after this step; the schedule does not change, and the same command without it goes on."""
    max_time: str | None = None
    """Stop after this time, such as 90s, 45m, 1h30m."""
    start_from: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Begin with these weights (a file under weights/ of another run)."""
    dry_run: bool = False
    """Print the resolved spec as JSON, after looking whether it fits --data, and do nothing."""


def main(args: list[str]) -> int:
    """`taildiff train RECIPE …`."""
    if not args or args[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if args else 2
    name, rest = args[0], args[1:]
    if name.startswith("-"):
        raise SpecError(f"name a recipe before the options: taildiff train RECIPE {name} …; one of {', '.join(NAMES)}")
    default = Options(spec=starting_spec(name, rest))
    options = parse_options(Options, rest, f"taildiff train {name}", default, describe(name))
    spec = options.spec
    limits(options)  # wrong ones are told before anything else
    if options.dry_run:
        if options.store:
            _would_fit(spec, options.store)
        print(spec.model_dump_json(indent=1))
        return 0
    if options.out is None:
        raise SpecError("say where the run is to go: --out runs/NAME")
    return train(spec, options, RunDir(options.out), ["taildiff", "train", *args])


def _would_fit(spec: RunSpec, place: Path) -> None:
    """The errors of training that data and settings alone decide; reads no image. What is not there yet is no error."""
    from taildiff.data.longtail import Split

    if not place.exists():
        log.warning(f"{place} does not exist; whether these settings fit it was not checked")
        return
    data = open_data(place)
    check_data(spec, data.facts)
    Split.cut(data, spec.data)


def describe(name: str) -> str:
    """What --help begins with."""
    text = "Train a recipe, or go on where it stopped."
    if name in FOR_DATA:
        text += (
            f" {name} takes its values from the data: those shown are for --data STORE, or without it for an example."
        )
    return text


def starting_spec(name: str, args: list[str]) -> RunSpec:
    """The recipe before its options: by name, made for the data, or read from a file, with the method asked for."""
    method = last_value(args, "--method")
    if name.endswith(".json"):
        spec = parse(RunSpec, read_json(Path(name)), name)
        return spec if method is None else with_method(spec, method)
    if name not in FOR_DATA:
        return recipe(name, method=method)
    if place := last_value(args, "--data"):
        return recipe(name, open_data(Path(place)).facts, method)
    return recipe(name, EXAMPLE if {"-h", "--help"} & set(args) else None, method)


def last_value(args: list[str], flag: str) -> str | None:
    """What `--flag VALUE` or `--flag=VALUE` gives, the last time."""
    found = None
    for before, arg in itertools.pairwise(["", *args]):
        if before == flag:
            found = arg
        elif arg.startswith(f"{flag}="):
            found = arg.removeprefix(f"{flag}=")
    return found


def limits(options: Options) -> tuple[int | None, float | None]:
    """The step and the seconds to stop after, where they were given."""
    if options.stop_at is not None and options.stop_at < 1:
        raise SpecError(f"--stop-at {options.stop_at}: the first step is 1")
    return options.stop_at, None if options.max_time is None else duration(options.max_time)


def train(spec: RunSpec, options: Options, run: RunDir, command: list[str]) -> int:
    """Open everything, train, and say what came of it."""
    store = open_data(options.store) if options.store else default_store(spec, run)
    check_data(spec, store.facts)
    if spec.recipe.startswith("auto"):
        show_choices(spec, store)
    from taildiff.training.request import StopRule
    from taildiff.training.session import run_training

    with progress_bar() as progress:
        stop = StopRule(*limits(options))
        outcome = run_training(run, spec, store, stop, options.start_from, command, progress)
    if not outcome.is_rank_zero:
        return 0
    place = escape(str(run.root))
    if outcome.reason == "finished":
        console.print(f"[green]trained[/] {place} to step {outcome.step}", highlight=False)
        next_steps(
            command_line("sample", run.root, "--per-class", 8, "--guidance", 1.5, "--out", run.root / "drawn"),
            command_line("evaluate", run.root),
            command_line("report", run.root),
        )
        return 0
    console.print(
        f"[yellow]stopped[/] {place} after step {outcome.step} of {spec.steps} ({outcome.reason}), saved",
        soft_wrap=True,
    )
    again = shlex.join(command)
    next_steps(f"{again}   # goes on" if outcome.reason == "signal" else f"{again}   # with another limit goes on")
    return 128 + outcome.signal if outcome.signal else 0


def duration(text: str) -> float:
    """Seconds of `90`, `90s`, `45m`, `1h30m`."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    if not match or not any(match.groups()):
        raise SpecError(f"--max-time {text!r} is not a time such as 90s, 45m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def show_choices(spec: RunSpec, store: Store | LatentStore) -> None:
    """What an auto recipe took from the data."""
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
            shape = f"U-Net, channels {channels}, {blocks} block(s) a level, attention at {attention}"
        case SiTSpec(depth=depth, width=width, patch=patch):
            shape = f"SiT, {depth} blocks of width {width}, patch {patch}"
    console.print(
        f"  model      {shape}\n"
        f"  steps      {spec.steps} with {spec.batch_size} images each, learning rate {spec.optimizer.lr:g}\n"
        f"  order      {'epochs' if spec.data.resample is None else f'class resampling f = {spec.data.resample:g}'}, "
        f"mirror images {'yes' if spec.data.flip else 'no'}\n"
        f"  objective  {terms(spec.objective)}\n"
        f"  (each is an option: taildiff train {spec.recipe} --data STORE --help)",
        highlight=False,
    )


def terms(spec: ObjectiveSpec) -> str:
    """What is added to denoising, in words."""
    weights = {
        "UCL": spec.ucl.weight,
        "AL": spec.al.weight,
        "CBDM": spec.cbdm.weight,
        "Dispersive": spec.dispersive.weight,
        "DiffROP": spec.diffrop.weight,
        "CORAL": spec.coral.weight,
    }
    words = [f"{name} {weight:g}" for name, weight in weights.items() if weight]
    words += [f"targets {spec.transfer.mode}"] if spec.transfer.mode != "none" else []
    return ", ".join(words) or "denoising alone"
