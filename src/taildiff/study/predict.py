"""How long a study will take, before it starts and at any time after. Imports no torch.

Training: the steps left of each cell at its measured step time. Sampling: images x network calls x a third of a
training step per image and pass, as the backward pass takes about twice the forward one; guidance takes two passes.
Computing metrics comes on top.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taildiff.data.latents import LatentStore
from taildiff.data.store import Store
from taildiff.spec import EvalSpec
from taildiff.study.budget import Plan
from taildiff.study.cells import Cell, cells_of
from taildiff.study.choose import Progressed
from taildiff.study.file import Study


@dataclass(frozen=True)
class Prediction:
    """Of one process; n processes on as many cores take an n-th of it."""

    cells: int
    """Cells that are not complete."""
    training_hours: float
    sampling_hours: float | None
    """None where no step time is known."""

    @property
    def text(self) -> str:
        """A sentence."""
        if not self.cells:
            return "nothing is left to do"
        sampling = (
            "sampling and metrics on top"
            if self.sampling_hours is None
            else f"+ {self.sampling_hours:.1f} h sampling; metrics on top"
        )
        return f"{self.cells} cells left: {self.training_hours:.1f} h training {sampling} (one process)"


def predict(progressed: Progressed, stores: Mapping[str, Store | LatentStore]) -> Prediction:
    """What is left of a study."""
    choices = progressed.choices()
    cells = [cell for cell in cells_of(progressed.study, progressed.folder) if not cell.failed]
    left = [(cell, missing) for cell in cells if (missing := progressed.missing(cell, choices))]
    training = sampling = 0.0
    for cell, missing in left:
        cost = progressed.plan.arms[cell.arm.key]
        done = max(cell.run.checkpoint_steps(), default=0)
        training += max(0, cost.last - done) * cost.milliseconds / 1000
        classes = _classes(cell, cells, stores)
        searches = sum(each.kind == "search" for each in missing)
        of_search, of_report = evaluation_passes(progressed.study.spec.evaluation, classes)
        passes = searches * of_search + len(progressed.ats(cell)) * of_report / len(cell.arm.method.settings)
        sampling += passes * _forward(progressed.plan, cell) / 3
    return Prediction(len(left), training / 3600, sampling / 3600)


def _forward(plan: Plan, cell: Cell) -> float:
    """Seconds of a training step per image on this dataset, of the cheapest arm, which is that of one view."""
    costs = [cost for key, cost in plan.arms.items() if key.startswith(f"{cell.arm.dataset.name}/")]
    return min(cost.milliseconds / 1000 / cost.images for cost in costs)


def _classes(cell: Cell, cells: Sequence[Cell], stores: Mapping[str, Store | LatentStore]) -> int:
    """Of the dataset; of its runs where the data are elsewhere, and 0 without any."""
    if store := stores.get(cell.arm.dataset.name):
        return store.facts.classes
    runs = (each.run for each in cells if each.arm.dataset == cell.arm.dataset)
    return next((run.info().facts.classes for run in runs if run.exists()), 0)


def before(study: Study) -> Prediction:
    """From the budget alone, where the data are not there yet."""
    cells = len(study.spec.datasets) * len(study.spec.seeds.training) * sum(len(m.settings) for m in study.spec.methods)
    return Prediction(cells, cells * (study.spec.budget.seconds or 0.0) / 3600, None)


def evaluation_passes(spec: EvalSpec, classes: int) -> tuple[float, float]:
    """Images times network passes of the evaluation that chooses, and of the reported one."""
    calls = spec.sampling.steps * (2 if spec.sampling.sampler == "heun" else 1)
    images = spec.per_class * classes
    return images * calls * sum(1 if g == 1 else 2 for g in spec.guidance), images * calls * 2
