"""The fields of a run, a sampling and an evaluation that functions of the front door take by name."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict


class RunFields(TypedDict, total=False):
    """Top-level fields of `RunSpec`; the others are `changes`."""

    seed: int
    steps: int
    batch_size: int
    accumulate: int
    devices: int
    nodes: int
    precision: Literal["32-true", "bf16-mixed", "auto"]
    compile: bool
    skip_nonfinite: int
    skip_spikes: float | None


class StepFields(TypedDict, total=False):
    """The fields of `SamplingSpec` that make the steps from noise to image, with a model that is loaded."""

    sampler: Literal["ancestral", "ddim", "dpm2m", "dpm2m-sde", "euler", "flow-sde", "heun", "unipc"]
    steps: int
    spacing: Literal["auto", "uniform", "power", "karras", "logsnr", "grid"]
    exponent: float
    rho: float
    variance: Literal["fixedsmall", "fixedlarge"]
    guidance_interval: tuple[float, float] | None
    guidance_by_class: Mapping[str, float] | Sequence[tuple[str, float]]
    guidance_by_group: Mapping[str, float] | Sequence[tuple[str, float]]
    repel: bool
    repel_radius: float | None
    precision: Literal["32-true", "bf16-mixed"]
    compile: bool


class SamplingFields(StepFields, total=False):
    """The fields of `SamplingSpec`."""

    seed: int
    weights: Literal["ema", "raw"]
    clip: bool
    autoguide: str | None


class ExportFields(SamplingFields, total=False):
    """What an export is of, and what its card says."""

    step: int | None
    guidance: float | None
    vae: str | None
    vae_as: Literal["auto", "name", "copy"]
    grid: int
    device: str | None
    name: str
    license: str
    data_license: str


class EvaluationFields(SamplingFields, total=False):
    """The fields of `EvalSpec`, those of its sampling among them."""

    features: str
    metrics: str | Sequence[str]
    guidance: float | Sequence[float]
    per_class: int
    seeds: Sequence[int]
    reference: str
    k: int
    utility: bool
    intervals: Literal["all", "none"]
