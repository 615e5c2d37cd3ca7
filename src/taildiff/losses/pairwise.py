"""What the losses share: precision, pairs of rows (B, D), and the rows of all processes."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function

from taildiff.errors import InputError


def full_precision(x: Tensor) -> Tensor:
    """At least float32: norms and exponentials of halves overflow. float64 stays."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def products(a: Tensor, b: Tensor) -> Tensor:
    """Dot products of rows a (B, D) and b (M, D): (B, M), in full precision even inside autocast."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.T


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|², (B, M), summed over elements, of a (B, D) and b (M, D): |a|² + |b|² - 2 a b, clamped at 0.

    O(B M + (B + M) D) memory. Both are first shifted by the mean of b: distances stay, rounding errors shrink.
    """
    centre = b.detach().mean(0)
    a, b = a - centre, b - centre
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * products(a, b)).clamp(min=0)


def own_columns(matrix: Tensor, first: int) -> Tensor:
    """True where the reference (column) is the anchor (row) itself, (B, M) bool; anchor 0 is reference `first`."""
    anchors, references = (torch.arange(n, device=matrix.device) for n in matrix.shape)
    return anchors[:, None] + first == references


def require_pairs(x: Tensor) -> None:
    """`InputError` for a batch of one."""
    if len(x) < 2:
        raise InputError("this loss compares the samples of a batch and got only one: use a batch size of at least 2")


def processes() -> tuple[int, int]:
    """The number of processes and this one's rank; (1, 0) without torch.distributed."""
    if not (dist.is_available() and dist.is_initialized()):
        return 1, 0
    return dist.get_world_size(), dist.get_rank()


def gathered(rows: Tensor) -> tuple[Tensor, int]:
    """The rows (B, ...) of all processes in rank order, and the index of this process's first row among them.

    Gradients flow through rows that have one. B must be the same on every rank. In a single process: (rows, 0).
    """
    number, rank = processes()
    if number == 1:
        return rows, 0
    if rows.dtype == torch.bool:  # gloo gathers no bools
        return torch.cat(_AllGather.apply(rows.byte())).bool(), rank * len(rows)
    return torch.cat(_AllGather.apply(rows)), rank * len(rows)


class _AllGather(Function):
    """all_gather whose gradient is summed over ranks; torch's own is deprecated and warns at every step."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> tuple[Tensor, ...]:
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = torch.stack(gradients)
        dist.all_reduce(total)
        return total[dist.get_rank()]
