"""CCUA, contrastive conditional-unconditional alignment (arXiv 2507.09052).

    L = L_denoise + alpha L_ucl + gamma L_al
    UCL: w(s_i) log(1 + sum_{j != i} exp((z_i . z_j - 1)/tau)), z the normalised features of the pass without labels
    AL:  w(s_i) |f(x_s,i, s_i, y_i) - f(x_s,i, s_i, null)|², mean over elements, gradient on both sides

The features are those of the middle block of a U-Net, flattened, without projection head, pooling or second view. Both
terms use the same pass under the null label on the same noisy batch; the released code runs it a second time.
"""

from torch import Tensor

from taildiff.objectives.contrast import full_precision, repulsion
from taildiff.objectives.objective import GIVEN, NULL, Need, Step, Term
from taildiff.objectives.weight import noise_weight


class UnsupervisedContrastive(Term):
    """UCL: spreads the unconditional features of a batch, so that rare classes do not collapse onto a few images."""

    name = "ucl"

    def __init__(self, tap: str, temperature: float, view: str, weight_kind: str, exponent: float, gather: bool):
        super().__init__()
        self.tap, self.temperature, self.gather = tap, temperature, gather
        self.view = GIVEN if view == "given" else NULL
        self.weight_kind, self.exponent = weight_kind, exponent
        self.needs = (Need(self.view, tap),)

    def forward(self, step: Step) -> Tensor:
        """(B,)."""
        repelled = repulsion(step.features(self.view, self.tap), self.temperature, self.gather)
        return noise_weight(step.draws.s.to(repelled.dtype), self.weight_kind, self.exponent) * repelled


class Alignment(Term):
    """AL: lets rare classes share what the unconditional model knows.

    Where the label is dropped there is nothing to align: 0.
    """

    name = "al"
    needs = (Need(GIVEN), Need(NULL))

    def __init__(self, weight_kind: str, exponent: float):
        super().__init__()
        self.weight_kind, self.exponent = weight_kind, exponent

    def forward(self, step: Step) -> Tensor:
        """(B,)."""
        gap = full_precision(step.prediction(GIVEN)) - full_precision(step.prediction(NULL))
        aligned = gap.square().flatten(1).mean(1)
        weight = noise_weight(step.draws.s.to(aligned.dtype), self.weight_kind, self.exponent)
        return weight * aligned * ~step.draws.dropped
