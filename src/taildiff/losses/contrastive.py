"""Contrastive mathematics on features (B, D), without networks, views or weights; and what it shares with its siblings.

With `gather`, anchors are the samples of this process and references those of all processes, with gradient to each. DDP
averages gradients over processes, so a mean over the own anchors gives the gradient of the mean over the global batch.
"""

import math
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from taildiff.errors import InputError


def unsupervised_contrastive(
    features: Tensor,
    temperature: float = 0.1,
    *,
    gather: bool = False,
    allowed: Tensor | None = None,
    factor: float = 1.0,
) -> Tensor:
    """CCUA's UCL without its weight w(s), (B,): l_i = log(1 + factor sum_{j != i} exp((z_i . z_j - 1)/temperature)).

    z = h/|h| (arXiv 2507.09052, eq. of L_ucl): InfoNCE whose positive is the anchor itself, so it only repels; equal to
    the cross-entropy of the cosine matrix over the temperature against its diagonal.

    features (B, ...), flattened, B at least 2: those of the pass *without labels* on the noisy batch, taken from the
    middle block of a U-Net or block depth//4 (counted from 0) of a transformer; no pooling, no projection head.
    Gradient flows through anchors and negatives.

    `allowed` (B, M), bool, says which references j are negatives of which anchor, for example those of a near noise
    level; a row without any gives 0. `factor` scales the sum of the negatives where they stand for more than
    themselves: (B - 1)/(m - 1) on m rows of a batch of B. `gather` takes the references of all processes (M of them, in
    the order of `gathered`), with gradient. Needs O(B² + B D).
    """
    require_pairs(features)
    z = F.normalize(full_precision(features).flatten(1), dim=1)
    references, first = gathered(z) if gather else (z, 0)
    logits = (products(z, references) - 1) / temperature + math.log(factor)  # (B, M)
    own = own_columns(logits, first)
    if allowed is not None:
        logits = logits.masked_fill(~(allowed | own), -torch.inf)
    # the anchor itself: exactly 0, where rounding of |z|² would give noise a gradient
    return torch.logsumexp(logits.masked_fill(own, 0.0), dim=1)


def full_precision(x: Tensor) -> Tensor:
    """At least float32: norms and exponentials of halves overflow. float64 stays."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def products(a: Tensor, b: Tensor) -> Tensor:
    """Dot products of rows a (B, D) and b (M, D): (B, M), in full precision even inside autocast."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.T


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|², (B, M), summed over elements, of a (B, D) and b (M, D): |a|² + |b|² - 2 a b, clamped at 0.

    O(B M + (B + M) D) memory. Both are shifted by the mean of b first, which no distance sees, but rounding does.
    """
    centre = b.detach().mean(0)
    a, b = a - centre, b - centre
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * products(a, b)).clamp(min=0)


def own_columns(matrix: Tensor, first: int) -> Tensor:
    """Where the reference (column) is the anchor (row) itself: (B, M), bool; anchor 0 is reference `first`."""
    anchors, references = (torch.arange(n, device=matrix.device) for n in matrix.shape)
    return anchors[:, None] + first == references


def require_pairs(x: Tensor) -> None:
    """Refuse a batch of one."""
    if len(x) < 2:
        raise InputError("a contrastive loss compares the samples of a batch: it needs a batch size of at least 2")


def gathered(rows: Tensor) -> tuple[Tensor, int]:
    """The rows (B, ...) of all processes, process after process, and the place of the own first row.

    With gradient, where rows have one. B must be the same everywhere. In a single process: (rows, 0).
    """
    if not (dist.is_available() and dist.is_initialized()):
        return rows, 0
    return torch.cat(_AllGather.apply(rows)), dist.get_rank() * len(rows)


class _AllGather(Function):
    """all_gather whose gradient is summed over processes; torch's own is deprecated and warns at every step."""

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
