"""Guidance: a network that wraps one or two networks.

    out = null + g (conditional - null)     classifier-free guidance (Ho & Salimans 2022)
    out = worse + g (network - worse)       autoguidance by worse weights (Karras et al. 2024)

g = 1 is the network itself, g = 0 the unconditional or the worse one; papers of the DDPM family write omega = g - 1.
Images may have scales of their own; a row whose scale is 1 or 0 runs once, with what it needs. At noise levels outside
an interval g = 1 may be better (Kynkäänniemi et al. 2024): `within`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Network = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x_s (B, C, H, W), s (B,), y (B,)) -> prediction (B, C, H, W)."""
Scales = float | Sequence[float]
"""g of all images, or of each of B."""


def guided(network: Network, guidance: Scales, null_label: int, device: torch.device | str = "cpu") -> Network:
    """`network` with guidance, conditional and null rows in one batched call; a row runs twice only where it has to.

    `device`: of the images, for scales that differ.
    """
    distinct = _distinct(guidance)
    if distinct == {1}:
        return network

    def unconditional(x_s: Tensor, s: Tensor, y: Tensor) -> Tensor:
        return network(x_s, s, torch.full_like(y, null_label))

    def both(x_s: Tensor, s: Tensor, y: Tensor) -> Tensor:
        labels = torch.cat([y, torch.full_like(y, null_label)])
        conditional, null = network(torch.cat([x_s, x_s]), torch.cat([s, s]), labels).chunk(2)
        return null + g * (conditional - null)

    def some(x_s: Tensor, s: Tensor, y: Tensor) -> Tensor:
        rows = torch.cat([given, without])
        labels = torch.cat([y[given], torch.full_like(y[without], null_label)])
        conditional, null = network(x_s[rows], s[rows], labels).split([len(given), len(without)])
        conditional, null = _spread(conditional, given, len(x_s)), _spread(null, without, len(x_s))
        return null + g * (conditional - null)

    if distinct == {0}:
        return unconditional
    g, given, without = _rows(guidance, device)
    return both if distinct.isdisjoint({0, 1}) else some


def autoguided(network: Network, worse: Network, guidance: Scales, device: torch.device | str = "cpu") -> Network:
    """`network` guided by a worse one, which runs for the rows whose scale is not 1."""
    if _distinct(guidance) == {1}:
        return network
    g, _, rows = _rows(guidance, device)

    def both(x_s: Tensor, s: Tensor, y: Tensor) -> Tensor:
        better = network(x_s, s, y)
        bad = better.index_copy(0, rows, worse(x_s[rows], s[rows], y[rows])) if len(rows) else worse(x_s, s, y)
        return bad + g * (better - bad)

    return both


def _distinct(guidance: Scales) -> set[float]:
    return {guidance} if isinstance(guidance, int | float) else set(guidance)


def _rows(guidance: Scales, device: torch.device | str) -> tuple[Tensor | float, Tensor, Tensor]:
    """The scales, broadcast to (B, C, H, W), and the rows whose scale is not 0, and not 1."""
    if isinstance(guidance, int | float):
        return guidance, torch.empty(0), torch.empty(0)
    g = torch.tensor(guidance, dtype=torch.float32)
    given, without = (torch.nonzero(g != value).flatten().to(device) for value in (0, 1))
    return g.view(-1, 1, 1, 1).to(device), given, without


def _spread(values: Tensor, rows: Tensor, n: int) -> Tensor:
    """Values (len(rows), …) at these rows of n, 0 elsewhere."""
    return values.new_zeros(n, *values.shape[1:]).index_copy(0, rows, values)
