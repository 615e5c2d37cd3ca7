"""The optimiser of a run.

AdamW (Loshchilov & Hutter 2019) updates every parameter. With Muon (Jordan et al. 2024) the matrices W (A, B) of a
transformer's blocks move along the nearest half-orthogonal matrix to their momentum M, by Newton-Schulz iterations:

    W -= lr 0.2 sqrt(max(A, B)) U V^T,    M = U S V^T        (Liu et al. 2025, arXiv 2502.16982, eq. 4)

whose scale is that of an AdamW step, so that one learning rate serves both. Everything else stays with AdamW:
embeddings, the first and the last layer, biases, heads of terms.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from taildiff.errors import SpecError
from taildiff.spec import OptimizerSpec


class Optimizer(Protocol):
    """What training asks of an optimiser; those of torch.optim have it too."""

    param_groups: list[dict[str, Any]]
    """Each with `params` and `lr`, which training sets before every step."""
    state: defaultdict[Any, dict[str, Any]]
    """Tensors by parameter and name, all that a checkpoint saves."""

    def step(self) -> Any:
        """Update all parameters that have a gradient."""
        ...

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        ...


def optimizer_of(spec: OptimizerSpec, learner: nn.Module) -> Optimizer:
    """The optimiser of all parameters of `learner`; `SpecError` where this torch has no Muon."""
    return AdamW(spec, list(learner.parameters())) if spec.name == "adamw" else MuonAndAdamW(spec, learner)


def check_optimizer(spec: OptimizerSpec) -> None:
    """`SpecError` for an optimiser that this version of torch lacks."""
    if spec.name == "muon" and not hasattr(torch.optim, "Muon"):
        raise SpecError(f"optimizer.name muon needs torch 2.9 or later ({torch.__version__} is installed): use adamw")


class AdamW:
    """torch.optim.AdamW(fused=True) bit for bit, its state included: one kernel for all parameters.

    torch's own class imports torch's compiler with its first parameter, which took 1.3 of 4.5 s to the first
    step of a small network (benchmarks/first_step.py).
    """

    eps = 1e-8

    def __init__(self, spec: OptimizerSpec, parameters: Sequence[nn.Parameter]):
        self.betas, self.weight_decay = spec.betas, spec.weight_decay
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters), "lr": spec.lr}]
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)

    @torch.no_grad()
    def step(self) -> None:
        """Update all parameters that have a gradient; they have one device and dtype."""
        (group,) = self.param_groups
        moving = [parameter for parameter in group["params"] if parameter.grad is not None]
        states = [self._state_of(parameter) for parameter in moving]
        steps: list[Tensor] = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            moving,
            [parameter.grad for parameter in moving],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=group["lr"],
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=self.weight_decay,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Any]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        assert set_to_none
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None


class MuonAndAdamW:
    """Muon and AdamW as one optimiser: their groups and the state by parameter are shared with this one."""

    def __init__(self, spec: OptimizerSpec, learner: nn.Module):
        check_optimizer(spec)
        matrices, others = list[nn.Parameter](), list[nn.Parameter]()
        for name, parameter in learner.named_parameters():
            (matrices if "blocks." in name and parameter.ndim == 2 else others).append(parameter)
        muon = torch.optim.Muon(matrices, lr=spec.lr, weight_decay=spec.weight_decay, adjust_lr_fn="match_rms_adamw")
        self.parts: tuple[Optimizer, ...] = (muon, AdamW(spec, others))
        self.param_groups = [group for part in self.parts for group in part.param_groups]
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for part in self.parts:
            part.state = self.state

    def step(self) -> None:
        """Update all parameters that have a gradient."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)
