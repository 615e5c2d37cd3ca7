"""Specs to objects: one `match` per union. What has no case here raises, and fails tests/test_build.py."""

from collections.abc import Sequence
from typing import assert_never

import torch
from torch import nn

from taildiff.diffusion import spacing
from taildiff.diffusion.process import DDPM, Flow, Process, Times
from taildiff.diffusion.samplers.ancestral import Ancestral
from taildiff.diffusion.samplers.base import Sampler
from taildiff.diffusion.samplers.ddim import DDIM
from taildiff.diffusion.samplers.heun import Heun
from taildiff.diffusion.samplers.multistep import Multistep
from taildiff.diffusion.samplers.unipc import UniPC
from taildiff.errors import SpecError
from taildiff.models.denoiser import Denoiser
from taildiff.models.sit import SiT
from taildiff.models.unet import UNet
from taildiff.objectives.cbdm import ClassBalancing
from taildiff.objectives.ccua import Alignment, UnsupervisedContrastive
from taildiff.objectives.coral import Coral
from taildiff.objectives.custom import custom_term
from taildiff.objectives.denoising import Denoising
from taildiff.objectives.diffrop import OverlapPairs, OverlapPermuted
from taildiff.objectives.dispersive import Dispersive
from taildiff.objectives.objective import LabelDrop, Learner, Objective, Target, Term
from taildiff.objectives.transfer import Transfer
from taildiff.objectives.views import GIVEN, NULL, Null, SampledLabel
from taildiff.spec import (
    ALSpec,
    CBDMSpec,
    CORALSpec,
    CustomSpec,
    DataFacts,
    DDPMSpec,
    DiffROPSpec,
    DispersiveSpec,
    FlowSpec,
    ModelSpec,
    ObjectiveSpec,
    PathSpec,
    RunSpec,
    SamplingSpec,
    SiTSpec,
    TermSpec,
    TransferSpec,
    UCLSpec,
    UNetSpec,
)


def process(spec: PathSpec) -> Process:
    """The process."""
    match spec:
        case DDPMSpec():
            return DDPM(spec.timesteps, spec.beta_start, spec.beta_end)
        case FlowSpec():
            return Flow(spec.times)
        case _:
            assert_never(spec)


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
                group_channels=spec.group_channels,
                zero_init=spec.zero_init,
                groups=spec.groups,
                head_channels=spec.head_channels,
                norm_eps=spec.norm_eps,
                downsample_padding=spec.downsample_padding,
                sinusoids=spec.sinusoids,
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
                frequencies=spec.frequencies,
            )
        case _:
            assert_never(spec)


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
    """The loss: denoising and the enabled terms; a term of weight 0 is never built."""
    shared = spec.shared_null is not None
    null = _shared_null(spec) if shared and spec.drop.p > 0 else None
    terms: list[tuple[float, Term]] = [(1.0, Denoising(counts, spec.class_power, null, spec.drop.p))]
    terms += [(block.weight, term(block, spec, counts, network)) for block in spec.terms.values()]
    if twice := _twice([each.name for _, each in terms]):
        raise SpecError(f"two terms of the loss have the name '{twice}', which is a column of the log: rename yours")
    drop = LabelDrop(0.0 if shared else spec.drop.p, per_batch=spec.drop.policy == "per_batch")
    return Objective(process, terms, drop, target(spec.transfer, process, counts), autocast)


def _twice(names: Sequence[str]) -> str | None:
    return next((name for name in names if names.count(name) > 1), None)


def target(spec: TransferSpec, process: Process, counts: Sequence[int]) -> Target:
    """The target rule."""
    if spec.mode == "none" and not spec.power:
        return Target(process)
    return Transfer(process, counts, spec.mode, spec.below, spec.power, spec.gather)


