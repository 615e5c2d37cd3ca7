"""The contract of a term of the loss."""

import copy
from typing import Any

import torch
from torch import Tensor

from taildiff import build
from taildiff.data.batches import Batch
from taildiff.diffusion.process import DDPM, Flow, Process, noise
from taildiff.models.denoiser import Denoiser
from taildiff.models.unet import UNet
from taildiff.objectives.denoising import Denoising
from taildiff.objectives.objective import LabelDrop, Objective, Step, StepLoss, Streams, Term
from taildiff.objectives.views import Null
from taildiff.spec import ObjectiveSpec, TermSpec
from taildiff.testing.base import close, require, trained

ROWS, CLASSES, SHAPE = 8, 3, (2, 8, 8)
"""Of the batches that terms are checked with, and of `small_network`; the shape is (C, H, W)."""


def small_network() -> Denoiser:
    """A U-Net for images of `SHAPE` and 3 classes, float32; 16 channels in the middle block."""
    return trained(lambda: UNet(SHAPE[1:], SHAPE[0], CLASSES, (8, 16), 1))


def check_term(term: Term, network: Denoiser | None = None, *, block: TermSpec | None = None) -> None:
    """Check a term of the loss on a small network, or on yours for images of `SHAPE` and 3 classes.

    `block`: its settings, if it is registered in the package; they must make this kind of term.
    """
    network = network or small_network()
    name = type(term).__name__
    require(isinstance(term.name, str) and term.name, f"{name}.name must be a string: it is the term's log column")
    require(term.needs, f"{name}.needs is empty: list the views and taps that forward reads, as Need(view, tap)")
    network.check_taps(need.tap for need in term.needs if need.tap is not None)
    for process in (Flow(), DDPM()):
        _check_values(term, network, process)
        _check_separate_forwards(term, network, process)
    _check_gradients(term, network)
    _check_other_numbers(term)
    coupled = _is_coupled(term, network)
    if coupled:
        _check_gather(term, network)
    if block is not None:
        _check_block(term, network, block, coupled)


def _batch(seed: int = 0) -> Batch:
    x = torch.randn(ROWS, *SHAPE, generator=torch.Generator().manual_seed(seed))
    return Batch(x, torch.arange(ROWS) % CLASSES)


def _objective(term: Term, process: Process | None = None) -> Objective:
    return Objective(process or Flow(), [(1.0, Denoising()), (1.0, term)], LabelDrop(0.3))


def _loss(term: Term, network: Denoiser, process: Process, batch: Batch, dropped: Tensor | None = None) -> StepLoss:
    """The loss of one step in which `dropped` (B,) labels are withheld, by default every third."""
    objective = _objective(term, process)
    draws = objective.draw(ROWS, SHAPE, Streams(0, 1))
    if dropped is None:
        dropped = torch.arange(ROWS) % 3 == 0
    return objective(network, batch, draws._replace(dropped=dropped))


def _check_values(term: Term, network: Denoiser, process: Process) -> None:
    name, seen = type(term).__name__, []
    hook = term.register_forward_hook(lambda _module, _arguments, values: seen.append(values))
    try:
        for dropped in (torch.zeros(ROWS, dtype=torch.bool), torch.ones(ROWS, dtype=torch.bool), None, None):
            try:
                _loss(term, network, process, _batch(), dropped)
            except KeyError as error:
                raise AssertionError(
                    f"{name} reads {error.args[0]}, which is not in its `needs`: add it there"
                ) from None
            except RuntimeError:  # values that cannot be stacked; those of the term are judged below
                if not seen:
                    raise
            require(
                seen[-1].shape == (ROWS,),
                f"{name} returns the shape {tuple(seen[-1].shape)} for a batch of {ROWS}: return one value per sample, "
                "(B,), neither averaged nor filtered; expand a value of the whole batch, and give 0 where none applies",
            )
            require(
                seen[-1].isfinite().all(),
                f"{name} returns values that are not finite: clamp denominators and return 0 for dropped labels",
            )
    finally:
        hook.remove()
    require(
        torch.equal(seen[-1], seen[-2]),
        f"{name} gives other values for the same step: draw random numbers through `uniforms` and `step.uniform`, and "
        "keep no state between steps",
    )


def _check_separate_forwards(term: Term, network: Denoiser, process: Process) -> None:
    """What the fused forward gives equals one forward per need, to 1e-5 in float32."""
    batch, objective = _batch(), _objective(term, process)
    draws = objective.draw(ROWS, SHAPE, Streams(0, 1))
    step = Step(batch, draws, noise(process, batch.x, draws.s, draws.eps), objective.purposes)
    step.target = objective.target(step)
    for need in objective.needs:
        labels = step.of(need.view, step.labels(need.view, network.null_label))
        taps = [] if need.tap is None else [need.tap]
        out = network(step.of(need.view, step.noised.x_s), step.of(need.view, draws.s), labels, taps)
        step.answer(need, out.features[0] if need.tap is not None else out.prediction)  # pyright: ignore[reportArgumentType]
    fused = objective(network, batch, draws).per_sample[1]
    require(
        close(fused, term(step).detach().to(fused.dtype), 1e-5),
        f"{type(term).__name__} differs between the fused forward and separate ones: read only step.prediction and "
        "step.features of the views in `needs`, and take other tensors through step.of(view, tensor)",
    )


