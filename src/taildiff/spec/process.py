"""The diffusion processes' specs; `build.process` builds them."""

from typing import Annotated, Literal

from pydantic import Field

from taildiff.spec.base import Spec


class DDPMSpec(Spec):
    """The DDPM process; the network predicts the noise."""

    kind: Literal["ddpm"] = "ddpm"
    """The process: ddpm or flow."""
    timesteps: Annotated[int, Field(ge=2, le=1_000_000)] = 1000
    """Integer noise levels T."""
    beta_start: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Variance added by the first step; linear up to `beta_end`."""
    beta_end: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Variance added by the last step."""


class FlowSpec(Spec):
    """The linear flow x_s = (1-s) x + s eps; the network predicts the velocity eps - x."""

    kind: Literal["flow"] = "flow"
    """The process: ddpm or flow."""
    times: Literal["uniform", "logit-normal"] = "uniform"
    """Distribution of noise levels in training."""


PathSpec = Annotated[DDPMSpec | FlowSpec, Field(discriminator="kind")]
