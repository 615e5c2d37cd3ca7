"""The loss of a training step: views, terms, and one forward pass over all views.

A *view* is the same noisy batch denoised under another choice of labels. A *term* states which views and taps it needs
and returns one value per sample. The objective collects the needs of all its terms, runs the network once over the
concatenated views (those needed only for features come last, where they stop early), and returns

    L = sum_terms weight_k mean_i l_k,i .

`build.objective` leaves out terms of weight 0, so such a run equals plain denoising bit for bit. The other terms are
always computed, whatever the data: where one does not apply to a sample, it is 0.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from taildiff.data.batches import Batch
from taildiff.diffusion.process import Noised, Process, noise
from taildiff.diffusion.random_tensors import RandomTensors
from taildiff.losses.pairwise import gathered, processes
from taildiff.models.denoiser import Denoiser
from taildiff.objectives.views import Null, Selection, View, labels_of, rows_of, select


@dataclass(frozen=True)
class Need:
    """A view's prediction (`tap` None) or its activation at a tap."""

    view: View
    tap: str | None = None


@dataclass(frozen=True)
class Streams:
    """The random streams of one step, one per purpose, so that no term shifts the numbers of another."""

    seed: int
    step: int
    device: torch.device | str = "cpu"

    def __call__(self, purpose: str) -> RandomTensors:
        """A fresh stream; the same purpose always gives the same numbers."""
        return RandomTensors(self.seed, purpose, self.step, device=self.device)


class Draws(NamedTuple):
    """Every random number of a step."""

    s: Tensor
    """Noise levels (B,) float32."""
    eps: Tensor
    """Noise, shaped like the images."""
    dropped: Tensor
    """Whether the label is dropped, (B,) bool."""
    uniforms: Tensor
    """(B, K) in [0, 1): one column per purpose of the objective's views and terms."""

    def rows(self, *rows: slice) -> "Draws":
        """One rank's part of the global batch."""
        return Draws(*(_cat([tensor[part] for part in rows]) for tensor in self))


@dataclass(frozen=True)
class LabelDrop:
    """Drops labels with probability p: one coin per sample, or (the DDPM family's releases) one per batch."""

    p: float
    per_batch: bool = False

    def draw(self, n: int, random: RandomTensors) -> Tensor:
        """(n,) bool."""
        coins = random.uniform(n) < self.p
        return coins[:1].expand(n) if self.per_batch else coins


class Step:
    """What a term sees: the batch, the draws, and the network's outputs."""

    def __init__(self, batch: Batch, draws: Draws, noised: Noised, purposes: Sequence[str]):
        self.batch, self.draws, self.noised, self._purposes = batch, draws, noised, purposes
        self.target = noised.eps  # set by the objective's target rule
        self._answers: dict[Need, Tensor] = {}
        self._selections: dict[View, tuple[Selection, Selection]] = {}

    def prediction(self, view: View) -> Tensor:
        """(m, C, H, W); m = B unless the view is of some rows only."""
        return self._answers[Need(view)]

    def features(self, view: View, tap: str) -> Tensor:
        """(m, ...)."""
        return self._answers[Need(view, tap)]

    def answer(self, need: Need, value: Tensor) -> None:
        """Store a network output; used by the objective."""
        self._answers[need] = value

    def uniform(self, purpose: str) -> Tensor:
        """The random numbers (B,) in [0, 1) of one purpose."""
        return self.draws.uniforms[:, self._purposes.index(purpose)]

    def labels(self, view: View, null_label: int) -> Tensor:
        """A view's labels for all rows, (B,)."""
        u = self.uniform(view.uniform) if view.uniform else None
        return labels_of(view, self.batch.y, self.draws.dropped, null_label, u)

    def rows(self, view: View) -> int:
        """The number of rows of a view that this process computes."""
        chosen = self._selection(view)
        return len(self.batch.y) if chosen is None else len(chosen[0].index)

    def spare(self, view: View) -> tuple[int, Tensor | None]:
        """How many rows all processes compute beyond the drawn ones, and which of this one's, (m,) bool or None."""
        chosen = self._selection(view)
        if chosen is None:
            return 0, None
        part, whole = chosen
        number = len(whole.index) - rows_of(view, len(self.batch.y) * self._processes(view)[0])
        return number, part.spare if number else None

    def spread(self, view: View, values: Tensor, also_dropped: bool = False) -> Tensor:
        """Values (m,) of a view's rows as (B,), 0 elsewhere, scaled so that the mean over B is unbiased.

        `also_dropped`: also let the rows stand for those whose label was dropped, of which `kept_only` draws none.
        """
        chosen = self._selection(view)
        if chosen is None:
            return values
        part, whole = chosen
        values = values * part.scale.to(values.dtype)
        if also_dropped:
            values = values * part.dropped.to(values.dtype)
        number, rank = self._processes(view)
        if number > 1:
            values, _ = gathered(values)
        size = len(self.batch.y)
        empty = values.new_zeros(size * number)
        return empty.index_put((whole.index,), values)[rank * size : (rank + 1) * size]

    def of(self, view: View, tensor: Tensor) -> Tensor:
        """A view's rows of a (B, …) tensor, (m, …)."""
        chosen = self._selection(view)
        if chosen is None:
            return tensor
        rows = gathered(tensor)[0] if self._processes(view)[0] > 1 else tensor
        return rows[chosen[0].index]

    def _processes(self, view: View) -> tuple[int, int]:
        """How many processes share the rows of a view, and the place of this one."""
        return processes() if isinstance(view, Null) and view.gather else (1, 0)

    def _selection(self, view: View) -> tuple[Selection, Selection] | None:
        """The rows of a view: this process's, and those of all that share them; None for all rows."""
        if not isinstance(view, Null) or view.fraction >= 1:
            return None
        if view not in self._selections:
            number, rank = self._processes(view)
            s, dropped, u = self.draws.s, self.draws.dropped, self.uniform(view.uniform)
            if number > 1:
                columns, _ = gathered(torch.stack([s, dropped.to(s.dtype), u.to(s.dtype)], 1))
                s, dropped, u = columns[:, 0], columns[:, 1] > 0, columns[:, 2]
            whole = select(view, s, dropped, u[0], number)
            size = len(whole.index) // number
            self._selections[view] = whole.part(slice(rank * size, (rank + 1) * size)), whole
        return self._selections[view]


