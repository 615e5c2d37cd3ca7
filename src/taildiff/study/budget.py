"""Equal compute: a budget in seconds becomes steps, once, from step times measured in turns on one machine.

With t_m the seconds per step of arm m and T the budget, S_m = round(T / t_first · median over rounds of t_first / t_m),
where t_first is the median of the dataset's first arm. Every cell trains S_m steps under a constant learning rate, so
that its weights after min_m S_m steps are those of a run of that length: one run gives equal time and equal steps. The
result is kept in steps.json beside the runs, and all later calls, on whatever machine, use it.
"""

import math
from collections.abc import Mapping
from statistics import median
from typing import Any, NamedTuple

from pydantic import Field

from taildiff.data.latents import LatentStore
from taildiff.data.store import Store
from taildiff.device import chosen_device
from taildiff.io.atomic import write_json
from taildiff.io.json_files import read_json
from taildiff.io.lock import waiting
from taildiff.log import Progress, silent
from taildiff.spec import Spec, parse
from taildiff.study.cells import StudyDir, arms_of
from taildiff.study.file import At, BudgetSpec, Study


class ArmCost(Spec):
    """What an arm's steps cost, and how many of them it trains."""

    milliseconds: float
    """Median per step."""
    flop: float
    """Operations per step."""
    images: int
    """Images per step."""
    steps: dict[At, int]
    """Of the weights that are compared at equal time and at equal steps, as far as the study compares them."""

    @property
    def last(self) -> int:
        """The steps of the whole run."""
        return max(self.steps.values())


class Plan(Spec):
    """steps.json."""

    hash: str
    """Of the study."""
    machine: dict[str, Any] = Field(default_factory=dict)
    """Where the times were measured."""
    arms: dict[str, ArmCost]
    reused: dict[str, str] = Field(default_factory=dict)
    """Arms whose cost is that of an earlier study, and which (`reuse.py`)."""


class Known(NamedTuple):
    """What an earlier study measured."""

    costs: Mapping[str, ArmCost]
    """By arm."""
    origins: Mapping[str, str]
    """Where they are from."""
    machine: Mapping[str, Any]
    """Where they were measured; empty without any."""


NOTHING = Known({}, {}, {})


def read_plan(folder: StudyDir) -> Plan | None:
    """The plan of a study that was started; None before."""
    return parse(Plan, read_json(folder.steps), str(folder.steps)) if folder.steps.is_file() else None


def plan_of(
    study: Study,
    folder: StudyDir,
    stores: Mapping[str, Store | LatentStore],
    progress: Progress = silent,
    device: str | None = None,
    known: Known = NOTHING,
) -> Plan:
    """The plan beside the study, measured by the first process that needs it as far as it is not known."""
    with waiting(folder.root / ".steps.lock", "is measuring step times"):
        if (plan := read_plan(folder)) is None:
            plan = measure(study, stores, study.spec.budget.rounds, progress, device, known)
            write_json(folder.steps, plan.model_dump(mode="json"))
    return plan


def measure(
    study: Study,
    stores: Mapping[str, Store | LatentStore],
    rounds: int,
    progress: Progress = silent,
    device: str | None = None,
    known: Known = NOTHING,
) -> Plan:
    """Measure what each arm's steps cost, dataset by dataset, but for those that are known."""
    import torch

    from taildiff.training.cost import counted, in_turns
    from taildiff.training.environment import machine

    on = torch.device(chosen_device(device))
    arms: dict[str, ArmCost] = {}
    for dataset in study.spec.datasets:
        store, own = stores[dataset.name], [arm for arm in arms_of(study) if arm.dataset == dataset]
        new = [arm for arm in own if arm.key not in known.costs]
        timed = new if own[0] in new or not new else [own[0], *new]
        times = in_turns({arm.key: arm.spec(store) for arm in timed}, store, rounds, progress, device) if timed else []
        steps = steps_of(study.spec.budget, [arm.key for arm in own], times, known.costs)
        first = own[0].key
        for arm in own:
            if arm not in new:
                arms[arm.key] = known.costs[arm.key].model_copy(update={"steps": steps[arm.key]})
                continue
            spec = arm.spec(store)
            seconds = median(own_times[arm.key] for own_times in times)
            if first in known.costs:  # the machine may be slower or faster now
                ratio = median(own_times[arm.key] / own_times[first] for own_times in times)
                seconds = known.costs[first].milliseconds / 1000 * ratio
            arms[arm.key] = ArmCost(
                milliseconds=round(1000 * seconds, 2),
                flop=float(counted(spec, store.facts, spec.batch_size, on)),
                images=spec.batch_size,
                steps=steps[arm.key],
            )
    where = dict(known.machine) or machine(on)
    return Plan(hash=study.hash, machine=where, arms=arms, reused=dict(known.origins))


def steps_of(
    budget: BudgetSpec, arms: list[str], times: list[dict[str, float]], known: Mapping[str, ArmCost] = NOTHING.costs
) -> dict[str, dict[At, int]]:
    """Steps of each arm at equal time and at equal steps; the first arm leads.

    Those at equal time are the known ones, else from seconds per step by round, which the first arm has too.
    """
    first = arms[0]
    if budget.steps is not None and budget.equal == ("steps",):
        return {arm: {"steps": budget.steps} for arm in arms}
    at_time = {arm: known[arm].steps["time"] for arm in arms if arm in known}
    leading = at_time.get(first) or budget.steps or (budget.seconds or 0.0) / median(own[first] for own in times)
    for arm in (arm for arm in arms if arm not in known):
        ratio = median(own[first] / own[arm] for own in times)
        at_time[arm] = max(1, math.floor(leading * ratio + 0.5))
    at_steps = min(at_time.values())
    every: dict[str, dict[At, int]] = {arm: {"time": at_time[arm], "steps": at_steps} for arm in arms}
    return {arm: {at: steps for at, steps in own.items() if at in budget.equal} for arm, own in every.items()}
