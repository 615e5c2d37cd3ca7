"""The choice of guidance and setting on sampling seed A, and how far each cell is. Imports no torch.

Of a method on a dataset, the setting and the guidance with the best mean over training seeds of one number, by default
the lowest Fréchet distance over all classes. A setting with failed runs is chosen only if all settings have some.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, NamedTuple

from taildiff.errors import RunError
from taildiff.evaluation.table import Table
from taildiff.io.lock import BusyError, locked
from taildiff.io.staging import lock_of
from taildiff.spec import METRICS
from taildiff.study.budget import Plan
from taildiff.study.cells import Cell, StudyDir, arms_of, cells_of, check_alike, find, report_spec, search_spec
from taildiff.study.file import At, SelectionSpec, Study

Swept = Mapping[float, float]
"""The number that decides, by guidance."""
Status = Literal["waiting", "training", "evaluating", "complete", "failed"]


@dataclass(frozen=True)
class Choice:
    """A setting, a guidance, and their mean over training seeds on sampling seed A."""

    setting: int
    guidance: float
    value: float


def best(settings: Sequence[Sequence[Swept | None]], metric: str) -> Choice | None:
    """The best choice, given for each setting the sweep of each seed, None for a failed run; ties go to the first."""
    candidates: list[tuple[int, float, Choice]] = []
    sign = 1 if METRICS[metric].better == "lower" else -1
    for place, seeds in enumerate(settings):
        sweeps = [sweep for sweep in seeds if sweep]
        shared = set.intersection(*map(set, sweeps)) if sweeps else set[float]()
        for guidance in sorted(shared):
            value = fmean(sweep[guidance] for sweep in sweeps)
            candidates.append((len(seeds) - len(sweeps), sign * value, Choice(place, guidance, value)))
    return min(candidates, key=lambda each: each[:2])[2] if candidates else None


def swept(table: Table, selection: SelectionSpec) -> Swept:
    """The number that decides, by guidance; of `class`, the mean over the classes that have it at every guidance."""
    whole = ("", *table.measured_classes(selection.metric))
    values: dict[float, list[float]] = {}
    for row in table.select(selection.metric, selection.group):
        if row.value is not None and row.guidance is not None and row.class_name in whole:
            values.setdefault(row.guidance, []).append(row.value)
    return {guidance: fmean(each) for guidance, each in values.items()}


@dataclass(frozen=True)
class Progressed:
    """The evaluations and failures of a study that exist now."""

    study: Study
    folder: StudyDir
    plan: Plan

    def step(self, cell: Cell, at: At) -> int:
        """The step of the weights of a cell that are compared at equal time or steps."""
        return self.plan.arms[cell.arm.key].steps[at]

    def ats(self, cell: Cell) -> list[At]:
        """What the cell is compared at, in the order in which training gets there."""
        return sorted(self.plan.arms[cell.arm.key].steps, key=lambda at: self.step(cell, at))

    def search(self, cell: Cell, at: At) -> Table | None:
        """The evaluation with sampling seed A."""
        if not cell.run.exists():
            return None
        return find(cell.run, self.step(cell, at), search_spec(self.study, cell.run.info().spec))

    def report(self, cell: Cell, at: At, choice: Choice) -> Table | None:
        """The evaluation with sampling seed B at the chosen guidance."""
        return find(cell.run, self.step(cell, at), report_spec(self.study, choice.guidance))

    def choices(self) -> dict[tuple[str, str, At], Choice]:
        """The choice by dataset, method and at, for methods whose cells are all searched or failed."""
        return self._choices(whole=True)

    def leading(self) -> dict[tuple[str, str, At], Choice]:
        """What would be chosen from the cells searched so far."""
        return self._choices(whole=False)

    def _choices(self, whole: bool) -> dict[tuple[str, str, At], Choice]:
        cells = cells_of(self.study, self.folder)
        found: dict[tuple[str, str, At], Choice] = {}
        for dataset, method in dict.fromkeys((arm.dataset.name, arm.method.name) for arm in arms_of(self.study)):
            own = [cell for cell in cells if (cell.arm.dataset.name, cell.arm.method.name) == (dataset, method)]
            for at in self.ats(own[0]):
                if choice := self._choice(own, at, whole):
                    found[dataset, method, at] = choice
        return found

    def _choice(self, cells: Sequence[Cell], at: At, whole: bool) -> Choice | None:
        settings: list[list[Swept | None]] = [[] for _ in cells[0].arm.method.settings]
        for cell in cells:
            table = self.search(cell, at)
            if table is None and not cell.failed:
                if whole:
                    return None
                continue
            settings[cell.arm.setting].append(table and swept(table, self.study.spec.selection))
        if whole:
            check_alike({cell.name: table for cell in cells if (table := self.search(cell, at))})
        selection = self.study.spec.selection
        chosen = best(settings, selection.metric)
        if whole and chosen is None and any(not cell.failed for cell in cells):
            raise RunError(
                f"{self.study.path}: no evaluation of {cells[0].arm.key} has {selection.metric} ({selection.group}) to "
                "choose by; give another selection, or a larger evaluation.per_class"
            )
        return chosen

    def status(self, cell: Cell, choices: Mapping[tuple[str, str, At], Choice]) -> Status:
        """How far a cell is; `complete` once it has every number that the report wants of it."""
        if cell.failed:
            return "failed"
        if not cell.run.exists():
            return "waiting"
        return "complete" if not self.missing(cell, choices) else "evaluating" if self.trained(cell) else "training"

    def trained(self, cell: Cell) -> bool:
        """Whether the cell has all its weights."""
        return {self.step(cell, at) for at in self.ats(cell)} <= {*cell.run.weight_steps()}

    def missing(self, cell: Cell, choices: Mapping[tuple[str, str, At], Choice]) -> list["Missing"]:
        """The evaluations that a cell lacks; one that is reported only once the choice is made."""
        ats = self.ats(cell)
        if searches := [Missing("search", at) for at in ats if self.search(cell, at) is None]:
            return searches
        found: list[Missing] = []
        for at in ats:
            choice = choices.get((cell.arm.dataset.name, cell.arm.method.name, at))
            if choice is None or (choice.setting == cell.arm.setting and self.report(cell, at, choice) is None):
                found.append(Missing("report", at, choice))
        return found


class Missing(NamedTuple):
    """An evaluation that a cell lacks."""

    kind: Literal["search", "report"]
    at: At
    choice: Choice | None = None
    """Of a reported one; None where other cells have to be searched first."""


def holder(cell: Cell) -> str:
    """The process that works on a cell; empty if none does."""
    lock = lock_of(cell.root)
    if not lock.exists():
        return ""
    try:
        with locked(lock, BusyError):
            return ""
    except BusyError as busy:
        return str(busy)
