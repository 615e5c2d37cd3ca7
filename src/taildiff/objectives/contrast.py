"""Contrastive mathematics on features (B, D), without networks, views or weights."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.nn.functional import all_gather

from taildiff.errors import InputError


def full_precision(x: Tensor) -> Tensor:
    """At least float32: norms and exponentials of halves overflow. float64 stays."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def repulsion(features: Tensor, temperature: float = 0.1, gather: bool = False) -> Tensor:
    """l_i = log(1 + sum_{j != i} exp((z_i . z_j - 1)/temperature)), z = normalised features (CCUA, eq. of L_ucl).

    InfoNCE whose positive is the anchor itself, so that it only repels; equal to the cross-entropy of the cosine matrix
    over the temperature against its diagonal. Needs O(B² + B D).

    features: (B, ...), flattened; gradient flows through anchors and negatives. `gather` takes negatives from all ranks
    (with gradient). Returns (B,).
    """
    z = F.normalize(full_precision(features).flatten(1), dim=1)
    references, first = gathered(z) if gather else (z, 0)
    if len(references) < 2:
        raise InputError("a contrastive loss compares the samples of a batch: it needs a batch size of at least 2")
    logits = (z @ references.T - 1) / temperature  # (B, M)
    own = torch.arange(len(z), device=z.device)
    # the anchor itself: exactly 0, where rounding of |z|² would give noise a gradient
    mask = torch.zeros_like(logits, dtype=torch.bool).index_put((own, own + first), torch.tensor(True, device=z.device))
    return torch.logsumexp(logits.masked_fill(mask, 0.0), dim=1)


def gathered(rows: Tensor) -> tuple[Tensor, int]:
    """The rows (B, D) of all ranks, with gradient, and the place of the own first row; alone: (rows, 0)."""
    if not (dist.is_available() and dist.is_initialized()):
        return rows, 0
    return torch.cat(list(all_gather(rows))), dist.get_rank() * len(rows)
