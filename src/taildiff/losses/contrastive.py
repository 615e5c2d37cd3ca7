"""UCL, the unsupervised contrastive loss of CCUA (arXiv 2507.09052), on features (B, D).

With `gather`, anchors are the samples of this process and references those of all processes, with gradient to each. DDP
averages gradients over processes, so a mean over this rank's anchors gives the gradient of the global batch's mean.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from taildiff.losses.pairwise import full_precision, gathered, own_columns, products, require_pairs


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

    `allowed` (B, M), bool, marks which references j are negatives of each anchor, for example those at a similar noise
    level; a row without any gives 0. `factor` scales the sum of the negatives where they represent more samples:
    (B - 1)/(m - 1) on m rows of a batch of B. `gather` uses the references of all processes (M of them, in the order
    of `gathered`), with gradient. Memory O(B² + B D).
    """
    z = F.normalize(full_precision(features).flatten(1), dim=1)
    references, first = gathered(z) if gather else (z, 0)
    require_pairs(references)
    logits = (products(z, references) - 1) / temperature + math.log(factor)  # (B, M)
    own = own_columns(logits, first)
    if allowed is not None:
        logits = logits.masked_fill(~(allowed | own), -torch.inf)
    # the anchor itself: exactly 0, because rounding of |z|² would add a gradient of noise
    return torch.logsumexp(logits.masked_fill(own, 0.0), dim=1)
