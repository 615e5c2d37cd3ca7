"""Denoising: l_i = c(y_i) |prediction_i - target_i|², mean over elements (DDPM, eq. 14; flow matching: SiT, eq. 5).

c(y) = 1, or class-balanced loss weights c(y) ∝ n_y^-power, normalised to a mean of 1 over the classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from taildiff.losses.pairwise import full_precision
from taildiff.objectives.objective import Need, Step, Term
from taildiff.objectives.views import GIVEN


class Denoising(Term):
    """The plain diffusion loss under the given labels."""

    name = "denoising"
    needs = (Need(GIVEN),)
    class_weights: Tensor

    def __init__(self, counts: Sequence[int] = (), power: float = 0.0):
        """`counts`: training images of each class; needed when `power` is not 0."""
        super().__init__()
        self.power = power
        weights = torch.tensor(counts, dtype=torch.float64) ** -power if power else torch.ones(1)
        self.register_buffer("class_weights", (weights / weights.mean()).float(), persistent=False)

    def forward(self, step: Step) -> Tensor:
        """(B,)."""
        values = (full_precision(step.prediction(GIVEN)) - step.target).square().flatten(1).mean(1)
        return values * self.class_weights[step.batch.y] if self.power else values
