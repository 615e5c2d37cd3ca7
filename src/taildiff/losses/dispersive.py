"""Dispersive loss (arXiv 2506.09027): spreads the features of a batch, without positives and without normalising.

    L = log mean_{i,j} exp(-|z_i - z_j|² / (D temperature))

over the full B x B matrix, its diagonal included, with |.|² the sum over the D elements of a flattened feature.
"""

import math

import torch
from torch import Tensor

from taildiff.losses.pairwise import full_precision, gathered, own_columns, require_pairs, squared_distances


def dispersive(features: Tensor, temperature: float = 1.0, gather: bool = False) -> Tensor:
    """The loss (scalar) of features (B, ...), without its weight; from -log B (well apart) to 0 (collapsed).

    Memory O(B² + B D). `gather`: over the batches of all processes; every process gets the same number.
    """
    z = full_precision(features).flatten(1)
    references, first = gathered(z) if gather else (z, 0)
    require_pairs(references)
    distances = squared_distances(z, references)  # (B, M)
    distances = distances.masked_fill(own_columns(distances, first), 0.0)
    rows = torch.logsumexp(-distances / (z.shape[1] * temperature), dim=1)  # (B,)
    if gather:
        rows, _ = gathered(rows)
    return torch.logsumexp(rows, dim=0) - math.log(len(rows) * len(references))
