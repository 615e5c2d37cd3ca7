"""Views: the noisy batch under one choice of labels, on all rows or on a sample of them.

A view is a value: two terms that need the same view share its rows in the fused forward pass. Its row count depends
only on the batch size, never on the data, so shapes are fixed for a run.

Rows are drawn from the batch of all processes, so that the objective does not depend on their number, and shared out
evenly; a process may compute rows of another one's images.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from taildiff.device import wide, widest
from taildiff.losses.noise_weight import noise_weight


@dataclass(frozen=True)
class Given:
    """The batch's labels; where a label was dropped, the null label."""

    uniform: str = ""
    """The purpose of the random number that a view needs; empty where it needs none."""


@dataclass(frozen=True)
class Null:
    """No label. With `fraction` f < 1 on m = max(2, round(f B)) rows only, drawn by w(s) (see `select`).

    `kept_only`: rows whose label was dropped are not drawn, because alignment is 0 there, unless all labels were.
    `uniform_share` u: draw in proportion to u/B + (1 - u) w_i/sum w instead of w_i; if u > 0, every row can be drawn,
    and none stands for more than B/(u m) rows.
    """

    fraction: float = 1.0
    noise_weight: str = "noise"
    exponent: float = 1.0
    kept_only: bool = False
    uniform_share: float = 0.0
    gather: bool = True
    """Draw the rows from the batch of all processes, not from each process's own part."""

    @property
    def uniform(self) -> str:
        """The purpose of the random number that draws the rows; empty when all rows are used."""
        return "null rows" if self.fraction < 1 else ""


@dataclass(frozen=True)
class SampledLabel:
    """A label drawn from fixed class probabilities, regardless of the true one (CBDM)."""

    probabilities: tuple[float, ...]
    uniform: str = "auxiliary label"


@dataclass(frozen=True)
class OtherClass:
    """A label drawn uniformly from the other classes (DiffROP)."""

    uniform: str = "other class"


View = Given | Null | SampledLabel | OtherClass
GIVEN, NULL = Given(), Null()


@dataclass(frozen=True)
class Selection:
    """Some rows of the batch, each representing `scale` rows (0: a filler that keeps the number fixed)."""

    index: Tensor
    """(m,), ascending."""
    scale: Tensor
    """1/pi, (m,) float32."""
    spare: Tensor
    """Which rows only make the number divisible by that of the processes: neither anchors nor negatives; (m,) bool."""
    dropped: Tensor
    """B/kept, scalar float32: the scale that lets kept rows stand for dropped ones; 1 if all can be drawn."""

    def part(self, rows: slice) -> "Selection":
        """One process's rows."""
        return Selection(self.index[rows], self.scale[rows], self.spare[rows], self.dropped)


def rows_of(view: View, batch_size: int) -> int:
    """The number of rows of a view."""
    if isinstance(view, Null) and view.fraction < 1:
        return min(batch_size, max(2, round(view.fraction * batch_size)))
    return batch_size


def select(view: Null, s: Tensor, dropped: Tensor, u: Tensor, parts: int = 1) -> Selection:
    """Systematic sampling of m of B rows with inclusion probabilities pi_i = min(1, c v_i), sum pi = m.

    v_i = w(s_i), or its mixture with the uniform law.

    s and dropped (B,), u a scalar in [0, 1). Sums of x_i/pi_i over the drawn rows are unbiased for sums of x_i over
    all rows of positive weight. When fewer than m rows have one, all of them are used, and rows of scale 0 fill up.
    Spare rows make the number divisible by `parts`.
    """
    m = rows_of(view, len(s))
    weight = noise_weight(wide(s), view.noise_weight, view.exponent)
    if view.uniform_share:
        share = weight / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
        weight = view.uniform_share / len(s) + (1 - view.uniform_share) * share
    kept = ~dropped | dropped.all() if view.kept_only else torch.ones_like(dropped)
    weight = weight * kept
    pi = inclusion(weight, m)
    ends = pi.cumsum(0)
    starts = torch.cat([torch.zeros_like(ends[:1]), ends[:-1]])
    # a row is drawn when one of the points u, u + 1, … falls in its interval [start, end)
    drawn = (ends - u).ceil() > (starts - u).ceil()
    total = -(-m // parts) * parts
    index, place = torch.argsort(drawn.to(torch.uint8), descending=True, stable=True)[:total].sort()
    scale = torch.where(drawn[index], 1 / pi[index].clamp(min=1e-12), 0.0)
    return Selection(index, scale.float(), place >= m, 1 / kept.float().mean())


def inclusion(weight: Tensor, m: int) -> Tensor:
    """pi_i = min(1, c w_i) with sum pi = m, (B,); when at most m rows have a positive weight, 1 for each of them."""
    positive = weight > 0
    largest = weight.sort(descending=True).values
    rest = largest.flip(0).cumsum(0).flip(0)  # the sum from the k-th largest on
    certain = torch.arange(len(weight), device=weight.device)
    # k certain rows leave m - k for the rest: the smallest k for which no other inclusion exceeds 1
    factor = (m - certain) / rest.clamp(min=torch.finfo(weight.dtype).tiny)
    fits = (largest * factor <= 1) & (certain < m)
    scaled = (factor[fits.to(torch.uint8).argmax(0, keepdim=True)] * weight).clamp(max=1.0)
    return torch.where(positive.sum() <= m, positive.to(weight.dtype), scaled)


def labels_of(view: View, y: Tensor, dropped: Tensor, null_label: int, u: Tensor | None) -> Tensor:
    """The labels (B,) of a view; u (B,) in [0, 1) draws random ones."""
    match view:
        case Given():
            return torch.where(dropped, null_label, y)
        case Null():
            return torch.full_like(y, null_label)
        case SampledLabel(probabilities):
            assert u is not None
            cumulative = _cumulative(probabilities, y.device)
            return torch.searchsorted(cumulative, wide(u) * cumulative[-1], right=True).clamp(max=null_label - 1)
        case OtherClass():
            assert u is not None
            step = (wide(u) * (null_label - 1)).long().clamp(max=null_label - 2)  # 0..C-2
            return (y + 1 + step) % null_label


@lru_cache(maxsize=8)
def _cumulative(probabilities: tuple[float, ...], device: torch.device) -> Tensor:
    """(C,), float64 where there is one; cached, because copying it to a GPU in every step would stall each step."""
    return torch.tensor(probabilities, dtype=widest(device), device=device).cumsum(0)
