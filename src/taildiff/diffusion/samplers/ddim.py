"""DDIM (Song et al. 2021, eq. 12), which equals Euler's method.

    x' = alpha' x0 + sigma' eps

Euler's method on d(x/alpha)/d(sigma/alpha) = eps (Karras et al. 2022) gives the same step on every process.
"""

from torch import Tensor

from taildiff.diffusion.process import Process
from taildiff.diffusion.samplers.base import Noise, Predict, coefficients


class DDIM:
    """DDIM, which equals Euler's method."""

    def __init__(self, process: Process):
        self.process = process

    def step(
        self, x: Tensor, s: float, s_next: float, predict: Predict, noise: Noise, state: None = None
    ) -> tuple[Tensor, None]:
        """Keep the predicted noise and move it to the next level."""
        (alpha, sigma), (alpha_next, sigma_next) = coefficients(self.process, s), coefficients(self.process, s_next)
        x0 = predict(x, s)
        return alpha_next * x0 + sigma_next * (x - alpha * x0) / sigma, None
