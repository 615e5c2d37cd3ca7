"""Every term that compares samples, through the whole objective: two processes with `gather` are one with all of it."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from taildiff import build
from taildiff.data.batches import Batch
from taildiff.diffusion.process import Flow
from taildiff.objectives.objective import Draws, Learner, Streams
from taildiff.spec import (
    ALSpec,
    CORALSpec,
    DataFacts,
    DiffROPSpec,
    DispersiveSpec,
    LabelDropSpec,
    ObjectiveSpec,
    TransferSpec,
    UCLSpec,
    UNetSpec,
)

B, PROCESSES, COUNTS = 8, 2, (40, 10, 3)
AL = ALSpec(weight=0.5)
CASES = {
    "ucl and al": {"ucl": UCLSpec(weight=1), "al": AL},
    "ucl, pooled, of given labels": {"ucl": UCLSpec(weight=1, view="given", pool=True)},
    "ucl, other classes": {"ucl": UCLSpec(weight=1, negatives="other-class", temperature=0.5)},
    "ucl, near in noise": {"ucl": UCLSpec(weight=1, noise_window=0.4, temperature=0.5)},
    "dispersive": {"dispersive": DispersiveSpec(weight=1)},
    "coral": {"coral": CORALSpec(weight=1, head=5)},
    "coral, release": {"coral": CORALSpec(weight=1, head=5, scaling="release")},
    "diffrop": {"diffrop": DiffROPSpec(weight=1, form="permuted")},
    "diffrop, joined": {"diffrop": DiffROPSpec(weight=1, form="permuted", noise_weight="noise"), "al": AL},
    "transfer": {"transfer": TransferSpec(mode="t2h")},
    "transfer by frequency": {"transfer": TransferSpec(power=-0.5)},
}
GATHERED = ("ucl", "dispersive", "coral", "diffrop", "transfer")


def objective_spec(case: str, gather: bool) -> ObjectiveSpec:
    blocks = {
        name: spec.model_copy(update={"gather": gather}) if name in GATHERED else spec
        for name, spec in CASES[case].items()
    }
    return ObjectiveSpec(**blocks, drop=LabelDropSpec(p=0.3))


def numbers(case: str, rows: slice, gather: bool) -> torch.Tensor:
    """The loss and its gradient by every parameter, of these rows of the batch: (1 + parameters,) float64."""
    facts = DataFacts(height=8, width=8, channels=1, class_names=("a", "b", "c"), counts=COUNTS)
    torch.manual_seed(0)
    network = build.denoiser(UNetSpec(channels=(8, 16)), facts)
    objective = build.objective(objective_spec(case, gather), Flow(), COUNTS, network)
    learner = Learner(network, objective).double()
    x = torch.randn(B, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    batch = Batch(x / 8, torch.tensor([0, 0, 1, 2, 0, 1, 0, 2]))  # near enough that others could be the origin
    draws = objective.draw(B, (1, 8, 8), Streams(5, 0))
    draws = Draws(*(t.double() if t.is_floating_point() else t for t in draws)).rows(rows)
    total = learner(Batch(batch.x[rows], batch.y[rows]), draws).total
    gradients = torch.autograd.grad(total, list(learner.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([total.detach().reshape(1), *(g.flatten() for g in gradients)])


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES)
    found = {}
    for case in CASES:
        own = B // PROCESSES
        values = numbers(case, slice(rank * own, (rank + 1) * own), True)
        dist.all_reduce(values)  # and over PROCESSES, as DDP does
        found[case] = values / PROCESSES
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    folder: Path = tmp_path_factory.mktemp("gather")
    mp.spawn(work, (str(folder),), nprocs=PROCESSES)
    return torch.load(folder / "found.pt", weights_only=True)


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_those_of_the_whole_batch(case, found):
    whole = numbers(case, slice(0, B), False)
    torch.testing.assert_close(found[case], whole, rtol=1e-8, atol=1e-10)
    apart = torch.stack([numbers(case, slice(0, 4), False), numbers(case, slice(4, 8), False)]).mean(0)
    assert (apart - whole).abs().max() > 1e-6  # without gathering it is something else
