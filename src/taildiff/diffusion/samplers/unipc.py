"""UniPC of order 2 with data prediction and B(h) = exp(-h) - 1 (Zhao et al. 2023, sec. 3 and app. A).

Between two levels, DPM-Solver++(2M) predicts the next image: UniP-2 with the paper's a = 1/2 is that step. What the
network predicts there, which the next step needs anyway, then corrects it (UniC-2). From x at s to x' at s', with
lambda = log(alpha/sigma), m the predicted clean image at s, m' that at s' and m_0 that of the level before s, and with
h = lambda' - lambda and r = (lambda_0 - lambda)/h < 0:

    x' = sigma'/sigma x - alpha' e (m + a (m_0 - m)/r + a' (m' - m)),   e = exp(-h) - 1
    a + a' = -1/h - 1/e,   r a + a' = (2/h + 2e/h² - 1)/e               (exact for an m that is quadratic in lambda)

One network call per step; between interior levels the error falls as the cube of the step. In the first step, and after
a level with lambda = -infinity (alpha = 0: flow at s = 1), there is no m_0: a = 0 and a' = 1/2. A step from
lambda = -infinity is not corrected, nor is the last image, whose prediction is the result.
"""

from math import expm1, isinf, log
from typing import NamedTuple

from torch import Tensor

from taildiff.diffusion.process import Process
from taildiff.diffusion.samplers.base import Noise, Predict, coefficients
from taildiff.diffusion.samplers.multistep import Multistep, Predicted


class State(NamedTuple):
    """The step before, which the next one corrects."""

    x: Tensor
    """(B, C, H, W), at its start, corrected."""
    sigma: float
    """At its start."""
    prediction: Predicted
    """At its start, with lambda."""
    earlier: Predicted | None
    """At the start of the step before that; None in the first step."""


class UniPC:
    """Predicts the next image as DPM-Solver++(2M), and corrects it by the network's prediction there."""

    def __init__(self, process: Process):
        self.process, self.predictor = process, Multistep(process)

    def step(
        self, x: Tensor, s: float, s_next: float, predict: Predict, noise: Noise, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Correct x, then predict the image at s_next."""
        x0, earlier = predict(x, s), None
        if state is not None:
            x, earlier = self._corrected(x, x0, s, state), state.prediction
        x_next, prediction = self.predictor.step(x, s, s_next, lambda *_: x0, noise, earlier)
        return x_next, State(x, coefficients(self.process, s)[1], prediction, earlier)

    def _corrected(self, x: Tensor, x0: Tensor, s: float, state: State) -> Tensor:
        """x, as the step before would have made it had it known x0."""
        m, level = state.prediction
        if isinf(level):
            return x
        alpha, sigma = coefficients(self.process, s)
        h = log(alpha / sigma) - level
        e = expm1(-h)
        direction = m + (x0 - m) / 2
        if state.earlier is not None and not isinf(state.earlier[1]):
            r = (state.earlier[1] - level) / h
            first, second = -1 / h - 1 / e, (2 / h + 2 * e / h**2 - 1) / e
            a = (first - second) / (1 - r)
            direction = m + (state.earlier[0] - m) * (a / r) + (x0 - m) * (first - a)
        return (sigma / state.sigma) * state.x - alpha * e * direction
