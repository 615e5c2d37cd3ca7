"""Sampling from a trained model."""

from typing import Literal

from taildiff.spec.base import Count, Spec

SamplerName = Literal["ancestral", "ddim", "euler", "heun"]
"""The samplers; `build.sampler` makes them."""


class SamplingSpec(Spec):
    """How images are sampled from a trained model; guidance is separate, because it is swept."""

    sampler: SamplerName = "heun"
    """ancestral: DDPM's random steps; ddim and euler: the same step; heun: second order, two network calls per step."""
    steps: Count = 20
    seed: int = 0
    weights: Literal["ema", "raw"] = "ema"
    """EMA weights, or the raw weights of the last step."""
    clip: bool = True
    """Clip each predicted clean image to [-1, 1]; never applied to latents."""
