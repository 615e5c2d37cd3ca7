"""Ancestral sampling: DDPM's own random steps (Ho et al. 2020; Song et al. 2021, eta of eq. 16).

x' = alpha' x0 + sqrt(sigma'² - eta²) eps + eta z,   eta = sigma'/sigma sqrt(sigma² - (alpha/alpha')² sigma'²)
"""

from torch import Tensor

from taildiff.diffusion.process import Process
from taildiff.diffusion.samplers.base import Noise, Predict, coefficients


class Ancestral:
    """DDPM's own steps: part of the noise is redrawn, with the variance of the exact posterior."""

    def __init__(self, process: Process):
        self.process = process

    def step(
        self, x: Tensor, s: float, s_next: float, predict: Predict, noise: Noise, state: None = None
    ) -> tuple[Tensor, None]:
        """Draw from q(x_next | x, x0 = prediction)."""
        (alpha, sigma), (alpha_next, sigma_next) = coefficients(self.process, s), coefficients(self.process, s_next)
        x0 = predict(x, s)
        eta2 = (sigma_next / sigma) ** 2 * max(sigma**2 - (alpha / alpha_next * sigma_next) ** 2, 0.0)
        kept = max(sigma_next**2 - eta2, 0.0) ** 0.5
        return alpha_next * x0 + kept * (x - alpha * x0) / sigma + eta2**0.5 * noise(), None
