"""Sampling from a trained model."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from taildiff.spec.base import Positive, Spec

SamplerName = Literal["ancestral", "ddim", "euler", "heun"]
"""The samplers; `build.sampler` makes them."""
SpacingName = Literal["uniform", "power", "karras", "logsnr", "grid"]
"""How noise levels are spaced; `build.times` makes them."""
Variance = Literal["fixedsmall", "fixedlarge"]
"""Of the noise that an ancestral step adds."""

_APPLIES_TO = {"exponent": "spacing power", "rho": "spacing karras", "variance": "sampler ancestral"}


class SamplingSpec(Spec):
    """How images are sampled from a trained model; guidance is separate, because it is swept."""

    sampler: SamplerName = "heun"
    """ancestral: DDPM's random steps; ddim and euler: the same step; heun: second order, two network calls per step."""
    steps: Annotated[int, Field(ge=1, le=100_000)] = 20
    spacing: SpacingName = "power"
    """Noise levels evenly spaced in: s (uniform), s^(1/exponent) (power), (sigma/alpha)^(1/rho) (karras), the log of
    the signal-to-noise ratio (logsnr), or integer timesteps down to 0, as the CCUA release has it (grid, DDPM only)."""
    exponent: Positive = 2.0
    """Of the spacing power: the larger, the more levels near the clean image."""
    rho: Annotated[float, Field(ge=1, le=1000)] = 7.0
    """Of the spacing karras."""
    variance: Variance = "fixedsmall"
    """Of the noise that an ancestral step adds: the posterior's (fixedsmall), or the forward step's (fixedlarge)."""
    seed: int = 0
    weights: Literal["ema", "raw"] = "ema"
    """EMA weights, or the raw weights of the last step."""
    clip: bool = True
    """Clip each predicted clean image to [-1, 1]; never applied to latents."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        where = {"exponent": self.spacing == "power", "rho": self.spacing == "karras"}
        for name, applies in (where | {"variance": self.sampler == "ancestral"}).items():
            if not applies and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} applies to {_APPLIES_TO[name]} only; remove it")
        if self.spacing == "grid" and self.variance == "fixedlarge":
            raise ValueError("spacing grid ends without a clean prediction, so fixedlarge leaves noise; choose power")
        return self

    @property
    def spacing_title(self) -> str:
        """The spacing with its own parameter: `power 2`, `karras 7`, `uniform`."""
        parameter = {"power": f" {self.exponent:g}", "karras": f" {self.rho:g}"}.get(self.spacing, "")
        return f"{self.spacing}{parameter}"

    @property
    def title(self) -> str:
        """How steps are made: `heun, 20 steps, spacing power 2`."""
        variance = f" {self.variance}" if self.sampler == "ancestral" else ""
        return f"{self.sampler}{variance}, {self.steps} steps, spacing {self.spacing_title}"