class Term(nn.Module, ABC):
    """One summand of the loss; may own parameters (a head), which sampling and EMA never see."""

    name: str
    needs: tuple[Need, ...]
    uniforms: tuple[str, ...] = ()
    """Purposes of the random numbers it needs besides those of its views."""

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """(B,): one value per sample, unreduced and without the term's weight."""


class StepLoss(NamedTuple):
    """The loss of one step."""

    total: Tensor
    """Scalar."""
    per_sample: Tensor
    """(terms, B), without the terms' weights."""


class Target(nn.Module):
    """The network's target: the true one here; a method may replace this rule."""

    uniforms: tuple[str, ...] = ()

    def __init__(self, process: Process):
        super().__init__()
        self.process = process

    def forward(self, step: Step) -> Tensor:
        """(B, C, H, W)."""
        return step.noised.target(self.process.prediction)


class Objective(nn.Module):
    """Weighted terms over one fused forward pass."""

    def __init__(
        self,
        process: Process,
        terms: Sequence[tuple[float, Term]],
        drop: LabelDrop,
        target: Target | None = None,
        autocast: torch.dtype | None = None,
    ):
        """`autocast`: the network's precision; noising and losses keep that of the images."""
        super().__init__()
        self.autocast = autocast
        self.process, self.drop, self.target = process, drop, target or Target(process)
        self.terms = nn.ModuleList(term for _, term in terms)
        self.weights = tuple(weight for weight, _ in terms)
        self.names = tuple(term.name for _, term in terms)
        needs = dict.fromkeys(need for _, term in terms for need in term.needs)
        predicted = dict.fromkeys(need.view for need in needs if need.tap is None)
        self.predicted = len(predicted)
        self.views = tuple(dict.fromkeys([*predicted, *(need.view for need in needs)]))
        self.taps = tuple(dict.fromkeys(need.tap for need in needs if need.tap is not None))
        self.needs = tuple(needs)
        of_views = (view.uniform for view in self.views if view.uniform)
        of_terms = (purpose for _, term in terms for purpose in term.uniforms)
        self.purposes = tuple(dict.fromkeys([*of_views, *of_terms, *self.target.uniforms]))

    def draw(self, batch_size: int, image_shape: Sequence[int], streams: Callable[[str], RandomTensors]) -> Draws:
        """All random numbers for the global batch; image_shape (C, H, W). Numbers depend on their purpose only."""
        eps = streams("noise").normal(batch_size, *image_shape)
        columns = [streams(purpose).uniform(batch_size) for purpose in self.purposes]
        return Draws(
            s=self.process.draw(batch_size, streams("level")),
            eps=eps,
            dropped=self.drop.draw(batch_size, streams("drop")),
            uniforms=torch.stack(columns, 1) if columns else eps.new_empty(batch_size, 0),
        )

    def forward(self, denoiser: Denoiser, batch: Batch, draws: Draws) -> StepLoss:
        """The step's loss; deterministic except for the network's dropout."""
        step = Step(batch, draws, noise(self.process, batch.x, draws.s, draws.eps), self.purposes)
        step.target = self.target(step)
        self._run(step, denoiser)
        per_sample = torch.stack([term(step) for term in self.terms])
        total = sum(weight * values.mean() for weight, values in zip(self.weights, per_sample, strict=True))
        assert isinstance(total, Tensor)
        return StepLoss(total, per_sample.detach())

    def _run(self, step: Step, denoiser: Denoiser) -> None:
        """Run the network once over all views and store each need's rows."""
        views, sizes = self.views, [step.rows(view) for view in self.views]
        labels = [step.of(view, step.labels(view, denoiser.null_label)) for view in views]
        x_s, s = ([step.of(view, tensor) for view in views] for tensor in (step.noised.x_s, step.noised.s))
        with torch.autocast(x_s[0].device.type, self.autocast, enabled=self.autocast is not None):
            output = denoiser(_cat(x_s), _cat(s), _cat(labels), self.taps, sum(sizes[: self.predicted]))
        for need in self.needs:
            source = output.prediction if need.tap is None else output.features[self.taps.index(need.tap)]
            assert source is not None
            k = views.index(need.view)
            first = sum(sizes[:k])
            rows = slice(first, first + sizes[k])
            step.answer(need, source if sizes[k] == len(source) else source[rows])


def _cat(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class Learner(nn.Module):
    """Denoiser and objective as one module, the only one that DDP and torch.compile see."""

    def __init__(self, denoiser: Denoiser, objective: Objective):
        super().__init__()
        denoiser.check_taps(objective.taps)
        self.denoiser, self.objective = denoiser, objective

    def forward(self, batch: Batch, draws: Draws) -> StepLoss:
        """One step's loss."""
        return self.objective(self.denoiser, batch, draws)
