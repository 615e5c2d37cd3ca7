"""Spec to objects: one `match` a union, and nothing else."""

from torch import nn

from taildiff.diffusion.path import DDPM, Flow, Path
from taildiff.diffusion.sampler import Ancestral, Deterministic, Heun, Sampler
from taildiff.models.denoiser import Denoiser
from taildiff.models.unet import UNet
from taildiff.objectives.ccua import Alignment, UnsupervisedContrastive
from taildiff.objectives.denoising import Denoising
from taildiff.objectives.objective import LabelDrop, Objective, Term
from taildiff.spec import DataFacts, DDPMSpec, FlowSpec, ModelSpec, ObjectiveSpec, PathSpec, SamplingSpec, UNetSpec


def path(spec: PathSpec) -> Path:
    """The process."""
    match spec:
        case DDPMSpec():
            return DDPM(spec.timesteps, spec.beta_start, spec.beta_end)
        case FlowSpec():
            return Flow(spec.times)


def denoiser(spec: ModelSpec, facts: DataFacts) -> Denoiser:
    """The network, with fresh weights from torch's generator (the caller seeds it)."""
    match spec:
        case UNetSpec():
            return UNet(
                size=(facts.height, facts.width),
                image_channels=facts.channels,
                classes=facts.classes,
                channels=spec.channels,
                blocks=spec.blocks,
                attention=spec.attention,
                dropout=spec.dropout,
            )


def objective(spec: ObjectiveSpec, process: Path) -> Objective:
    """The loss; blocks of weight 0 are left out before anything is collected from them."""
    ucl, al = spec.ucl, spec.al
    terms: list[tuple[float, Term]] = [(1.0, Denoising())]
    if ucl.weight > 0:
        contrast = UnsupervisedContrastive(
            ucl.tap, ucl.temperature, ucl.view, ucl.noise_weight, ucl.exponent, ucl.gather
        )
        terms.append((ucl.weight, contrast))
    if al.weight > 0:
        terms.append((al.weight, Alignment(al.noise_weight, al.exponent)))
    return Objective(process, terms, LabelDrop(spec.drop.p, per_batch=spec.drop.policy == "per_batch"))


def sampler(spec: SamplingSpec, process: Path) -> Sampler:
    """The step rule."""
    match spec.sampler:
        case "ancestral":
            return Ancestral(process)
        case "ddim" | "euler":  # the same step (see diffusion/sampler.py)
            return Deterministic(process)
        case "heun":
            return Heun(process)


def parameters(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
