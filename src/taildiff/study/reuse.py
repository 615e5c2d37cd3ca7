"""Cells of earlier studies, so that one more method, or another question, does not train again what was trained before.

A cell is taken if its run has the same settings, data and training seed, and has the weights that the study compares or
can be continued to them: under a constant learning rate, a longer run is the same run. It is copied with its
evaluations. Where both studies have the same budget, the steps of methods that both have are taken as well, and only
those of the others are measured, in turns with the first method, and put on the scale of its earlier time. Imports no
torch.
"""

import shutil
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from taildiff.data.latents import LatentStore
from taildiff.data.store import Store
from taildiff.errors import InputError, RunError
from taildiff.io.atomic import write_json
from taildiff.io.lock import BusyError, check_free, locked
from taildiff.io.staging import lock_of, partial, replace
from taildiff.log import log
from taildiff.run.info import MAY_CHANGE, RunInfo, changed
from taildiff.run.layout import RunDir
from taildiff.spec import RunSpec
from taildiff.study.budget import ArmCost, Known, Plan, read_plan
from taildiff.study.cells import Arm, Cell, Stores, StudyDir, arms_of, cells_of, data_hash
from taildiff.study.choose import Progressed
from taildiff.study.file import Study


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
        at_time = wanted.steps is None or wanted.equal != ("steps",)
        if (mine.seconds, mine.steps) != (wanted.seconds, wanted.steps) or (at_time and "time" not in mine.equal):
            return {}
        found: dict[str, tuple[str, ArmCost]] = {}
        for dataset in study.spec.datasets:
            arms = [arm for arm in arms_of(study) if arm.dataset == dataset]
            known = {arm.key: keys for arm in arms if (keys := self._keys_of(arm, stores[dataset.name]))}
            leading = [key for key in known.get(arms[0].key, ()) if key == self._first_of(key)]
            if leading:
                theirs = {key: key if key in keys else keys[0] for key, keys in known.items()}
                theirs[arms[0].key] = leading[0]
                found |= {key: (own, self.plan.arms[own]) for key, own in theirs.items()}
        return found

    def _keys_of(self, arm: Arm, store: Store | LatentStore) -> list[str]:
        """Its own names of an arm, whatever the seeds: several where it has one method under two names."""
        wanted = arm.spec(store)
        return [key for key, _, info in self.runs if key in self.plan.arms and _same(info, wanted, store, "seed")]

    def _first_of(self, key: str) -> str:
        """Its first arm on the same dataset, which the steps of the others are relative to."""
        return next(arm.key for arm in arms_of(self.study) if arm.dataset.name == key.split("/")[0])


def _same(info: RunInfo, wanted: RunSpec, store: Store | LatentStore, *free: str) -> bool:
    """Whether a run was trained as wanted; one with a term or list of the user's, which may have changed, was not."""
    data = info.latents.hash if info.latents else info.store.hash
    own = info.custom_sha256 or info.start_from or info.spec.data.tail == "list"
    same = data == data_hash(store) and info.spec.processes == wanted.processes
    return same and not own and not changed(info.spec, wanted, (*MAY_CHANGE, "steps", *free))


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
    machine: Mapping[str, Any] = {}
    for each in earlier:
        known = {key.split("/")[0] for key in costs}
        for key, (theirs, cost) in each.costs(study, stores).items():
            if key.split("/")[0] not in known:
                costs[key], origins[key] = cost, f"{theirs} of {each.study.short_hash}"
                machine = machine or each.plan.machine
    return Known(costs, origins, machine)


@dataclass(frozen=True)
class Found:
    """A cell and the run that it can be."""

    cell: Cell
    run: RunDir
    study: str
    """The hash of the run's study."""
    wanted: frozenset[int]
    """The steps of the weights that the cell compares."""

    @property
    def reaches(self) -> bool:
        """Whether the run has the weights of these steps, or can be continued to them."""
        newest, kept = max(self.run.checkpoint_steps(), default=0), {*self.run.weight_steps()}
        return all(step in kept or 0 < newest <= step for step in self.wanted)

    @property
    def nearness(self) -> tuple[int, int]:
        """Larger for the run that needs less."""
        return len(self.wanted & {*self.run.weight_steps()}), max(self.run.checkpoint_steps(), default=0)


def takeable(progressed: Progressed, stores: Stores, earlier: Sequence[Earlier]) -> list[Found]:
    """The cells without a run that need not be trained from the beginning; logs which weights others lack."""
    found: list[Found] = []
    lacking = Counter[int]()
    for cell in cells_of(progressed.study, progressed.folder):
        if cell.root.exists():
            continue
        wanted = frozenset(progressed.step(cell, at) for at in progressed.ats(cell))
        store = stores[cell.arm.dataset.name]
        runs = [
            Found(cell, run, each.study.hash, wanted)
            for each in earlier
            for run in each.runs_of(cell, store)
            if _free(run)
        ]
        usable = [each for each in runs if each.reaches]
        if usable:
            found.append(max(usable, key=lambda each: each.nearness))
        elif runs:
            lacking.update(wanted - {*runs[0].run.weight_steps()})
    for step, count in lacking.items():
        log.warning(f"{count} cells are trained again: what was kept of them has no weights of step {step}")
    return found


def _free(run: RunDir) -> bool:
    """Whether no process works on a run."""
    try:
        check_free(lock_of(run.root), BusyError)
    except BusyError as holder:
        log.info(f"{run.root} is not copied: {holder} works on it")
        return False
    return True


def take(found: Sequence[Found]) -> None:
    """Copy the runs into the study, each under its lock and the cell's; other processes may do the same."""
    for each in found:
        with suppress(BusyError), ExitStack() as held:
            held.enter_context(locked(lock_of(each.cell.root), BusyError))
            with suppress(OSError):  # where the earlier study cannot be written, nobody trains it either
                held.enter_context(locked(lock_of(each.run.root), BusyError))
            if not each.cell.root.exists() and each.reaches:
                _copy(each)


def _copy(found: Found) -> None:
    cell, half = found.cell, partial(found.cell.root)
    _make_writable(half)
    shutil.rmtree(half, ignore_errors=True)
    try:
        shutil.copytree(found.run.root, half, ignore=shutil.ignore_patterns(".*"), copy_function=shutil.copyfile)
    except shutil.Error as error:
        raise RunError(
            f"{found.run.root} cannot be copied: {error.args[0][0][2]}. Mend that, and rerun the command"
        ) from None
    _make_writable(half)
    write_json(cell.origin, {"study": found.study, "run": str(found.run.root.absolute())})
    replace(half, cell.root)
    log.info(f"{cell.name} is copied from {found.run.root}")


def _make_writable(folder: Path) -> None:
    """Folders of an archive may not be."""
    for place in (folder, *folder.rglob("*")):
        if place.is_dir():
            place.chmod(place.stat().st_mode | stat.S_IRWXU)
