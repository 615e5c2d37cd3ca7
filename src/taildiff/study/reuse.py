"""Cells of earlier studies, so that one more method, or another question, does not train again what was trained before.

A cell is taken if its run has the same settings, data and training seed, and has the weights that the study compares or
can be continued to them: under a constant learning rate, a longer run is the same run. It is copied with its
evaluations. Where both studies have the same budget, the steps of methods that both have are taken as well, and only
those of the others are measured, in turns with the first method. Imports no torch.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from taildiff.data.latents import LatentStore
from taildiff.data.store import Store
from taildiff.errors import InputError
from taildiff.io.lock import BusyError, check_free, locked
from taildiff.io.staging import lock_of, partial, replace
from taildiff.log import log
from taildiff.run.info import MAY_CHANGE, RunInfo, changed
from taildiff.run.layout import RunDir
from taildiff.spec import RunSpec
from taildiff.study.budget import ArmCost, Known, Plan, read_plan
from taildiff.study.cells import Arm, Cell, StudyDir, arms_of, cells_of, data_hash
from taildiff.study.choose import Progressed
from taildiff.study.file import Study

Stores = Mapping[str, Store | LatentStore]


@dataclass(frozen=True)
class Earlier:
    """A study that has run, at least in part."""

    folder: StudyDir
    study: Study
    plan: Plan
    runs: tuple[tuple[str, RunDir, RunInfo], ...]
    """The runs of its cells with their arms' names in steps.json."""

    @classmethod
    def read(cls, root: Path) -> Self:
        """`InputError` for a folder without a study that was started."""
        folder = StudyDir(root)
        plan = read_plan(folder) if folder.file.is_file() else None
        if plan is None:
            raise InputError(f"--reuse {root}: no study has run there, as it has no study.toml or steps.json")
        places = sorted(folder.cells.glob("*/*/seed*/run.json"))
        found = [(f"{place.parts[-4]}/{place.parts[-3]}", RunDir(place.parent)) for place in places]
        return cls(folder, Study.read(folder.file), plan, tuple((key, run, run.info()) for key, run in found))

    def runs_of(self, cell: Cell, store: Store | LatentStore) -> Iterator[RunDir]:
        """The runs that a cell could be."""
        wanted = cell.spec(store, 1)
        yield from (run for _, run, info in self.runs if _same(info, wanted, store))

    def costs(self, study: Study, stores: Stores) -> dict[str, tuple[str, ArmCost]]:
        """What it knows of the step times of a study's arms, with its own names of them.

        None where the budget is another one, and of a dataset whose first arm it does not know as the first one.
        """
        mine, wanted = self.study.spec.budget, study.spec.budget
        if (mine.seconds, mine.steps) != (wanted.seconds, wanted.steps) or "time" in {*wanted.equal} - {*mine.equal}:
            return {}
        found: dict[str, tuple[str, ArmCost]] = {}
        for dataset in study.spec.datasets:
            arms = [arm for arm in arms_of(study) if arm.dataset == dataset]
            known = {arm.key: keys[0] for arm in arms if (keys := self._keys_of(arm, stores[dataset.name]))}
            if known.get(arms[0].key) in {self._first_of(key) for key in known.values()}:
                found |= {key: (theirs, self.plan.arms[theirs]) for key, theirs in known.items()}
        return found

    def _keys_of(self, arm: Arm, store: Store | LatentStore) -> list[str]:
        """Its own names of an arm, whatever the seeds."""
        wanted = arm.spec(store)
        return [key for key, _, info in self.runs if key in self.plan.arms and _same(info, wanted, store, "seed")]

    def _first_of(self, key: str) -> str:
        """Its first arm on the same dataset, which the steps of the others are relative to."""
        return next(arm.key for arm in arms_of(self.study) if arm.dataset.name == key.split("/")[0])


def _same(info: RunInfo, wanted: RunSpec, store: Store | LatentStore, *free: str) -> bool:
    """Whether a run was trained as wanted; one with a user's own term, which may have changed, was not."""
    data = info.latents.hash if info.latents else info.store.hash
    own_term = info.custom_sha256 is not None
    return data == data_hash(store) and not own_term and not changed(info.spec, wanted, (*MAY_CHANGE, "steps", *free))


def read_earlier(roots: Sequence[Path], study: Study, folder: StudyDir, stores: Stores) -> list[Earlier]:
    """The studies in these folders; `InputError` for one of which nothing can be taken."""
    earlier = [Earlier.read(root) for root in roots]
    cells = cells_of(study, folder)
    for each in earlier:
        if not any(next(each.runs_of(cell, stores[cell.arm.dataset.name]), None) for cell in cells):
            raise InputError(
                f"--reuse {each.folder.root}: none of its cells has settings, data and seed of a cell of {study.path}; "
                "leave it out"
            )
    return earlier


def known_costs(study: Study, stores: Stores, earlier: Sequence[Earlier]) -> Known:
    """Costs of arms by name, each dataset's from the first study that knows it, and where each is from."""
    costs: dict[str, ArmCost] = {}
    origins: dict[str, str] = {}
    for each in earlier:
        known = {key.split("/")[0] for key in costs}
        for key, (theirs, cost) in each.costs(study, stores).items():
            if key.split("/")[0] not in known:
                costs[key], origins[key] = cost, f"{theirs} of {each.study.short_hash}"
    return Known(costs, origins)


@dataclass(frozen=True)
class Taken:
    """A cell and the run that it can be."""

    cell: Cell
    run: RunDir


def takeable(progressed: Progressed, stores: Stores, earlier: Sequence[Earlier]) -> list[Taken]:
    """The cells without a run that need not be trained from the beginning."""
    found: list[Taken] = []
    for cell in cells_of(progressed.study, progressed.folder):
        wanted = {progressed.step(cell, at) for at in progressed.ats(cell)}
        runs = (run for each in earlier for run in each.runs_of(cell, stores[cell.arm.dataset.name]))
        usable = [run for run in runs if _reaches(run, wanted)]
        if usable and not cell.root.exists():
            found.append(Taken(cell, usable[0]))
    return found


def _reaches(run: RunDir, wanted: set[int]) -> bool:
    """Whether a run has the weights of these steps, or can be continued to them; none on which a process works."""
    try:
        check_free(lock_of(run.root), BusyError)
    except BusyError as holder:
        log.info(f"{run.root} is not taken: {holder} works on it")
        return False
    newest, kept = max(run.checkpoint_steps(), default=0), {*run.weight_steps()}
    return bool(newest) and all(step in kept or step >= newest for step in wanted)


def take(found: Sequence[Taken]) -> None:
    """Copy the runs into the study; other processes that share it may do the same."""
    for cell, run in ((each.cell, each.run) for each in found):
        with suppress(BusyError), locked(lock_of(cell.root), BusyError):
            if cell.root.exists():
                continue
            half = partial(cell.root)
            shutil.rmtree(half, ignore_errors=True)
            shutil.copytree(run.root, half, ignore=shutil.ignore_patterns(".*"))
            replace(half, cell.root)
            log.info(f"{cell.name} is taken from {run.root}")
