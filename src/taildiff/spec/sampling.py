"""Sampling from a trained model."""

from typing import Annotated, Literal

from pydantic import Field

from taildiff.spec.base import Spec

SamplerName = Literal["ancestral", "ddim", "euler", "heun"]
"""The samplers; `build.sampler` makes them."""


class SamplingSpec(Spec):
    """How images are sampled from a trained model; guidance is separate, because it is swept."""

    sampler: SamplerName = "heun"
    """ancestral: DDPM's random steps; ddim and euler: the same step; heun: second order, two network calls per step."""
    steps: Annotated[int, Field(ge=1)] = 20
    seed: int = 0
    weights: Literal["ema", "raw"] = "ema"
    """EMA weights, or the raw weights of the last step."""
    clip: bool = True
    """Clip each predicted clean image to [-1, 1]; never applied to latents."""
