"""Denoising: l_i = |prediction_i - target_i|², mean over elements (DDPM, eq. 14; flow matching: SiT, eq. 5)."""

from torch import Tensor

from taildiff.objectives.contrast import full_precision
from taildiff.objectives.objective import GIVEN, Need, Step, Term


class Denoising(Term):
    """The plain diffusion loss under the given labels."""

    name = "denoising"
    needs = (Need(GIVEN),)

    def forward(self, step: Step) -> Tensor:
        """(B,)."""
        return (full_precision(step.prediction(GIVEN)) - step.target).square().flatten(1).mean(1)
