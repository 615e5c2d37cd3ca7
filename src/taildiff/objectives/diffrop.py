"""DiffROP (arXiv 2402.10821): push the predictions of different classes apart, L += weight mean_i w(s_i)/(1 + d_i).

Two forms:
    pairs      d_i = |h_i - h'_i|² on the same noisy image under a uniformly drawn other label y'; our reading of the
               paper, not verified against its code
    permuted   the stand-in in CCUA's release: the batch is permuted, d = mean_i(w_i 1[y_pi != y] |h_i - h_pi|²), value
               1/(1 + d) for the whole batch; with UCL or AL, over the conditional and unconditional batch together.
               y are the true labels, of dropped and unconditional rows too
The `pairs` form is 0 where the label is dropped.
"""

import torch
from torch import Tensor

from taildiff.losses.noise_weight import noise_weight
from taildiff.losses.pairwise import full_precision, gathered
from taildiff.losses.prediction_pairs import overlap, overlap_permuted
from taildiff.objectives.objective import Need, Step, Term
from taildiff.objectives.views import GIVEN, NULL, OtherClass


class OverlapPairs(Term):
    """The same image under two labels."""

    name = "diffrop"

    def __init__(self, weight_kind: str = "clean", exponent: float = 1.0):
        super().__init__()
        self.view, self.weight_kind, self.exponent = OtherClass(), weight_kind, exponent
        self.needs = (Need(GIVEN), Need(self.view))

    def forward(self, step: Step) -> Tensor:
        """(B,)."""
        values = overlap(step.prediction(GIVEN), step.prediction(self.view))
        weight = noise_weight(step.draws.s.to(values.dtype), self.weight_kind, self.exponent)
        return weight * values * ~step.draws.dropped


class OverlapPermuted(Term):
    """Different images of one batch, as in CCUA's release."""

    name = "diffrop"
    uniforms = ("permutation", "permutation, null rows")

    def __init__(self, joined: bool, weight_kind: str = "clean", exponent: float = 1.0, gather: bool = True):
        """`joined`: permute conditional and unconditional predictions together; `gather`: those of all processes."""
        super().__init__()
        self.joined, self.weight_kind, self.exponent, self.gather = joined, weight_kind, exponent, gather
        self.needs = (Need(GIVEN), Need(NULL)) if joined else (Need(GIVEN),)

    def forward(self, step: Step) -> Tensor:
        """(B,), all equal."""
        predictions, u = self._rows(step.prediction(GIVEN)), self._rows(step.uniform(self.uniforms[0]))
        labels, s = self._rows(step.batch.y), self._rows(step.draws.s)
        if self.joined:
            predictions = torch.cat([predictions, self._rows(step.prediction(NULL))])
            labels, s = labels.repeat(2), s.repeat(2)
            u = torch.cat([u, self._rows(step.uniform(self.uniforms[1]))])
        weight = noise_weight(s, self.weight_kind, self.exponent)
        value = overlap_permuted(predictions, labels, torch.argsort(u), weight)
        return value.expand(len(step.batch.y))

    def _rows(self, rows: Tensor) -> Tensor:
        return gathered(full_precision(rows))[0] if self.gather else rows
