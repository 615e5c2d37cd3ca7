"""Supervised contrastive loss (Khosla et al. 2020), as CORAL (NeurIPS 2025) uses it on pooled features.

    l_i = -1/|P_i| sum_{p in P_i} log( exp(z_i . z_p / temperature) / sum_{a != i} exp(z_i . z_a / temperature) )

with z = e/|e| and P_i the other samples of the class of i. The usual mean is over the anchors whose P_i is not empty:
`(supervised_contrastive(e, y) * anchor_weight(y)).mean()`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from taildiff.losses.pairwise import full_precision, gathered, own_columns, products, require_pairs


def supervised_contrastive(
    embeddings: Tensor,
    labels: Tensor,
    temperature: float = 0.1,
    keep: Tensor | None = None,
    gather: bool = False,
) -> Tensor:
    """l_i (B,) of embeddings (B, D), which need not be normalised, and labels (B,); 0 for anchors without a positive.

    Samples where `keep` (B,) is False, such as those whose label was dropped, are neither anchors nor references.
    `gather` uses the references of all processes.
    """
    z = F.normalize(full_precision(embeddings).flatten(1), dim=1)
    references = gathered(z)[0] if gather else z
    require_pairs(references)
    logits = products(z, references) / temperature  # (B, M)
    positives, others = _pairs(labels, keep, gather)
    # an anchor without references keeps finite numbers: NaN times 0 is NaN, in the gradient too
    alone = ~others.any(1, keepdim=True)
    log_share = logits - torch.logsumexp(logits.masked_fill(~(others | alone), -torch.inf), dim=1, keepdim=True)
    return -torch.where(positives, log_share, 0.0).sum(1) / positives.sum(1).clamp(min=1)


def anchor_weight(labels: Tensor, keep: Tensor | None = None, gather: bool = False) -> Tensor:
    """B/n for each of the n anchors that have a positive, 0 for the others, (B,) float32.

    The mean of weight times loss is the mean loss over those anchors; with `gather`, B and n count all processes, and
    the mean over processes is that of the global batch.
    """
    positives, _ = _pairs(labels, keep, gather)
    counts = positives.any(1)
    everywhere = gathered(counts)[0] if gather else counts
    return counts.float() * (len(everywhere) / everywhere.sum().clamp(min=1))


def _pairs(labels: Tensor, keep: Tensor | None, gather: bool) -> tuple[Tensor, Tensor]:
    """The positives of each anchor, and all its references, (B, M) bool each."""
    kept = torch.ones_like(labels, dtype=torch.bool) if keep is None else keep
    all_labels, first = gathered(labels) if gather else (labels, 0)
    all_kept = gathered(kept)[0] if gather else kept
    others = kept[:, None] & all_kept
    others = others & ~own_columns(others, first)
    return others & (labels[:, None] == all_labels), others
