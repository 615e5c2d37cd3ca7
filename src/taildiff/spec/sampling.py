"""Sampling from a trained model."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from taildiff.spec.base import Fraction, Positive, Spec

SamplerName = Literal["ancestral", "ddim", "dpm2m", "dpm2m-sde", "euler", "flow-sde", "heun", "unipc"]
"""The samplers; `build.sampler` makes them."""
SpacingName = Literal["auto", "uniform", "power", "karras", "logsnr", "grid"]
"""How noise levels are spaced; `build.times` makes them; a spec replaces `auto` by the default of its sampler."""
Variance = Literal["fixedsmall", "fixedlarge"]
"""Of the noise that an ancestral step adds."""

DEFAULT_SPACING: dict[str, SpacingName] = dict.fromkeys(("dpm2m", "dpm2m-sde", "flow-sde", "unipc"), "logsnr")
"""By sampler; `power` of the others."""
GROUPS = "head", "body", "tail"
LATER = (
    "guidance_interval",
    "guidance_by_class",
    "guidance_by_group",
    "autoguide",
    "repel",
    "repel_radius",
    "precision",
    "compile",
)
"""Fields that are written only where they are set, so that older evaluations keep their names."""
_APPLIES_TO = {"exponent": "spacing power", "rho": "spacing karras", "variance": "sampler ancestral"}


def _pairs(value: Any) -> Any:
    """Scales by name from a mapping or pairs, in one order: equal scales are equal specs."""
    try:
        pairs = tuple(value.items() if isinstance(value, Mapping) else value)
        names = [name for name, _ in pairs]
    except (TypeError, ValueError):
        raise ValueError("give scales by name, such as {'cat': 3.0}") from None
    if len(set(names)) < len(names):
        raise ValueError("name each once")
    return tuple(sorted(pairs))


Scales = Annotated[tuple[tuple[str, Annotated[float, Field(ge=0)]], ...], BeforeValidator(_pairs)]
"""Guidance scales by name; a mapping is accepted."""


class SamplingSpec(Spec):
    """How images are sampled from a trained model; guidance is separate, because it is swept."""

    sampler: SamplerName = "dpm2m"
    """How a step is made. dpm2m: DPM-Solver++(2M), second order, one network call per step; heun: second order, two
    calls per step; unipc: dpm2m with each step corrected by the next call; dpm2m-sde and flow-sde: random forms of
    dpm2m; ddim and euler: the same first-order step; ancestral: DDPM's random steps."""
    steps: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Steps from noise to image."""
    spacing: Annotated[SpacingName, Field(validate_default=True)] = "auto"
    """Noise levels evenly spaced in: s (uniform), s^(1/exponent) (power), (sigma/alpha)^(1/rho) (karras), the log of
    the signal-to-noise ratio (logsnr), or integer timesteps down to 0, as the CCUA release has it (grid, DDPM only).
    auto: logsnr for dpm2m, unipc, dpm2m-sde and flow-sde, power for the others."""
    exponent: Positive = 2.0
    """Of the spacing power: the larger, the more levels near the clean image."""
    rho: Annotated[float, Field(ge=1, le=1000)] = 7.0
    """Of the spacing karras."""
    variance: Variance = "fixedsmall"
    """Of the noise that an ancestral step adds: the posterior's (fixedsmall), or the forward step's (fixedlarge)."""
    seed: int = 0
    """Seed of the noise; an image depends on it, on its class and on its rank there."""
    weights: Literal["ema", "raw"] = "ema"
    """EMA weights, or the raw weights of the last step."""
    clip: bool = True
    """Clip each predicted clean image to [-1, 1]; never applied to latents."""
    guidance_interval: tuple[Fraction, Fraction] | None = None
    """Noise levels s, the lowest and the highest, between which guidance applies (0 is clean, 1 noise); outside them
    the network runs once per image. [default: everywhere]"""
    guidance_by_class: Scales = ()
    """Guidance of these classes instead of the general one. [default: the general one for all]"""
    guidance_by_group: Scales = ()
    """Guidance of the head, body or tail: thirds of the classes by training images; one by class comes first.
    [default: the general one for all]"""
    autoguide: Annotated[str, Field(min_length=1)] | None = None
    """Experimental: guide by worse weights instead of the null label: a step of the same run, another run, or a
    weights file. [default: by the null label]"""
    repel: bool = False
    """Push predicted clean images away from the training images of their class that are nearer than a radius."""
    repel_radius: Positive | None = None
    """Of `repel`, a Euclidean distance between images with values in [-1, 1]. [default: from the distances among the
    training images of the class]"""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """float32 throughout, or bf16 products inside the network."""
    compile: bool = False
    """Compile the network with torch.compile (for GPUs and many images)."""

    @field_validator("spacing")
    @classmethod
    def _of_sampler(cls, value: SpacingName, info: ValidationInfo) -> SpacingName:
        return DEFAULT_SPACING.get(info.data.get("sampler", ""), "power") if value == "auto" else value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        where = {"exponent": self.spacing == "power", "rho": self.spacing == "karras"}
        for name, applies in (where | {"variance": self.sampler == "ancestral"}).items():
            if not applies and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} applies to {_APPLIES_TO[name]} only; remove it")
        low, high = self.guidance_interval or (0, 1)
        if low > high:
            raise ValueError(f"guidance_interval: the lowest noise level comes first, not {low:g} {high:g}")
        if other := [name for name, _ in self.guidance_by_group if name not in GROUPS]:
            raise ValueError(f"guidance_by_group: the groups are {', '.join(GROUPS)}, not '{other[0]}'")
        if self.repel_radius is not None and not self.repel:
            raise ValueError("repel_radius applies with repel only; add --repel or remove it")
        if self.spacing == "grid" and self.variance == "fixedlarge":
            raise ValueError("spacing grid ends without a clean prediction, so fixedlarge leaves noise; choose power")
        return self

    @model_serializer(mode="wrap")
    def _without_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if name not in LATER or name in self.extras}

    @property
    def extras(self) -> tuple[str, ...]:
        """Those of the fields `LATER` that are set."""
        return tuple(name for name in LATER if getattr(self, name) != type(self).model_fields[name].default)

    @property
    def spacing_title(self) -> str:
        """The spacing with its own parameter: `power 2`, `karras 7`, `uniform`."""
        parameter = {"power": f" {self.exponent:g}", "karras": f" {self.rho:g}"}.get(self.spacing, "")
        return f"{self.spacing}{parameter}"

    @property
    def title(self) -> str:
        """How steps are made: `dpm2m, 20 steps, spacing logsnr`, and what else is set."""
        variance = f" {self.variance}" if self.sampler == "ancestral" else ""
        parts = [f"{self.sampler}{variance}, {self.steps} steps, spacing {self.spacing_title}"]
        if self.guidance_interval:
            low, high = self.guidance_interval
            parts.append(f"guidance for s in [{low:g}, {high:g}]")
        parts += [f"guidance {g:g} for {name}" for name, g in (*self.guidance_by_class, *self.guidance_by_group)]
        if self.autoguide:
            parts.append(f"guided by weights {self.autoguide}")
        if self.repel:
            radius = f" within {self.repel_radius:g}" if self.repel_radius else ""
            parts.append(f"repelled from training images{radius}")
        parts += [*(["bf16"] if self.precision == "bf16-mixed" else []), *(["compiled"] if self.compile else [])]
        return ", ".join(parts)
