"""CBDM, class-balancing diffusion models (Qin et al., CVPR 2023, eq. 8 and the released code).

    L += tau mean_i w(s_i) (|h_i - sg(h'_i)|² + 1/4 |sg(h_i) - h'_i|²)

h' is the prediction for the same noisy image under a label drawn from the training frequencies (or uniformly),
w(s) = s. The term is 0 where the label is dropped.
"""

from torch import Tensor

from taildiff.losses.noise_weight import noise_weight
from taildiff.losses.prediction_pairs import class_balancing
from taildiff.objectives.objective import Need, Step, Term
from taildiff.objectives.views import GIVEN, SampledLabel


class ClassBalancing(Term):
    """Pulls predictions under different labels together, so that rare classes borrow from common ones."""

    name = "cbdm"

    def __init__(self, law: SampledLabel, weight_kind: str = "noise", exponent: float = 1.0):
        super().__init__()
        self.view, self.weight_kind, self.exponent = law, weight_kind, exponent
        self.needs = (Need(GIVEN), Need(law))

    def forward(self, step: Step) -> Tensor:
        """(B,)."""
        values = class_balancing(step.prediction(GIVEN), step.prediction(self.view))
        weight = noise_weight(step.draws.s.to(values.dtype), self.weight_kind, self.exponent)
        return weight * values * ~step.draws.dropped
