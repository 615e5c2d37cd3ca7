"""The cells of a study: one run per dataset, method, setting and training seed, and where its files are.

    FOLDER/study.toml, study.json      the file as it was hashed; hash, machine, data
    FOLDER/steps.json                  step times, and the steps that they allow (`budget.py`)
    FOLDER/cells/DATASET/METHOD[@K]/seedN/            the run of a cell, with its evaluations
    FOLDER/cells/DATASET/METHOD[@K]/seedN.failed.json  why a cell has no numbers
    FOLDER/cells/DATASET/METHOD[@K]/seedN.reused.json  the study that a cell was copied from (`reuse.py`)
    FOLDER/report.html, cells.csv, …   written by `taildiff study report`

Imports no torch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from taildiff.api.training import data_of, starting_spec, with_changes
from taildiff.comparison.compare import differing
from taildiff.data.latents import LatentStore, open_data
from taildiff.data.store import Store
from taildiff.errors import InputError, RunError, SpecError, first_few
from taildiff.evaluation.table import Table
from taildiff.io.json_files import read_json
from taildiff.recipes import FOR_DATA
from taildiff.run.layout import EvalDir, RunDir
from taildiff.spec import EvalSpec, IntervalSpec, RunSpec
from taildiff.study.file import Changes, DatasetSpec, MethodSpec, Study

Stores = Mapping[str, Store | LatentStore]
"""The data by dataset."""


@dataclass(frozen=True)
class StudyDir:
    """The folder of a study; no method creates anything."""

    root: Path

    @property
    def record(self) -> Path:
        """study.json."""
        return self.root / "study.json"

    @property
    def file(self) -> Path:
        """study.toml."""
        return self.root / "study.toml"

    @property
    def steps(self) -> Path:
        """steps.json."""
        return self.root / "steps.json"

    @property
    def cells(self) -> Path:
        """The runs."""
        return self.root / "cells"


@dataclass(frozen=True)
class Arm:
    """One setting of a method on one dataset."""

    dataset: DatasetSpec
    method: MethodSpec
    setting: int
    """Its place among the method's settings."""

    @property
    def name(self) -> str:
        """The method's name, with the number of the setting where there are several."""
        return self.method.name if len(self.method.settings) == 1 else f"{self.method.name}@{self.setting + 1}"

    @property
    def key(self) -> str:
        """Its name in steps.json."""
        return f"{self.dataset.name}/{self.name}"

    def spec(self, store: Store | LatentStore | None) -> RunSpec:
        """The run without seed and steps, under a constant learning rate; `SpecError` names dataset and setting."""
        try:
            spec = with_changes(starting_spec(self.dataset.recipe, store and store.facts), given(self.dataset.changes))
            spec = starting_spec(spec, method=self.method.base)
            for changes in (self.method.changes, self.method.settings[self.setting]):
                spec = with_changes(spec, given(changes))
        except SpecError as error:
            raise SpecError(f"{self.key}: {error}") from None
        constant = spec.optimizer.model_copy(update={"schedule": "constant"})
        return spec.model_copy(update={"optimizer": constant})


