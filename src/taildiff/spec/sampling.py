"""How images are sampled from a trained model."""

from typing import Annotated, Literal

from pydantic import Field

from taildiff.spec.base import Spec

SamplerName = Literal["ancestral", "ddim", "euler", "heun"]
"""The samplers; `build.sampler` makes them."""


class SamplingSpec(Spec):
    """How images are drawn from a trained model; the guidance is given beside it, because it is swept."""

    sampler: SamplerName = "heun"
    """ancestral: DDPM's own random steps; ddim = euler; heun: second order, two network calls a step."""
    steps: Annotated[int, Field(ge=1)] = 20
    seed: int = 0
    weights: Literal["ema", "raw"] = "ema"
    """The averaged weights, or those of the last step."""
    clip: bool = True
    """Keep each prediction of the clean image inside [-1, 1]; latents have no bounds and are left. Off: `--no-clip`."""
