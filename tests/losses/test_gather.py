"""Two processes with half of the batch each, gradients averaged as DDP does, are one process with all of it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ranks import on_ranks
from taildiff import losses

N, PROCESSES = 8, 2
LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3, 1])  # 2 and 3 have no positive; process 1 has more of them than process 0
KEEP = torch.tensor([True, True, True, True, False, True, True, True])
NOISE = torch.randn(N, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
ALLOWED = torch.rand(N, N, generator=torch.Generator().manual_seed(2)) < 0.6


def ucl(h: Tensor, rows: slice, gather: bool) -> Tensor:
    return losses.unsupervised_contrastive(h, 0.5, gather=gather).mean()


def ucl_restricted(h: Tensor, rows: slice, gather: bool) -> Tensor:
    return losses.unsupervised_contrastive(h, 0.5, gather=gather, allowed=ALLOWED[rows], factor=2.0).mean()


def dispersive(h: Tensor, rows: slice, gather: bool) -> Tensor:
    return losses.dispersive(h, 0.5, gather=gather)


def supcon(h: Tensor, rows: slice, gather: bool) -> Tensor:
    labels, keep = LABELS[rows], KEEP[rows]
    values = losses.supervised_contrastive(h, labels, 0.5, keep, gather)
    return (values * losses.anchor_weight(labels, keep, gather)).mean()


def transfer(h: Tensor, rows: slice, gather: bool) -> Tensor:
    references, first = losses.gathered(h) if gather else (h, 0)
    labels, _ = losses.gathered(LABELS[rows]) if gather else (LABELS, 0)
    frequency, own = torch.tensor([3, 3, 1, 1]), torch.arange(len(h)) + first
    weights = losses.transfer_weights(h, NOISE[rows], torch.full((len(h),), 1.5), references)
    index = losses.transfer_index(weights.detach(), torch.full((len(h),), 0.7), labels, frequency, own=own)
    one = torch.ones(len(h))
    target = losses.transfer_target(h + NOISE[rows], references, index, one, one, NOISE[rows], own)
    return weights.square().sum(1).mean() + target.square().mean()


LOSSES: dict[str, Callable[[Tensor, slice, bool], Tensor]] = {
    f.__name__: f for f in (ucl, ucl_restricted, dispersive, supcon, transfer)
}


def features() -> Tensor:
    return torch.randn(N, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


def value_and_gradient(name: str, rows: slice = slice(0, N), gather: bool = True) -> Tensor:
    leaf = features()
    value = LOSSES[name](leaf[rows], rows, gather)
    (gradient,) = torch.autograd.grad(value, leaf)
    return torch.cat([value.detach().reshape(1), gradient.flatten()])


def found(name: str, processes: int = PROCESSES) -> Tensor:
    """Those of several processes."""
    own = N // processes
    each = on_ranks(processes, lambda rank: value_and_gradient(name, slice(rank * own, (rank + 1) * own)))
    return torch.stack(each).mean(0)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("processes", [2, 4, 8])  # with eight, each has one sample and nothing to compare it with
def test_gathered_losses_are_those_of_the_global_batch(name, processes):
    expected = value_and_gradient(name, gather=False)
    torch.testing.assert_close(found(name, processes), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["ucl", "dispersive", "supcon"])
def test_gathering_matters(name):
    whole, halves = features(), (slice(0, N // 2), slice(N // 2, N))
    apart = torch.stack([LOSSES[name](whole[rows], rows, False) for rows in halves]).mean()
    assert abs(apart - found(name)[0]) > 0.01


def test_gathering_alone_is_no_gathering():
    h = features()
    assert torch.equal(losses.unsupervised_contrastive(h, gather=True), losses.unsupervised_contrastive(h))
    assert torch.equal(losses.dispersive(h, gather=True), losses.dispersive(h))
    assert torch.equal(losses.anchor_weight(LABELS, gather=True), losses.anchor_weight(LABELS))