@dataclass(frozen=True)
class Cell:
    """One run."""

    arm: Arm
    place: int
    """Of its seed; runs of equal place are paired."""
    seed: int
    root: Path

    @property
    def run(self) -> RunDir:
        """The run's folder."""
        return RunDir(self.root)

    @property
    def name(self) -> str:
        """Such as `digits/ccua/seed0`."""
        return f"{self.arm.key}/{self.root.name}"

    @property
    def failure(self) -> Path:
        """Says why it failed."""
        return self.root.with_name(f"{self.root.name}.failed.json")

    @property
    def origin(self) -> Path:
        """Names the study that it was copied from."""
        return self.root.with_name(f"{self.root.name}.reused.json")

    @property
    def reused(self) -> str:
        """The short hash of the study that it was copied from; empty if it was not."""
        values = read_json(self.origin) if self.origin.is_file() else None
        return str(values.get("study"))[:10] if isinstance(values, dict) else ""

    @property
    def failed(self) -> str:
        """Why it failed; empty if it did not."""
        if not self.failure.is_file():
            return ""
        values = read_json(self.failure)
        return str(values.get("error")) if isinstance(values, dict) else "unknown"

    def spec(self, store: Store | LatentStore, steps: int) -> RunSpec:
        """Its run; all weights are kept until it is trained, as those at equal steps must not be pruned."""
        every = IntervalSpec(log=max(1, steps // 200), save=max(1, -(-steps // 4)), keep=1_000_000)
        return self.arm.spec(store).model_copy(update={"seed": self.seed, "steps": steps, "every": every})


def given(changes: Changes) -> Changes:
    """The changes with None for "None", which TOML has not."""
    return {
        name: given(value) if isinstance(value, dict) else None if value == "None" else value
        for name, value in changes.items()
    }


def arms_of(study: Study) -> list[Arm]:
    """All arms, dataset by dataset, in the order of the file."""
    return [
        Arm(dataset, method, setting)
        for dataset in study.spec.datasets
        for method in study.spec.methods
        for setting in range(len(method.settings))
    ]


def cells_of(study: Study, folder: StudyDir) -> list[Cell]:
    """All cells, seed by seed, so that there is a whole picture as early as possible."""
    return [cell for place in range(len(study.spec.seeds.training)) for cell in _of_place(study, folder, place)]


def _of_place(study: Study, folder: StudyDir, place: int) -> Iterator[Cell]:
    for arm in arms_of(study):
        seed = (arm.method.seeds or study.spec.seeds.training)[place]
        yield Cell(arm, place, seed, folder.cells / arm.dataset.name / arm.name / f"seed{seed}")


def stores_of(study: Study) -> dict[str, Store | LatentStore]:
    """The data by dataset; `InputError` for data that are missing or do not fit."""
    return {dataset.name: _store_of(study, dataset) for dataset in study.spec.datasets}


def data_hash(store: Store | LatentStore) -> str:
    """Of the images or latents that a run is trained on."""
    return store.info.hash if isinstance(store, LatentStore) else store.meta.hash


def _store_of(study: Study, dataset: DatasetSpec) -> Store | LatentStore:
    try:
        store = open_data(dataset.data) if dataset.data else None
        recipe = starting_spec(dataset.recipe, store and store.facts)
        return data_of(with_changes(recipe, given(dataset.changes)), store, study.folder / "cells")
    except InputError as error:
        raise type(error)(f"{study.path}, dataset {dataset.name}: {error}") from None


def check(study: Study, stores: Mapping[str, Store | LatentStore]) -> None:
    """`InputError` for a setting that is wrong or does not fit its data, before anything runs.

    Without its data, an auto recipe is not checked.
    """
    for arm in arms_of(study):
        store = stores.get(arm.dataset.name)
        if store is not None or arm.dataset.recipe not in FOR_DATA:
            arm.spec(store)


def search_spec(study: Study, spec: RunSpec) -> EvalSpec:
    """The evaluation that guidance and setting are chosen by: sampling seed A, all guidances, no intervals.

    A run that never trained its null label has no guidance but 1.
    """
    guidance = study.spec.evaluation.guidance if spec.objective.trains_null else (1.0,)
    return _evaluation(study, study.spec.seeds.choose, guidance).model_copy(update={"intervals": "none"})


def report_spec(study: Study, guidance: float) -> EvalSpec:
    """The reported evaluation: sampling seed B at the chosen guidance."""
    return _evaluation(study, study.spec.seeds.report, (guidance,))


def _evaluation(study: Study, seed: int, guidance: tuple[float, ...]) -> EvalSpec:
    spec = study.spec.evaluation
    return spec.model_copy(update={"guidance": guidance, "sampling": spec.sampling.model_copy(update={"seed": seed})})


def find(run: RunDir, step: int, spec: EvalSpec) -> Table | None:
    """The finished evaluation of these weights by this definition; None without one."""
    for folder in run.evaluations():
        try:
            table = _read(folder.root, folder.table_json.stat().st_mtime_ns)
        except (OSError, RunError):
            continue
        if table.definition.step == step and table.definition.spec == spec:
            return table
    return None


def check_alike(evaluations: Mapping[str, Table]) -> None:
    """`RunError` where evaluations, by cell, have other features or real images: their numbers are not comparable.

    So it is with the domain classifiers of two machines, which round differently.
    """
    by_method: dict[str, list[str]] = {}
    for name, table in evaluations.items():
        by_method.setdefault(str(table.definition.method), []).append(name)
    if len(by_method) > 1:
        most, *_, fewest = sorted(by_method.values(), key=len, reverse=True)
        differ = differing(evaluations[fewest[0]], evaluations[most[0]])
        what = "; ".join(f"{part}: {mine} and {theirs}" for part, mine, theirs in differ)
        few = first_few(fewest, 5)
        raise RunError(
            f"{few} were evaluated in another way than {first_few(most, 1)} ({what}). Remove the folder evals of {few} "
            "and run the study again"
        )


@lru_cache(maxsize=4096)
def _read(folder: Path, _changed: int) -> Table:
    return Table.read(EvalDir(folder))
