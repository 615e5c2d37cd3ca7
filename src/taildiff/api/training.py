"""`taildiff.train` and the run that it returns."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from taildiff.api.fields import RunFields
from taildiff.api.progress import reporting
from taildiff.data.latents import LatentStore, open_data
from taildiff.data.locate import default_store
from taildiff.data.store import Store
from taildiff.distributed import is_rank_zero
from taildiff.errors import SpecError
from taildiff.io.json_files import read_json
from taildiff.io.paths import check_folder, output_folder, text_path
from taildiff.log import Progress
from taildiff.memory import physical_memory
from taildiff.recipes import FOR_DATA, check_data, with_method
from taildiff.recipes import recipe as named_recipe
from taildiff.run.info import RunInfo
from taildiff.run.layout import RunDir
from taildiff.run.metrics import logged_lines
from taildiff.spec import DataFacts, RunSpec, Spec, parse

if TYPE_CHECKING:
    from taildiff.api.model import Model
    from taildiff.trackers.base import ExperimentTracker, Trackers
    from taildiff.training.request import Outcome

AnyPath = str | os.PathLike[str]
"""A path; a `Run` is one, too."""
Data = AnyPath | Store | LatentStore


@dataclass(frozen=True)
class Run:
    """A handle on a run's folder; usable wherever a path to a run is."""

    path: Path
    outcome: "Outcome | None" = field(default=None, repr=False, compare=False)
    """How the call of `train` that returned this handle ended."""

    def __post_init__(self):
        object.__setattr__(self, "path", Path(self.path))

    def __fspath__(self) -> str:
        """The run's folder."""
        return str(self.path)

    @property
    def info(self) -> RunInfo:
        """What run.json holds: spec, data, versions, hardware; `RunError` when there is no run."""
        return RunDir(self.path).info()

    @property
    def steps(self) -> list[int]:
        """Steps that have weights to sample from, ascending."""
        return RunDir(self.path).weight_steps()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl: step, images, seconds, loss and its terms; none before the first one."""
        return list(logged_lines(RunDir(self.path).metrics))

    def load(self, weights: Literal["ema", "raw"] = "ema") -> "Model":
        """The newest weights, ready to sample from; `taildiff.load` has more options."""
        from taildiff.api.sampling import load

        return load(self, weights)

    def log(self, to: "str | ExperimentTracker" = "tensorboard") -> int:
        """Send metrics and sample grids to a tracker as one curve, and return the number of lines sent.

        Args:
            to: `tensorboard` (event files in the run's folder `tensorboard/`), `wandb`, or a tracker of your own:
                `taildiff.trackers.base.ExperimentTracker`.

        Raises:
            InputError: a `ValueError`, where the tracker's library is missing, or it fails.
        """
        from taildiff.trackers.base import tracker
        from taildiff.trackers.feed import replay

        run = RunDir(self.path)
        run.info()  # refuses what is no run
        return replay(run, tracker(to))


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP stopped training after everything was saved; the same call of `train` resumes."""

    def __init__(self, run: Run, outcome: "Outcome"):
        super().__init__(f"training of {run.path} was stopped after step {outcome.step} and saved")
        self.run, self.outcome = run, outcome


def train(
    recipe: str | Path | RunSpec,
    *,
    out: AnyPath,
    data: Data | None = None,
    method: str | None = None,
    changes: Mapping[str, Any] | None = None,
    stop_at: int | None = None,
    max_time: float | None = None,
    start_from: AnyPath | None = None,
    device: str | None = None,
    log: "Trackers" = (),
    dry_run: bool = False,
    progress: bool | Progress = False,
    command: Sequence[str] = (),
    **fields: Unpack[RunFields],
) -> Run:
    """Train a recipe into the folder `out`, or resume the run there.

    Args:
        recipe: a name (`taildiff recipes` lists them), a .json file with a spec, or a `RunSpec`.
        out: the run's folder.
        data: a store, latents, or the path of either; the mnist5k recipes and existing runs need none.
        method: the objective of this method, with its weights for this network.
        changes: other fields of the spec, nested or dotted: `{"objective.ucl.weight": 0.2, "data": {"tail": "exp"}}`.
        stop_at: stop after this step; the same call without it resumes.
        max_time: stop after this many seconds; the same call resumes.
        start_from: begin with these weights: a run (its newest), an export, a model of diffusers, a file of parameters
            (SiT, DiT, REPA, DeltaFM), or OWNER/NAME on the Hugging Face Hub. Rows of the label table are carried over
            by class name where names are known; new classes are logged.
        device: `cpu`, `cuda` or `mps`, which may be another one when a run is resumed; default: `cuda` where there is
            one, else `cpu`.
        log: also send metrics and sample grids to `tensorboard`, `wandb`, or trackers of your own
            (`taildiff.trackers.base.ExperimentTracker`); one or several.
        dry_run: raise what would be refused, and train and write nothing.
        progress: True draws a progress bar, a callback gets (stage, done, total).
        command: recorded in run.json.
        **fields: top-level fields of `RunSpec`: steps, seed, batch_size, devices, …

    Raises:
        Interrupted: after Ctrl-C, SIGTERM or SIGHUP, once everything is saved.
        TaildiffError: for a field, recipe, data or run that does not fit, or a loss that is not finite.
    """
    from taildiff.trackers.base import trackers

    followers = trackers(log) if is_rank_zero() else ()
    place = output_folder(out)
    store = open_data(text_path(data, "--data")) if isinstance(data, str | os.PathLike) else data
    spec = starting_spec(recipe, store.facts if store else None, method)
    spec = with_changes(spec, {**(changes or {}), **fields})
    store, run = data_of(spec, store, place), RunDir(place)
    _check_memory(spec, store.facts)
    from taildiff.training.initialise import adopted
    from taildiff.training.request import StopRule
    from taildiff.training.session import check_training, run_training  # torch

    stop, weights = StopRule(stop_at, max_time), None if start_from is None else text_path(start_from, "--from")
    spec = adopted(spec, run, weights)
    if dry_run:
        check_folder(place, in_place=True)
        check_training(run, spec, store, weights, device)
        return Run(run.root)
    with reporting(progress) as report:
        outcome = run_training(run, spec, store, stop, weights, list(command), report, device, followers)
    if outcome.signal:
        raise Interrupted(Run(run.root, outcome), outcome)
    return Run(run.root, outcome)


def _check_memory(spec: RunSpec, facts: DataFacts) -> None:
    """`SpecError` for a batch or a network that this machine's memory cannot hold even once."""
    batch, network = spec.batch_size // spec.processes * math.prod(facts.shape), spec.model.fewest_parameters
    for what, numbers, smaller in (
        (f"a batch of {spec.batch_size:,} images", batch, "--batch-size"),
        ("this network", network, "--model"),
    ):
        if 0 < (have := physical_memory()) < 4 * numbers:
            raise SpecError(
                f"{what} takes at least {4 * numbers / 1e9:,.1f} GB, and this machine has {have / 1e9:,.1f} GB of "
                f"memory; use a smaller {smaller}"
            )


def data_of(spec: RunSpec, data: Data | None, out: AnyPath) -> Store | LatentStore:
    """The data to train on: those given, those of the run at `out`, or the embedded digits; `DataError` for misfits."""
    if data is None:
        data = default_store(spec, RunDir(Path(out)))
    store = data if isinstance(data, Store | LatentStore) else open_data(Path(data))
    check_data(spec, store.facts)
    return store


def starting_spec(recipe: str | Path | RunSpec, facts: DataFacts | None = None, method: str | None = None) -> RunSpec:
    """The spec of a recipe by name, from a .json file, or as given; `facts` are for the auto recipes."""
    if isinstance(recipe, str) and not recipe.endswith(".json"):
        return named_recipe(recipe, facts if recipe in FOR_DATA else None, method)
    spec = recipe if isinstance(recipe, RunSpec) else parse(RunSpec, read_json(Path(recipe)), str(recipe))
    return spec if method is None else with_method(spec, method)


def with_changes(spec: RunSpec, changes: Mapping[str, Any]) -> RunSpec:
    """The spec with other values of some fields, by dotted name or nested; `SpecError` for one that does not exist."""
    return parse(RunSpec, _merged(spec.model_dump(), changes)) if changes else spec


def _merged(values: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(values) if isinstance(values, Mapping) else {}
    for name, value in changes.items():
        name, _, rest = name.partition(".")
        value = {rest: value} if rest else value
        if isinstance(value, Spec):
            values[name] = value
        elif isinstance(value, Mapping):
            values[name] = _merged(_same_kind(values.get(name), value), value)
        else:
            values[name] = value
    return values


def _same_kind(values: Any, changes: Mapping[str, Any]) -> Any:
    """The fields to keep: none where the changes choose another member of a union, such as another network."""
    kept = isinstance(values, Mapping) and changes.get("kind", values.get("kind")) == values.get("kind")
    return values if kept else {}
