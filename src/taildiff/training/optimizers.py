"""The optimiser of a run.

AdamW (Loshchilov & Hutter 2019) updates every parameter. With Muon (Jordan et al. 2024) the matrices W (A, B) of a
transformer's blocks move along the nearest half-orthogonal matrix to their momentum M, by Newton-Schulz iterations:

    W -= lr 0.2 sqrt(max(A, B)) U V^T,    M = U S V^T        (Liu et al. 2025, arXiv 2502.16982, eq. 4)

whose scale is that of an AdamW step, so that one learning rate serves both. Everything else stays with AdamW:
embeddings, the first and the last layer, biases, heads of terms.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from taildiff.errors import SpecError
from taildiff.spec import OptimizerSpec


def optimizer_of(spec: OptimizerSpec, learner: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of all parameters of `learner`; `SpecError` where this torch has no Muon."""
    if spec.name == "adamw":
        return _adamw(spec, list(learner.parameters()))
    return MuonAndAdamW(spec, learner)


def _adamw(spec: OptimizerSpec, parameters: list[nn.Parameter]) -> torch.optim.AdamW:
    # fused: one kernel instead of a dozen per parameter
    return torch.optim.AdamW(parameters, lr=spec.lr, betas=spec.betas, weight_decay=spec.weight_decay, fused=True)


def check_optimizer(spec: OptimizerSpec) -> None:
    """`SpecError` for an optimiser that this version of torch lacks."""
    if spec.name == "muon" and not hasattr(torch.optim, "Muon"):
        raise SpecError(f"optimizer.name muon needs torch 2.9 or later ({torch.__version__} is installed): use adamw")


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon and AdamW as one optimiser: their groups and the state by parameter are shared with this one."""

    def __init__(self, spec: OptimizerSpec, learner: nn.Module):
        check_optimizer(spec)
        matrices, others = list[nn.Parameter](), list[nn.Parameter]()
        for name, parameter in learner.named_parameters():
            (matrices if "blocks." in name and parameter.ndim == 2 else others).append(parameter)
        super().__init__([{"params": matrices}, {"params": others}], {})
        muon = torch.optim.Muon(matrices, lr=spec.lr, weight_decay=spec.weight_decay, adjust_lr_fn="match_rms_adamw")
        self.parts: tuple[torch.optim.Optimizer, ...] = (muon, _adamw(spec, others))
        self.param_groups = [group for part in self.parts for group in part.param_groups]
        for part in self.parts:
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update all parameters that have a gradient."""
        assert closure is None
        for part in self.parts:
            part.step()
