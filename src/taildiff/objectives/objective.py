"""What a training step minimises: views, terms, and one forward pass over all views.

A *view* is the same noisy batch denoised under another label. A *term* states which views and taps it needs and returns
one value per sample. The objective collects the needs of all its terms, runs the network once over the joined views
(those wanted for features alone last, where they stop early), and adds up

    L = sum_terms weight_k mean_i l_k,i .

Terms of weight 0 never get here (`build.objective` leaves them out), so that such a run equals plain denoising bit for
bit. Of the terms that are here nothing is skipped because of data: where one does not apply to a sample, it gives 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from taildiff.data.batches import Batch
from taildiff.diffusion.path import Noised, Path, noise
from taildiff.models.denoiser import Denoiser
from taildiff.streams import seed_of


@dataclass(frozen=True)
class View:
    """The noisy batch under one choice of labels: `given` (with dropped labels null) or `null`."""

    label: str


GIVEN, NULL = View("given"), View("null")


@dataclass(frozen=True)
class Need:
    """A view's prediction (`tap` None) or its activation at a tap."""

    view: View
    tap: str | None = None


@dataclass(frozen=True)
class Streams:
    """The random generators of one step, one a purpose, so that no term shifts the numbers of another."""

    seed: int
    step: int
    device: torch.device | str = "cpu"

    def __call__(self, purpose: str) -> torch.Generator:
        """A fresh generator; the same purpose gives the same numbers."""
        return torch.Generator(self.device).manual_seed(seed_of(self.seed, purpose, self.step))


class Draws(NamedTuple):
    """Every random number of a step."""

    s: Tensor
    """Noise levels (B,) float32."""
    eps: Tensor
    """Noise, like the images."""
    dropped: Tensor
    """Whether the label is withheld, (B,) bool."""

    def rows(self, rows: slice) -> "Draws":
        """One rank's part of the global batch."""
        return Draws(*(tensor[rows] for tensor in self))


@dataclass(frozen=True)
class LabelDrop:
    """Withholds labels with probability p: one coin a sample, or (the DDPM family's releases) one a batch."""

    p: float
    per_batch: bool = False

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """(n,) bool."""
        coins = torch.rand(n, generator=generator, device=generator.device) < self.p
        return coins[:1].expand(n) if self.per_batch else coins


class Step:
    """What a term sees: the batch, the draws, and the answers of the network."""

    def __init__(self, batch: Batch, draws: Draws, noised: Noised, target: Tensor):
        self.batch, self.draws, self.noised, self.target = batch, draws, noised, target
        self._answers: dict[Need, Tensor] = {}

    def put(self, need: Need, answer: Tensor) -> None:
        """Used by the objective."""
        self._answers[need] = answer

    def prediction(self, view: View) -> Tensor:
        """(B, C, H, W)."""
        return self._answers[Need(view)]

    def features(self, view: View, tap: str) -> Tensor:
        """(B, ...)."""
        return self._answers[Need(view, tap)]


class Term(nn.Module):
    """One summand of the loss; may own parameters (a head), which neither sampling nor EMA ever sees."""

    name: str
    needs: tuple[Need, ...]

    def forward(self, step: Step) -> Tensor:
        """(B,): one value a sample, unreduced and without the term's weight."""
        raise NotImplementedError


class StepLoss(NamedTuple):
    """The loss of one step."""

    total: Tensor
    """Scalar."""
    per_sample: Tensor
    """(terms, B), without the terms' weights."""


class Objective(nn.Module):
    """Weighted terms over one fused forward pass."""

    def __init__(self, path: Path, terms: Sequence[tuple[float, Term]], drop: LabelDrop):
        super().__init__()
        self.path, self.drop = path, drop
        self.terms = nn.ModuleList(term for _, term in terms)
        self.weights = tuple(weight for weight, _ in terms)
        self.names = tuple(term.name for _, term in terms)
        needs = dict.fromkeys(need for _, term in terms for need in term.needs)
        predicted = dict.fromkeys(need.view for need in needs if need.tap is None)
        self.predicted = len(predicted)
        self.views = tuple(dict.fromkeys([*predicted, *(need.view for need in needs)]))
        self.taps = tuple(dict.fromkeys(need.tap for need in needs if need.tap is not None))
        self.needs = tuple(needs)

    def draw(self, batch_size: int, image_shape: Sequence[int], streams: Streams) -> Draws:
        """All random numbers for the global batch; image_shape (C, H, W)."""
        eps = torch.randn(batch_size, *image_shape, generator=streams("noise"), device=streams.device)
        return Draws(
            s=self.path.draw(batch_size, streams("level")),
            eps=eps,
            dropped=self.drop.draw(batch_size, streams("drop")),
        )

    def forward(self, denoiser: Denoiser, batch: Batch, draws: Draws) -> StepLoss:
        """Deterministic (but for the network's dropout)."""
        noised = noise(self.path, batch.x, draws.s, draws.eps)
        step = Step(batch, draws, noised, noised.target(self.path.prediction))
        self._fill(step, denoiser)
        per_sample = torch.stack([term(step) for term in self.terms])
        total = sum(weight * values.mean() for weight, values in zip(self.weights, per_sample, strict=True))
        assert isinstance(total, Tensor)
        return StepLoss(total, per_sample.detach())

    def _fill(self, step: Step, denoiser: Denoiser) -> None:
        """Run the network once over all views and hand each need its rows."""
        n, views = len(step.batch.y), self.views
        labels = torch.cat([self._labels(view, step, denoiser.null_label) for view in views])
        x_s, s = step.noised.x_s, step.noised.s
        if len(views) > 1:
            x_s, s = torch.cat([x_s] * len(views)), s.repeat(len(views))
        output = denoiser(x_s, s, labels, self.taps, n * self.predicted)
        for need in self.needs:
            source = output.prediction if need.tap is None else output.features[self.taps.index(need.tap)]
            assert source is not None
            first = n * views.index(need.view)
            step.put(need, source[first : first + n])

    @staticmethod
    def _labels(view: View, step: Step, null_label: int) -> Tensor:
        y = step.batch.y
        if view == NULL:
            return torch.full_like(y, null_label)
        return torch.where(step.draws.dropped, null_label, y)


class Learner(nn.Module):
    """Denoiser and objective as one module: the only thing that DDP and torch.compile see."""

    def __init__(self, denoiser: Denoiser, objective: Objective):
        super().__init__()
        denoiser.check_taps(objective.taps)
        self.denoiser, self.objective = denoiser, objective

    def forward(self, batch: Batch, draws: Draws) -> StepLoss:
        """One step's loss."""
        return self.objective(self.denoiser, batch, draws)
