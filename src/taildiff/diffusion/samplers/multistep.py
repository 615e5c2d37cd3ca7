"""DPM-Solver++(2M), its SDE form, and an SDE for flows: second order, one network call per step (Lu et al. 2022).

With lambda = log(alpha/sigma), h = lambda' - lambda > 0 and e the noise of unit variance in x = alpha x0 + sigma e, all
three solve one equation, which redraws e at a rate that leaves the distributions alone (Song et al. 2021; Ma et al.
2024), exactly for a prediction D that is constant over the step:

    x' = alpha' D + sigma' (k e + sqrt(1 - k²) noise),   e = (x - alpha D)/sigma
    D  = x0 + (x0 - x0_previous) h / (2 h_previous)       (Lu et al. 2022, alg. 2: the line through the last two)

    k = 1                               keeps e: the ODE            (DPM-Solver++(2M))
    k = exp(-h) = alpha sigma'/(alpha' sigma)   the reverse SDE of the process  (SDE-DPM-Solver++(2M))
    k = sqrt(sigma'/sigma)              dx = v ds + w/(2 sigma) e ds + sqrt(w) dW with w = sigma dsigma/ds; on the flow
                                        w = sigma, which SiT samples with (Ma et al. 2024)

Where lambda is infinite (alpha = 0: flow at s = 1), the step and the next one have D = x0; with k = exp(-h) = 0 the
noise of x is then redrawn altogether. The last step of every sampler, to sigma = 0, returns the prediction.
"""

from math import inf, isinf, log, sqrt
from typing import Literal

from torch import Tensor

from taildiff.diffusion.process import Process
from taildiff.diffusion.samplers.base import Noise, Predict, coefficients

Predicted = tuple[Tensor, float]
"""The previous prediction (B, C, H, W) and its lambda."""
Redraw = Literal["nothing", "process", "sigma"]
"""k: 1, exp(-h) or sqrt(sigma'/sigma)."""


class Multistep:
    """Extrapolates the predicted image from the last two; `redraw` names the equation."""

    def __init__(self, process: Process, redraw: Redraw = "nothing"):
        self.process, self.redraw = process, redraw

    def step(
        self, x: Tensor, s: float, s_next: float, predict: Predict, noise: Noise, state: Predicted | None = None
    ) -> tuple[Tensor, Predicted]:
        """One step; the state is the prediction at s."""
        (alpha, sigma), (alpha_next, sigma_next) = coefficients(self.process, s), coefficients(self.process, s_next)
        level = log(alpha / sigma) if alpha > 0 else -inf
        x0 = direction = predict(x, s)
        if state is not None and not isinf(state[1]):
            h, h_previous = log(alpha_next / sigma_next) - level, level - state[1]
            direction = x0 + (x0 - state[0]) * (h / (2 * h_previous))
        kept = self._kept(alpha, sigma, alpha_next, sigma_next)
        x_next = alpha_next * direction + (kept * sigma_next / sigma) * (x - alpha * direction)
        if self.redraw != "nothing":
            x_next = x_next + sigma_next * sqrt(max(1 - kept**2, 0.0)) * noise()
        return x_next, (x0, level)

    def _kept(self, alpha: float, sigma: float, alpha_next: float, sigma_next: float) -> float:
        """How much of e stays."""
        if self.redraw == "nothing":
            return 1.0
        return sqrt(sigma_next / sigma) if self.redraw == "sigma" else alpha * sigma_next / (alpha_next * sigma)
