"""Exponential moving average of the weights, with warm-up: decay_n = min(decay, (1 + n)/(10 + n)) after n updates."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def warmed_up(decay: float, updates: int) -> float:
    """The decay of the next update."""
    return min(decay, (1 + updates) / (10 + updates))


class MovingAverage(AveragedModel):
    """A copy of `model` that `update_parameters` moves towards it; the first update copies.

    Counts its updates on the CPU: torch's class reads the count from the GPU three times per update, waiting each time.
    """

    def __init__(self, model: nn.Module, decay: float):
        super().__init__(model)
        self._decay = decay

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "MovingAverage":
        count = self.n_averaged
        super()._apply(fn, recurse)
        self.n_averaged = count
        return self

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards `model`."""
        updates = int(self.n_averaged)
        averages: list[Tensor] = list(self.module.parameters())
        current: list[Tensor] = list(model.parameters())
        if updates:
            torch._foreach_lerp_(averages, current, 1 - warmed_up(self._decay, updates))
        else:
            torch._foreach_copy_(averages, current)
        for average, value in zip(self.module.buffers(), model.buffers(), strict=True):
            average.copy_(value)
        self.n_averaged += 1