def term(block: TermSpec, spec: ObjectiveSpec, counts: Sequence[int], network: Denoiser) -> Term:
    """The term of one block of `spec`; the fields of the other blocks matter only where views are shared."""
    match block:
        case UCLSpec(noise_weight=w, exponent=e):
            view = GIVEN if block.view == "given" else _null(spec, block)
            options = block.pool, block.negatives, block.noise_window, block.gather
            return UnsupervisedContrastive(view, block.tap, block.temperature, w, e, *options)
        case ALSpec(noise_weight=w, exponent=e):
            kept = 1.0 if spec.shared_null is None else 1 - spec.drop.p
            return Alignment(_null(spec, block), w, e, block.stop_gradient, kept)
        case CBDMSpec(noise_weight=w, exponent=e):
            law = tuple(map(float, counts)) if block.law == "frequency" else (1.0,) * len(counts)
            return ClassBalancing(SampledLabel(law), w, e)
        case DispersiveSpec():
            return Dispersive(block.tap, block.temperature, block.gather)
        case DiffROPSpec(form="pairs", noise_weight=w, exponent=e):
            return OverlapPairs(w, e)
        case DiffROPSpec(noise_weight=w, exponent=e):
            joined = (spec.al.weight > 0 or _ucl_is_of_null(spec)) and spec.null_fraction == 1
            return OverlapPermuted(joined, w, e, block.gather)
        case CORALSpec(tap=tap):
            options = block.temperature, block.weight_temperature, block.scaling, block.gather
            return Coral(tap, network.width(tap), block.head, *options)
        case CustomSpec():
            return custom_term(block.term, block.arguments)
    raise NotImplementedError(f"build.term has no case for {type(block).__name__}")


def _ucl_is_of_null(spec: ObjectiveSpec) -> bool:
    return spec.ucl.weight > 0 and spec.ucl.view == "null"


def _null(spec: ObjectiveSpec, block: UCLSpec | ALSpec) -> Null:
    """The view without labels; UCL and AL share it unless rows are drawn and their weights w(s) differ."""
    if spec.shared_null is not None:
        return _shared_null(spec)
    if spec.null_fraction == 1:
        return NULL
    by_ucl, by_al = _law(spec.ucl), _law(spec.al)
    law = by_ucl if isinstance(block, UCLSpec) else by_al
    with_ucl, with_al = (_ucl_is_of_null(spec) and law == by_ucl), (spec.al.weight > 0 and law == by_al)
    return Null(spec.null_fraction, *law, kept_only=with_al, gather=spec.ucl.gather or not with_ucl)


def _shared_null(spec: ObjectiveSpec) -> Null:
    """The rows that the null label, AL and UCL share, drawn in part by AL's weight, or by UCL's without AL."""
    assert spec.shared_null is not None
    if spec.shared_null == 1:
        return NULL
    with_ucl, with_al = _ucl_is_of_null(spec), spec.al.weight > 0
    law = _law(spec.al if with_al else spec.ucl)
    uniform = spec.shared_uniform if with_al or with_ucl else 1.0
    return Null(spec.shared_null, *law, uniform_share=uniform, gather=spec.ucl.gather or not with_ucl)


def _law(block: UCLSpec | ALSpec) -> tuple[str, float]:
    """Kind and exponent of w(s), equal for equal weights."""
    return block.noise_weight, 1.0 if block.noise_weight == "none" else block.exponent


def sampler(spec: SamplingSpec, process: Process) -> Sampler:
    """The step rule."""
    match spec.sampler:
        case "ancestral":
            return Ancestral(process, spec.variance)
        case "ddim" | "euler":  # the same step (see diffusion/samplers/ddim.py)
            return DDIM(process)
        case "dpm2m":
            return Multistep(process)
        case "dpm2m-sde":
            return Multistep(process, "process")
        case "flow-sde":
            return Multistep(process, "sigma")
        case "heun":
            return Heun(process)
        case "unipc":
            return UniPC(process)
        case _:
            assert_never(spec.sampler)


def times(spec: SamplingSpec, process: Process) -> Times:
    """The noise levels that are visited; `InputError` for a spacing or number of steps that the process lacks."""
    match spec.spacing:
        case "uniform":
            return spacing.power(process, spec.steps, 1.0)
        case "power":
            return spacing.power(process, spec.steps, spec.exponent)
        case "karras":
            return spacing.karras(process, spec.steps, spec.rho)
        case "logsnr":
            return spacing.logsnr(process, spec.steps)
        case "grid":
            return spacing.grid(process, spec.steps)
        case "auto":
            raise AssertionError("SamplingSpec replaces auto by the spacing of its sampler")
        case _:
            assert_never(spec.spacing)


def parameters(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
