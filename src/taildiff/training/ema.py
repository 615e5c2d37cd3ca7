"""Exponential moving average of the weights, with warm-up: decay_n = min(decay, (1 + n)/(10 + n)) after n updates."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """Torch's AveragedModel (a copy of `model`, updated by `update_parameters`); the first update copies."""
    return AveragedModel(model, multi_avg_fn=_warming(decay), use_buffers=False)


def warmed_up(decay: float, updates: int) -> float:
    """The decay of the next update."""
    return min(decay, (1 + updates) / (10 + updates))


def _warming(decay: float) -> Callable[[Any, Any, Tensor | int], None]:
    @torch.no_grad()
    def average(averages: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
        torch._foreach_lerp_(averages, current, 1 - warmed_up(decay, int(updates)))

    return average
