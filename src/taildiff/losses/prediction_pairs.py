"""Losses between two predictions of the same noisy images, or of two images of one batch.

    alignment        |h - h'|²                                   CCUA's AL (arXiv 2507.09052): h' under the null label
    class_balancing  |h - sg(h')|² + 1/4 |sg(h) - h'|²           CBDM (CVPR 2023): h' under an auxiliary label
    overlap          1/(1 + |h - h'|²)                           DiffROP (2402.10821): h' under another class; see below

|.|² is the mean over the elements of a sample, sg stops the gradient. Predictions (B, ...); halves become float32.
"""

from torch import Tensor

from taildiff.errors import InputError
from taildiff.losses.pairwise import full_precision


def alignment(conditional: Tensor, unconditional: Tensor, stop_gradient: bool = False) -> Tensor:
    """CCUA's alignment |f(x_s, y) - f(x_s, null)|² without its weight w(s), (B,).

    As in the release the gradient reaches both sides; with `stop_gradient` only the conditional one.
    """
    return _distance(conditional, unconditional.detach() if stop_gradient else unconditional)


def class_balancing(prediction: Tensor, auxiliary: Tensor) -> Tensor:
    """CBDM's regulariser |h - sg(h')|² + 1/4 |sg(h) - h'|², without its factors tau and s, (B,)."""
    return _distance(prediction, auxiliary.detach()) + _distance(prediction.detach(), auxiliary) / 4


def overlap(prediction: Tensor, other: Tensor) -> Tensor:
    """DiffROP's repulsion 1/(1 + |h - h'|²) from the prediction h' under another class, gradient on both sides, (B,).

    Our reading of the paper, not checked against its code. CCUA's release uses `overlap_permuted` instead.
    """
    return 1 / (1 + _distance(prediction, other))


def overlap_permuted(prediction: Tensor, labels: Tensor, permutation: Tensor, weight: Tensor) -> Tensor:
    """The stand-in for DiffROP in CCUA's release: 1/(1 + d), d = mean_i(w_i 1[y_π(i) != y_i] |h_i - h_π(i)|²).

    Compares different images, at different noise levels, of one batch: prediction (B, ...), labels (B,), permutation π
    (B,), weight w (B,). Pairs of one class count as distance 0 in the mean. Scalar.
    """
    others = weight * (labels[permutation] != labels)
    return 1 / (1 + (others * _distance(prediction, prediction[permutation])).mean())


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean over elements of the squared difference, (B,)."""
    if a.shape != b.shape:  # broadcasting would hide the mistake
        raise InputError(f"predictions of different shapes, {tuple(a.shape)} and {tuple(b.shape)}, cannot be compared")
    return (full_precision(a) - full_precision(b)).square().flatten(1).mean(1)
