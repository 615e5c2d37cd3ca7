"""Dispersive loss (arXiv 2506.09027): L += weight log mean_{i,j} exp(-|z_i - z_j|²/(D tau)).

z are the features of the conditional pass. The loss belongs to the whole batch, so every sample gets the same value.
"""

from torch import Tensor

from taildiff.losses.dispersive import dispersive
from taildiff.objectives.objective import Need, Step, Term
from taildiff.objectives.views import GIVEN


class Dispersive(Term):
    """Spreads the features of the conditional pass, whatever their class."""

    name = "dispersive"

    def __init__(self, tap: str, temperature: float = 1.0, gather: bool = True):
        super().__init__()
        self.tap, self.temperature, self.gather = tap, temperature, gather
        self.needs = (Need(GIVEN, tap),)

    def forward(self, step: Step) -> Tensor:
        """(B,), all equal."""
        value = dispersive(step.features(GIVEN, self.tap), self.temperature, self.gather)
        return value.expand(len(step.batch.y))
