"""Heun's method (Karras et al. 2022, alg. 1) on d(x/alpha)/d(sigma/alpha) = eps, with the mean of eps at both ends.

Where alpha = 0 (flow at s = 1) the variables of this equation are infinite, so that step is an Euler step.
"""

from torch import Tensor

from taildiff.diffusion.process import Process
from taildiff.diffusion.samplers.base import Noise, Predict, coefficients


class Heun:
    """Second order, two network calls per step."""

    def __init__(self, process: Process):
        self.process = process

    def step(
        self, x: Tensor, s: float, s_next: float, predict: Predict, noise: Noise, state: None = None
    ) -> tuple[Tensor, None]:
        """An Euler step, corrected by the slope at its end."""
        (alpha, sigma), (alpha_next, sigma_next) = coefficients(self.process, s), coefficients(self.process, s_next)
        x0 = predict(x, s)
        eps = (x - alpha * x0) / sigma
        x_euler = alpha_next * x0 + sigma_next * eps
        if alpha == 0:
            return x_euler, None
        eps_next = (x_euler - alpha_next * predict(x_euler, s_next)) / sigma_next
        return x_euler + (alpha_next / 2) * (sigma_next / alpha_next - sigma / alpha) * (eps_next - eps), None
