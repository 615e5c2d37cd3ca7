"""The losses of all methods as plain functions on tensors, for any training loop.

    from taildiff import losses

    w = losses.noise_weight(s)  # s in [0, 1]: 0 is clean, 1 is pure noise
    loss = denoising + alpha * (w * losses.unsupervised_contrastive(null_features)).mean()
    loss = loss + gamma * (w * losses.alignment(conditional, unconditional)).mean()

Losses are one value per sample, (B,), and without weights; only `dispersive` and `overlap_permuted` are scalars.
Features and predictions (B, ...) are flattened; halves are raised to float32, float64 stays. Memory is O(B² + B D).
With `gather=True` the samples are compared with those of all processes of torch.distributed: average the gradients
over processes, as DDP does.

    method                  function                                            source
    CCUA                    unsupervised_contrastive, alignment, noise_weight   arXiv 2507.09052
    CBDM                    class_balancing                                     CVPR 2023
    T2H (OC)                transfer_weights, transfer_index, transfer_target   ICLR 2024
    Dispersive              dispersive                                          arXiv 2506.09027
    CORAL                   supervised_contrastive, anchor_weight               NeurIPS 2025
    DiffROP                 overlap, overlap_permuted                           arXiv 2402.10821
"""

from torch import Tensor

from taildiff.objectives.contrast import gathered, repulsion
from taildiff.objectives.pairs import alignment, class_balancing, overlap, overlap_permuted
from taildiff.objectives.spread import dispersive
from taildiff.objectives.supcon import anchor_weight, supervised_contrastive
from taildiff.objectives.transport import transfer_index, transfer_target, transfer_weights
from taildiff.objectives.weight import noise_weight

__all__ = [
    "alignment",
    "anchor_weight",
    "class_balancing",
    "dispersive",
    "gathered",
    "noise_weight",
    "overlap",
    "overlap_permuted",
    "supervised_contrastive",
    "transfer_index",
    "transfer_target",
    "transfer_weights",
    "unsupervised_contrastive",
]


def unsupervised_contrastive(
    features: Tensor,
    temperature: float = 0.1,
    *,
    gather: bool = False,
    allowed: Tensor | None = None,
    factor: float = 1.0,
) -> Tensor:
    """CCUA's UCL without its weight w(s): log(1 + sum_{j != i} exp((z_i . z_j - 1)/temperature)), z = h/|h|; (B,).

    Features (B, ...) of the pass *without labels* on the noisy batch: the output of the middle block of a U-Net, or of
    block depth//4 (counted from 0) of a transformer; no pooling, no projection head. It only repels. B at least 2.

    `allowed` (B, M), bool, restricts which references j are negatives of which anchor, for example to those of a near
    noise level; a row without any gives 0. `factor` scales the sum of the negatives where they stand for more than
    themselves: (B - 1)/(m - 1) on m rows of a batch of B. `gather` takes the references of all processes (M of them, in
    the order of `gathered`), with gradient.
    """
    return repulsion(features, temperature, gather, allowed, factor)
