"""Denoising: l_i = c(y_i) |prediction_i - target_i|², mean over elements (DDPM, eq. 14; flow matching: SiT, eq. 5).

c(y) = 1, or class-balanced loss weights c(y) ∝ n_y^-power, normalised to a mean of 1 over the classes.

With shared null rows (ours) no label is dropped. The null label is trained on a sample S of the rows instead, drawn
with inclusion probabilities pi_i, which UCL and AL use as well:

    l_i = c(y_i) ((1 - p) |prediction_i - target_i|² + p 1[i in S]/pi_i |null prediction_i - target_i|²)

Over the draw of S its mean is the mean over labels dropped with probability p.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from taildiff.losses.pairwise import full_precision
from taildiff.objectives.objective import Need, Step, Term
from taildiff.objectives.views import GIVEN, Null


class Denoising(Term):
    """The plain diffusion loss under the given labels, and with shared null rows under the null label."""

    name = "denoising"
    class_weights: Tensor

    def __init__(self, counts: Sequence[int] = (), power: float = 0.0, null: Null | None = None, p: float = 0.0):
        """`counts`: training images of each class; needed when `power` is not 0.

        `null`, `p`: the shared null rows and the weight of their loss; None where labels are dropped.
        """
        super().__init__()
        self.power, self.null, self.p = power, null, p
        self.needs = (Need(GIVEN),) if null is None else (Need(GIVEN), Need(null))
        weights = torch.tensor(counts, dtype=torch.float64) ** -power if power else torch.ones(1)
        self.register_buffer("class_weights", (weights / weights.mean()).float(), persistent=False)

    def forward(self, step: Step) -> Tensor:
        """(B,)."""
        values = _error(step.prediction(GIVEN), step.target)
        if self.null is not None:
            unlabelled = _error(step.prediction(self.null), step.of(self.null, step.target))
            values = (1 - self.p) * values + self.p * step.spread(self.null, unlabelled)
        return values * self.class_weights[step.batch.y] if self.power else values


def _error(prediction: Tensor, target: Tensor) -> Tensor:
    return (full_precision(prediction) - target).square().flatten(1).mean(1)
