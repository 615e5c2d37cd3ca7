"""Exponential moving average of the weights, with warm-up: decay_n = min(decay, (1 + n)/(10 + n)) after n steps.

    average = decay_n average + (1 - decay_n) weights         after step n + 1; the first one copies

With `every` k > 1 the average takes the weights of steps 1, k + 1, 2 k + 1, … and the product of the k decays since the
last time, so that its memory is the same; between these steps it stays as it is.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def warmed_up(decay: float, steps: int, every: int = 1) -> float:
    """The decay of the next step after `steps`; with `every`, the product of as many decays, this one the last."""
    return math.prod(min(decay, (1 + n) / (10 + n)) for n in range(steps - every + 1, steps + 1))


class MovingAverage(AveragedModel):
    """A copy of `model` that `update_parameters`, called after each step, moves towards it; the first call copies.

    Counts the steps on the CPU: torch's class reads the count from the GPU three times per step, waiting each time.
    """

    def __init__(self, model: nn.Module, decay: float, every: int = 1):
        super().__init__(model)
        self._decay, self._every = decay, every

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "MovingAverage":
        count = self.n_averaged
        super()._apply(fn, recurse)
        self.n_averaged = count
        return self

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Count a step, and move the average towards `model` if it is due."""
        steps = int(self.n_averaged)
        self.n_averaged += 1
        if steps % self._every:
            return
        averages: list[Tensor] = list(self.module.parameters())
        current: list[Tensor] = list(model.parameters())
        if steps:
            torch._foreach_lerp_(averages, current, 1 - warmed_up(self._decay, steps, self._every))
        else:
            torch._foreach_copy_(averages, current)
        for average, value in zip(self.module.buffers(), model.buffers(), strict=True):
            average.copy_(value)
