"""CCUA, contrastive conditional-unconditional alignment (arXiv 2507.09052).

    L = L_denoise + alpha L_ucl + gamma L_al
    UCL: w(s_i) log(1 + sum_{j != i} exp((z_i . z_j - 1)/tau)), z the normalised features of the pass without labels
    AL:  w(s_i) |f(x_s,i, s_i, y_i) - f(x_s,i, s_i, null)|², mean over elements, gradient on both sides

The features are those of the U-Net's middle block, flattened, without projection head, pooling or second view. Both
terms share one pass under the null label on the same noisy batch; the released code runs it twice.

Cheap CCUA (ours): the null pass on a fraction of the rows, drawn in proportion to w(s) (see `views.select`). AL stays
unbiased; UCL uses only the drawn rows as negatives, scales their sum by (B-1)/(m-1), and is biased. Where UCL shares
AL's rows, which all have a label, its values are scaled by B/kept: dropping a label does not depend on the image.

Shared null rows (ours): no label is dropped; the drawn rows also train the null label (see `denoising`), and AL is
scaled by the share of labels that would have been kept.
"""

from typing import Literal

import torch
from torch import Tensor

from taildiff.losses.contrastive import unsupervised_contrastive
from taildiff.losses.noise_weight import noise_weight
from taildiff.losses.pairwise import full_precision, gathered, processes
from taildiff.losses.prediction_pairs import alignment
from taildiff.objectives.objective import Need, Step, Term
from taildiff.objectives.views import GIVEN, Null, View


class UnsupervisedContrastive(Term):
    """UCL: spreads the features of a batch, so that rare classes do not collapse onto a few images."""

    name = "ucl"

    def __init__(
        self,
        view: View,
        tap: str,
        temperature: float = 0.1,
        weight_kind: str = "noise",
        exponent: float = 1.0,
        pool: bool = False,
        negatives: Literal["all", "other-class", "same-class"] = "all",
        noise_window: float | None = None,
        gather: bool = True,
    ):
        """`pool`: mean over positions instead of flattening; `negatives`, `noise_window`: which samples repel."""
        super().__init__()
        self.view, self.tap, self.temperature, self.pool, self.gather = view, tap, temperature, pool, gather
        self.weight_kind, self.exponent = weight_kind, exponent
        self.negatives, self.noise_window = negatives, noise_window
        self.needs = (Need(view, tap),)

    def forward(self, step: Step) -> Tensor:
        """(B,)."""
        features = full_precision(step.features(self.view, self.tap))
        if self.pool:
            features = pooled(features)
        ranks = processes()[0] if self.gather else 1
        number, spare = step.spare(self.view) if self.gather else (0, None)
        batch, rows = ranks * len(step.batch.y), ranks * len(features) - number
        factor = (batch - 1) / (rows - 1) if rows > 1 else 1.0
        repelled = unsupervised_contrastive(
            features, self.temperature, gather=self.gather, allowed=self._allowed(step, spare), factor=factor
        )
        weight = noise_weight(step.of(self.view, step.draws.s).to(repelled.dtype), self.weight_kind, self.exponent)
        return step.spread(self.view, weight * repelled, also_dropped=True)

    def _allowed(self, step: Step, spare: Tensor | None) -> Tensor | None:
        """The references that repel each anchor, (m, M) bool; None for all."""
        if self.negatives == "all" and self.noise_window is None and spare is None:
            return None
        y, s = step.of(self.view, step.batch.y), step.of(self.view, step.draws.s)
        others_y, others_s = (gathered(t)[0] if self.gather else t for t in (y, s))
        allowed = torch.ones(len(y), len(others_y), dtype=torch.bool, device=y.device)
        if spare is not None:
            allowed &= ~gathered(spare)[0]
        if self.negatives != "all":
            allowed &= (y[:, None] == others_y) == (self.negatives == "same-class")
        if self.noise_window is not None:
            allowed &= (s[:, None] - others_s).abs() <= self.noise_window
        return allowed


class Alignment(Term):
    """AL: lets rare classes share what the unconditional model knows; 0 where the label is dropped."""

    name = "al"

    def __init__(
        self,
        view: Null,
        weight_kind: str = "noise",
        exponent: float = 1.0,
        stop_gradient: bool = False,
        kept: float = 1.0,
    ):
        """`stop_gradient`: the unconditional side is a fixed target; `kept`: 1 - p with shared null rows."""
        super().__init__()
        self.view, self.weight_kind, self.exponent, self.stop_gradient = view, weight_kind, exponent, stop_gradient
        self.kept = kept
        self.needs = (Need(GIVEN), Need(view))

    def forward(self, step: Step) -> Tensor:
        """(B,)."""
        conditional = step.of(self.view, step.prediction(GIVEN))
        gap = alignment(conditional, step.prediction(self.view), self.stop_gradient)
        weight = noise_weight(step.of(self.view, step.draws.s).to(gap.dtype), self.weight_kind, self.exponent)
        return step.spread(self.view, self.kept * weight * gap * ~step.of(self.view, step.draws.dropped))


def pooled(features: Tensor) -> Tensor:
    """Mean over positions: (B, C, H, W) -> (B, C), or tokens (B, N, C) -> (B, C)."""
    return features.mean((2, 3)) if features.ndim == 4 else features.mean(1)
