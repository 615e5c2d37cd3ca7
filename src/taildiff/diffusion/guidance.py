"""Classifier-free guidance (Ho & Salimans 2022): a network that wraps a network.

    out = null + g (conditional - null)

g = 1 is the conditional network itself, g = 0 the unconditional one; papers of the DDPM family write omega = g - 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Network = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x_s (B, C, H, W), s (B,), y (B,)) -> prediction (B, C, H, W)."""


def guided(network: Network, guidance: float, null_label: int) -> Network:
    """`network` with guidance, both halves in one batched call; at g = 0 and 1 only the half that is needed runs."""
    if guidance == 1:
        return network

    def unconditional(x_s: Tensor, s: Tensor, y: Tensor) -> Tensor:
        return network(x_s, s, torch.full_like(y, null_label))

    def both(x_s: Tensor, s: Tensor, y: Tensor) -> Tensor:
        labels = torch.cat([y, torch.full_like(y, null_label)])
        conditional, null = network(torch.cat([x_s, x_s]), torch.cat([s, s]), labels).chunk(2)
        return null + guidance * (conditional - null)

    return unconditional if guidance == 0 else both
