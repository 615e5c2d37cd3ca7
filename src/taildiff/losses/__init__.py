"""The losses of all methods as plain functions on tensors, for any training loop.

    from taildiff import losses

    w = losses.noise_weight(s)  # s in [0, 1]: 0 is clean, 1 is pure noise
    loss = denoising + alpha * (w * losses.unsupervised_contrastive(null_features)).mean()
    loss = loss + gamma * (w * losses.alignment(conditional, unconditional)).mean()

Losses return one value per sample, (B,), without weights; only `dispersive` and `overlap_permuted` are scalars.
Features and predictions (B, ...) are flattened; half precision is raised to float32, float64 stays. Memory is
O(B² + B D). `gather=True` compares the samples with those of all processes of torch.distributed; average the gradients
over processes, as DDP does.

    method                  function                                            source
    CCUA                    unsupervised_contrastive, alignment, noise_weight   arXiv 2507.09052
    CBDM                    class_balancing                                     CVPR 2023
    T2H (OC)                transfer_weights, transfer_index, transfer_target   ICLR 2024
    Dispersive              dispersive                                          arXiv 2506.09027
    CORAL                   supervised_contrastive, anchor_weight               NeurIPS 2025
    DiffROP                 overlap, overlap_permuted                           arXiv 2402.10821
"""

from taildiff.losses.contrastive import unsupervised_contrastive
from taildiff.losses.dispersive import dispersive
from taildiff.losses.noise_weight import noise_weight
from taildiff.losses.pairwise import gathered
from taildiff.losses.prediction_pairs import alignment, class_balancing, overlap, overlap_permuted
from taildiff.losses.supervised_contrastive import anchor_weight, supervised_contrastive
from taildiff.losses.target_transfer import transfer_index, transfer_target, transfer_weights

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