def _check_gradients(term: Term, network: Denoiser) -> None:
    name, network = type(term).__name__, copy.deepcopy(network)
    for all_dropped in (False, True):
        term.zero_grad()
        network.zero_grad()
        dropped = torch.full((ROWS,), all_dropped)
        objective = Objective(Flow(), [(1.0, term)], LabelDrop(0.0))
        draws = objective.draw(ROWS, SHAPE, Streams(0, 1))
        objective(network, _batch(), draws._replace(dropped=dropped)).total.backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        require(
            all_dropped or any(bool((g != 0).any()) for g in gradients),
            f"{name} sends no gradient to the network: do not detach or convert the features that it reads",
        )
        require(all(bool(g.isfinite().all()) for g in gradients), f"{name} has gradients that are not finite")
        unused = [key for key, p in term.named_parameters() if p.requires_grad and p.grad is None]
        require(
            not unused,
            f"{name} skips its parameter {unused[:1]} for some batches, which stops training on several processes: "
            "compute the head always and multiply by 0 where it does not apply",
        )
    term.zero_grad()


def _check_other_numbers(term: Term) -> None:
    """The random numbers of a step do not change when the term joins."""
    plain = Objective(Flow(), [(1.0, Denoising())], LabelDrop(0.3))
    alone, joined = (o.draw(ROWS, SHAPE, Streams(0, 1)) for o in (plain, _objective(term)))
    same = (torch.equal(a, b) for a, b in zip(alone[:3], joined[:3], strict=True))
    require(
        all(same), f"{type(term).__name__} changes the noise of the step: its purposes in `uniforms` need other names"
    )


def _is_coupled(term: Term, network: Denoiser) -> bool:
    """Whether a sample's value depends on the images of other samples."""
    batch, other = _batch(), _batch(seed=1)
    mixed = Batch(torch.cat([batch.x[:1], other.x[1:]]), batch.y)
    first, second = (_loss(term, network, Flow(), b).per_sample[1, 0] for b in (batch, mixed))
    return not close(first, second, 1e-5)


def _check_gather(term: Any, network: Denoiser) -> None:
    name = type(term).__name__
    require(
        isinstance(getattr(term, "gather", None), bool),
        f"{name} compares the samples of a batch but has no `gather` flag: add one that takes the samples of all "
        "processes with taildiff.losses.gathered, so that the loss does not depend on their number",
    )
    other = copy.deepcopy(term)
    other.gather = not term.gather
    value, expected = (_loss(each, network, Flow(), _batch()).per_sample[1] for each in (other, term))
    require(close(value, expected, 1e-6), f"{name}: `gather` must not change the loss of a single process")


def _check_block(term: Term, network: Denoiser, block: TermSpec, coupled: bool) -> None:
    """The block makes this kind of term, and its weight 0 leaves no trace."""
    kind, fields = type(block).__name__, [name for name, each in ObjectiveSpec() if type(each) is type(block)]
    require(fields, f"ObjectiveSpec has no field of the type {kind}: add one")
    plain, off, on = (
        build.objective(ObjectiveSpec.model_validate(fields), Flow(), (60, 30, 10), network)
        for fields in ({}, *({fields[0]: block.model_dump() | {"weight": weight}} for weight in (0, 1)))
    )
    require(type(on.terms[-1]) is type(term), f"build.term makes a {type(on.terms[-1]).__name__} of {kind}")
    require(
        (plain.names, plain.views, plain.purposes) == (off.names, off.views, off.purposes),
        f"{kind} of weight 0 still changes the objective: build terms only through build.term",
    )
    require(
        not block.trains_null or _null_gradient(term, network),
        f"{kind}.trains_null is True, but no gradient reaches the prediction of a Null view: guidance on a run without "
        "label dropout would extrapolate from an untrained prediction",
    )
    require(
        block.needs_pairs or not coupled,
        f"{kind} must set `compares_samples = True`: the value of a sample depends on the others in its batch",
    )


def _null_gradient(term: Term, network: Denoiser) -> bool:
    """Whether the term's loss has a gradient with respect to a prediction under the null label."""
    views = [need.view for need in term.needs if isinstance(need.view, Null) and need.tap is None]
    batch, objective = _batch(), _objective(term)
    draws = objective.draw(ROWS, SHAPE, Streams(0, 1))
    step = Step(batch, draws, noise(objective.process, batch.x, draws.s, draws.eps), objective.purposes)
    for need in term.needs:
        labels = step.of(need.view, step.labels(need.view, network.null_label))
        taps = [] if need.tap is None else [need.tap]
        out = network(step.of(need.view, step.noised.x_s), step.of(need.view, draws.s), labels, taps)
        value = out.features[0] if need.tap is not None else out.prediction
        assert value is not None
        step.answer(need, value.detach().requires_grad_())
    predictions = [step.prediction(view) for view in views]
    if not predictions:
        return False
    gradients = torch.autograd.grad(term(step).sum(), predictions, allow_unused=True)
    return any(each is not None and bool((each != 0).any()) for each in gradients)
