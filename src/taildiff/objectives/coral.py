"""CORAL (NeurIPS 2025): supervised contrast on a projection of the middle block.

    e = Linear(mean-pooled features), L += weight mean_i v(s_i) SupCon_i,  v(s) = exp((1 - s)/tau_r)

The paper weighs each sample; the release multiplies the batch's mean weight, the batch's SupCon and 0.1. Samples whose
label is dropped are left out; anchors without a positive do not count. Sampling never uses the head.
"""

from typing import Literal

from torch import Tensor, nn

from taildiff.losses.pairwise import full_precision, gathered
from taildiff.losses.supervised_contrastive import anchor_weight, supervised_contrastive
from taildiff.objectives.ccua import pooled
from taildiff.objectives.objective import Need, Step, Term
from taildiff.objectives.views import GIVEN


class Coral(Term):
    """Pulls the features of each class together and pushes those of different classes apart."""

    name = "coral"

    def __init__(
        self,
        tap: str,
        width: int,
        head: int = 128,
        temperature: float = 0.1,
        weight_temperature: float = 0.3,
        scaling: Literal["paper", "release"] = "paper",
        gather: bool = True,
    ):
        """`width`: channels at the tap; `head`: dimensions of the projection."""
        super().__init__()
        self.tap, self.temperature, self.weight_temperature = tap, temperature, weight_temperature
        self.scaling, self.gather = scaling, gather
        self.head = nn.Linear(width, head)
        self.needs = (Need(GIVEN, tap),)

    def forward(self, step: Step) -> Tensor:
        """(B,)."""
        embeddings = self.head(pooled(full_precision(step.features(GIVEN, self.tap))))
        y, keep = step.batch.y, ~step.draws.dropped
        values = supervised_contrastive(embeddings, y, self.temperature, keep, self.gather)
        counted = anchor_weight(y, keep, self.gather).to(values.dtype) * values
        weight = ((1 - step.draws.s) / self.weight_temperature).exp().to(values.dtype)
        if self.scaling == "release":
            weights = gathered(weight)[0] if self.gather else weight
            return 0.1 * weights.mean() * counted
        return weight * counted
