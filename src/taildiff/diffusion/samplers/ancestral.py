"""Ancestral sampling: DDPM's own random steps (Ho et al. 2020; Song et al. 2021, eta of eq. 16).

    x' = alpha' x0 + sqrt(sigma'² - eta²) eps + noise,   eta = sigma'/sigma sqrt(beta)
    beta = sigma² - (alpha/alpha')² sigma'²,             the variance that the forward step from s' to s adds

The mean is that of the exact posterior. The noise has its variance, eta² (`fixedsmall`: right for data that is one
point), or beta (`fixedlarge`: right for data of variance 1); Ho et al., sec. 3.2, whose releases name them so.
"""

from typing import Literal

from torch import Tensor

from taildiff.diffusion.process import Process
from taildiff.diffusion.samplers.base import Noise, Predict, coefficients


class Ancestral:
    """DDPM's own steps: part of the noise is redrawn; the last step, to the clean prediction, adds none."""

    def __init__(self, process: Process, variance: Literal["fixedsmall", "fixedlarge"] = "fixedsmall"):
        self.process, self.large = process, {"fixedsmall": False, "fixedlarge": True}[variance]

    def step(
        self, x: Tensor, s: float, s_next: float, predict: Predict, noise: Noise, state: None = None
    ) -> tuple[Tensor, None]:
        """Draw from q(x_next | x, x0 = prediction), or with its mean and more noise."""
        (alpha, sigma), (alpha_next, sigma_next) = coefficients(self.process, s), coefficients(self.process, s_next)
        x0 = predict(x, s)
        beta = max(sigma**2 - (alpha / alpha_next * sigma_next) ** 2, 0.0)
        eta2 = (sigma_next / sigma) ** 2 * beta
        kept = max(sigma_next**2 - eta2, 0.0) ** 0.5
        added = (beta if self.large else eta2) ** 0.5
        return alpha_next * x0 + kept * (x - alpha * x0) / sigma + added * noise(), None
