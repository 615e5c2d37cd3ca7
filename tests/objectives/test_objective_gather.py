"""The objective does not depend on the number of processes: loss and gradient, through the whole objective."""

from functools import cache
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ranks import on_ranks
from taildiff import build
from taildiff.data.batches import Batch
from taildiff.diffusion.process import Flow
from taildiff.objectives.objective import Draws, Learner, Streams
from taildiff.recipes import recipe
from taildiff.recipes.methods import METHODS, with_method
from taildiff.spec import (
    ALSpec,
    CBDMSpec,
    CORALSpec,
    DataFacts,
    DiffROPSpec,
    DispersiveSpec,
    ObjectiveSpec,
    TransferSpec,
    UCLSpec,
    UNetSpec,
)

B, COUNTS = 12, (40, 10, 3)
AL, UCL = ALSpec(weight=0.5), UCLSpec(weight=1, temperature=0.5)
COUPLED = {
    "ucl": {"ucl": UCLSpec(weight=1)},
    "ucl and al": {"ucl": UCL, "al": AL},
    "ucl, pooled, of given labels": {"ucl": UCLSpec(weight=1, view="given", pool=True)},
    "ucl, other classes": {"ucl": UCL.model_copy(update={"negatives": "other-class"})},
    "ucl, near in noise": {"ucl": UCL.model_copy(update={"noise_window": 0.4})},
    "dispersive": {"dispersive": DispersiveSpec(weight=1)},
    "coral": {"coral": CORALSpec(weight=1, head=5)},
    "coral, release": {"coral": CORALSpec(weight=1, head=5, scaling="release")},
    "diffrop": {"diffrop": DiffROPSpec(weight=1, form="permuted")},
    "diffrop, joined": {"diffrop": DiffROPSpec(weight=1, form="permuted", noise_weight="noise"), "al": AL},
    "transfer": {"transfer": TransferSpec(mode="t2h")},
    "transfer by frequency": {"transfer": TransferSpec(power=-0.5)},
}
"""With `gather` as it is by default."""
CHEAP = {
    "al on some rows": {"al": AL, "null_fraction": 0.5},
    "ucl on some rows": {"ucl": UCL, "null_fraction": 0.25},
    "ucl and al on some rows": {"ucl": UCL, "al": AL, "null_fraction": 0.4},  # 5 rows, for an even number of processes
    "each on its own rows": {"ucl": UCL, "al": ALSpec(weight=0.5, noise_weight="clean"), "null_fraction": 0.5},
    "ucl, other classes, on some rows": COUPLED["ucl, other classes"] | {"al": AL, "null_fraction": 0.6},
}
SHARED = {
    "shared rows": {"shared_null": 0.4, "class_power": 0.5},  # 5 rows, for an even number of processes
    "shared rows, ucl and al": {"shared_null": 0.4, "ucl": UCL, "al": AL},
    "shared rows, two weights": {"shared_null": 0.25, "ucl": UCL, "al": ALSpec(weight=0.5, noise_weight="clean")},
    "shared rows, other targets": {"shared_null": 0.5, "ucl": UCL, "transfer": TransferSpec(mode="t2h")},
}
SINGLE = {
    "denoising": {"class_power": 0.5},
    "al": {"al": AL},
    "cbdm": {"cbdm": CBDMSpec(weight=1)},
    "diffrop, pairs": {"diffrop": DiffROPSpec(weight=1)},
}
CASES = COUPLED | CHEAP | SHARED | SINGLE
DROPPED = {
    "unequal": [0, 1, 5],  # three of the first half, none of the second
    "all of one rank": [6, 7, 8, 9, 10, 11],
    "all": list(range(B)),
    "none": [],
}
GATHERED = ("ucl", "dispersive", "coral", "diffrop", "transfer")


