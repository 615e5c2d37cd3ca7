"""Spec to objects: one `match` a union, and nothing else."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from taildiff.diffusion.process import DDPM, Flow, Process
from taildiff.diffusion.samplers.ancestral import Ancestral
from taildiff.diffusion.samplers.base import Sampler
from taildiff.diffusion.samplers.ddim import DDIM
from taildiff.diffusion.samplers.heun import Heun
from taildiff.models.denoiser import Denoiser
from taildiff.models.sit import SiT
from taildiff.models.unet import UNet
from taildiff.objectives.cbdm import ClassBalancing
from taildiff.objectives.ccua import Alignment, UnsupervisedContrastive
from taildiff.objectives.coral import Coral
from taildiff.objectives.denoising import Denoising
from taildiff.objectives.diffrop import OverlapPairs, OverlapPermuted
from taildiff.objectives.dispersive import Dispersive
from taildiff.objectives.objective import LabelDrop, Learner, Objective, Target, Term
from taildiff.objectives.transfer import Transfer
from taildiff.objectives.views import GIVEN, NULL, Null, SampledLabel
from taildiff.spec import (
    DataFacts,
    DDPMSpec,
    FlowSpec,
    ModelSpec,
    ObjectiveSpec,
    PathSpec,
    RunSpec,
    SamplingSpec,
    SiTSpec,
    TransferSpec,
    UNetSpec,
)


def process(spec: PathSpec) -> Process:
    """The process."""
    match spec:
        case DDPMSpec():
            return DDPM(spec.timesteps, spec.beta_start, spec.beta_end)
        case FlowSpec():
            return Flow(spec.times)


def denoiser(spec: ModelSpec, facts: DataFacts) -> Denoiser:
    """The network, with fresh weights from torch's generator (the caller seeds it)."""
    channels, height, width = facts.shape
    match spec:
        case UNetSpec():
            return UNet(
                size=(height, width),
                image_channels=channels,
                classes=facts.classes,
                channels=spec.channels,
                blocks=spec.blocks,
                attention=spec.attention,
                dropout=spec.dropout,
            )
        case SiTSpec():
            return SiT(
                size=(height, width),
                image_channels=channels,
                classes=facts.classes,
                depth=spec.depth,
                width=spec.width,
                heads=spec.heads,
                patch=spec.patch,
                learn_sigma=spec.learn_sigma,
                embed=spec.embed,
                checkpointing=spec.checkpointing,
            )


def learner(spec: RunSpec, facts: DataFacts, counts: Sequence[int]) -> Learner:
    """Network and objective; `counts` are the training images of each class in this run."""
    network = denoiser(spec.model, facts)
    autocast = torch.bfloat16 if spec.precision == "bf16-mixed" else None
    return Learner(network, objective(spec.objective, process(spec.path), counts, network, autocast))


def objective(
    spec: ObjectiveSpec,
    process: Process,
    counts: Sequence[int],
    network: Denoiser,
    autocast: torch.dtype | None = None,
) -> Objective:
    """The loss; blocks of weight 0 are left out before anything is collected from them."""
    terms: list[tuple[float, Term]] = [(1.0, Denoising(counts, spec.class_power))]
    terms += [(weight, make()) for weight, make in _terms(spec, counts, network) if weight > 0]
    drop = LabelDrop(spec.drop.p, per_batch=spec.drop.policy == "per_batch")
    return Objective(process, terms, drop, target(spec.transfer, process, counts), autocast)


def target(spec: TransferSpec, process: Process, counts: Sequence[int]) -> Target:
    """The target rule."""
    if spec.mode == "none" and not spec.power:
        return Target(process)
    return Transfer(process, counts, spec.mode, spec.below, spec.power, spec.gather)


def _terms(spec: ObjectiveSpec, counts: Sequence[int], network: Denoiser) -> Iterator[tuple[float, Callable[[], Term]]]:
    """Weight and maker of every block; a maker runs only when its weight is not 0."""
    ucl, al, cbdm, diffrop = spec.ucl, spec.al, spec.cbdm, spec.diffrop
    null = _null(spec)
    contrasted = GIVEN if ucl.view == "given" else null
    yield ucl.weight, lambda: UnsupervisedContrastive(
        contrasted, ucl.tap, ucl.temperature, ucl.noise_weight, ucl.exponent,
        ucl.pool, ucl.negatives, ucl.noise_window, ucl.gather,
    )  # fmt: skip
    yield al.weight, lambda: Alignment(null, al.noise_weight, al.exponent, al.stop_gradient)
    law = tuple(map(float, counts)) if cbdm.law == "frequency" else (1.0,) * len(counts)
    yield cbdm.weight, lambda: ClassBalancing(SampledLabel(law), cbdm.noise_weight, cbdm.exponent)
    d = spec.dispersive
    yield d.weight, lambda: Dispersive(d.tap, d.temperature, d.gather)
    joined = al.weight > 0 and spec.null_fraction == 1
    yield (
        diffrop.weight,
        lambda: (
            OverlapPairs(diffrop.noise_weight, diffrop.exponent)
            if diffrop.form == "pairs"
            else OverlapPermuted(joined, diffrop.noise_weight, diffrop.exponent, diffrop.gather)
        ),
    )
    c = spec.coral
    yield (
        c.weight,
        lambda: Coral(c.tap, network.width(c.tap), c.head, c.temperature, c.weight_temperature, c.scaling, c.gather),
    )


def _null(spec: ObjectiveSpec) -> Null:
    """The view without labels that UCL and AL share; rows are drawn by AL's weight where it is on."""
    if spec.null_fraction == 1:
        return NULL
    leading = spec.al if spec.al.weight > 0 else spec.ucl
    return Null(spec.null_fraction, leading.noise_weight, leading.exponent, kept_only=spec.al.weight > 0)


def sampler(spec: SamplingSpec, process: Process) -> Sampler:
    """The step rule."""
    match spec.sampler:
        case "ancestral":
            return Ancestral(process)
        case "ddim" | "euler":  # the same step (see diffusion/sampler.py)
            return DDIM(process)
        case "heun":
            return Heun(process)


def parameters(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