@cache
def setup(case: str, gather: bool = True) -> tuple[Learner, Batch, Draws]:
    """Learner, batch and draws of one step, float64."""
    fields = {k: v.model_copy(update={"gather": gather}) if k in GATHERED else v for k, v in CASES[case].items()}
    facts = DataFacts(height=8, width=8, channels=1, class_names=("a", "b", "c"), counts=COUNTS)
    torch.manual_seed(0)
    network = build.denoiser(UNetSpec(channels=(8, 16), zero_init=False), facts)
    objective = build.objective(ObjectiveSpec(**(fields if not gather else CASES[case])), Flow(), COUNTS, network)
    learner = Learner(network, objective).double()
    x = torch.randn(B, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    batch = Batch(x / 8, torch.tensor([0, 0, 1, 2, 0, 1, 0, 2, 2, 0, 0, 1]))  # so near that others could be the origin
    draws = objective.draw(B, (1, 8, 8), Streams(5, 0))
    return learner, batch, Draws(*(t.double() if t.is_floating_point() else t for t in draws))


def numbers(case: str, dropped: str, rows: slice = slice(0, B), gather: bool = True) -> torch.Tensor:
    """The loss and its gradient by every parameter, of these rows of the batch: (1 + parameters,) float64."""
    learner, batch, draws = setup(case, gather)
    draws = draws._replace(dropped=torch.isin(torch.arange(B), torch.tensor(DROPPED[dropped]))).rows(rows)
    total = learner(Batch(batch.x[rows], batch.y[rows]), draws).total
    gradients = torch.autograd.grad(total, list(learner.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([total.detach().reshape(1), *(g.flatten() for g in gradients)])


alone = cache(numbers)
"""Of one process, for all rows."""


def share(rank: int, processes: int) -> slice:
    return slice(rank * B // processes, (rank + 1) * B // processes)


def on_processes(processes: int, case: str, dropped: str, gather: bool = True) -> torch.Tensor:
    """The same of several processes; gradients are averaged, as DDP does."""
    setup(case, gather)  # seeds torch's generator, which the threads share
    return torch.stack(on_ranks(processes, lambda r: numbers(case, dropped, share(r, processes), gather))).mean(0)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dropped", "processes"), [*((d, 2) for d in DROPPED), ("unequal", 4)])
def test_loss_and_gradient_are_those_of_one_process(case, dropped, processes):
    whole = alone(case, dropped)
    assert whole[1:].abs().max() > 1e-4
    torch.testing.assert_close(on_processes(processes, case, dropped), whole, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("case", COUPLED)
def test_local_references_are_another_loss(case):
    whole = alone(case, "unequal")
    assert (on_processes(2, case, "unequal", gather=False) - whole).abs().max() > 1e-6
    torch.testing.assert_close(numbers(case, "unequal", gather=False), whole, rtol=0, atol=0)


def test_cheap_rows_are_drawn_locally_without_gather():
    """On each process from its own rows, as the negatives are."""
    case = "ucl and al on some rows"
    assert (on_processes(2, case, "unequal", gather=False) - alone(case, "unequal")).abs().max() > 1e-6
    apart = torch.stack([numbers(case, "unequal", share(r, 2), gather=False) for r in range(2)]).mean(0)
    torch.testing.assert_close(on_processes(2, case, "unequal", gather=False), apart, rtol=1e-12, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_no_recipe_or_method_compares_only_the_samples_of_one_process(method):
    spec = with_method(recipe("mnist5k-plain"), method).model_copy(update={"devices": 2})
    assert spec.local == ()
    assert all(recipe(name).local == () for name in ("mnist5k-ccua", "cifar10lt-ccua", "imagenetlt256-sit-s2"))


# ---- two real processes

REAL = {
    "coral": "unequal",
    "ucl and al on some rows": "unequal",
    "shared rows, ucl and al": "none",
    "diffrop, joined": "none",
    "transfer": "none",
}


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found = torch.cat([numbers(case, dropped, share(rank, 2)) for case, dropped in REAL.items()])
    dist.all_reduce(found)
    if rank == 0:
        torch.save(found / 2, f"{folder}/found.pt")
    dist.destroy_process_group()


def test_real_processes_give_the_same(tmp_path: Path):
    how = "spawn" if torch.cuda.is_available() else "fork"  # a forked process starts at once and cannot use CUDA
    mp.start_processes(work, (str(tmp_path),), nprocs=2, start_method=how)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    torch.testing.assert_close(found, torch.cat([alone(*each) for each in REAL.items()]), rtol=1e-8, atol=1e-10)
