"""Processes from data to noise: x_s = alpha(s) x0 + sigma(s) eps, with s in [0, 1], 0 clean and 1 pure noise.

    DDPM  s = t/T, alpha² = prod_{u<=t} (1 - beta_u), sigma² = 1 - alpha²     (Ho et al. 2020, eq. 4)
    Flow  alpha = 1 - s, sigma = s                                           (Lipman et al. 2023; SiT's linear path)

The whole project uses this convention, whatever a paper's own time is: SiT's time is 1 - s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from taildiff.device import widest
from taildiff.diffusion.prediction import Prediction, target
from taildiff.diffusion.random_tensors import RandomTensors

Times = Sequence[float | None]
"""Noise levels that a sampler visits, falling; None at the end means: return the clean prediction."""


@dataclass(frozen=True)
class Noised:
    """Noisy images and what produced them; images (B, C, H, W), s (B,), alpha and sigma (B, 1, 1, 1)."""

    x_s: Tensor
    s: Tensor
    x0: Tensor
    eps: Tensor
    alpha: Tensor
    sigma: Tensor

    def target(self, kind: Prediction) -> Tensor:
        """The value that a network of this kind is trained to predict, (B, C, H, W)."""
        return target(kind, self.x0, self.eps, self.alpha, self.sigma)


class Process(Protocol):
    """A diffusion process; `prediction` is what its networks are trained to predict."""

    prediction: Prediction

    @property
    def timesteps(self) -> int | None:
        """Noise levels are the multiples of 1/timesteps below 1; None: every s in [0, 1]."""
        ...

    def coefficients(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at noise levels s, each of the shape of s."""
        ...

    def draw(self, n: int, random: RandomTensors) -> Tensor:
        """Noise levels for training, (n,) float32."""
        ...


def noise(process: Process, x0: Tensor, s: Tensor, eps: Tensor) -> Noised:
    """Noisy images x_s and everything needed for any target; x0 and eps (B, C, H, W), s (B,)."""
    alpha, sigma = (c.to(x0.dtype).view(-1, *[1] * (x0.ndim - 1)) for c in process.coefficients(s))
    return Noised(alpha * x0 + sigma * eps, s, x0, eps, alpha, sigma)


class DDPM:
    """The DDPM grid; s is always a multiple of 1/T in [0, 1 - 1/T], and even s = 0 carries sigma = sqrt(beta_0)."""

    prediction: Prediction = "eps"

    def __init__(self, timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02):
        self.timesteps = timesteps
        beta = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
        self.alpha_bar = torch.cumprod(1 - beta, 0)  # (T,)
        self._copies: dict[torch.device, Tensor] = {}

    def index(self, s: Tensor) -> Tensor:
        """The integer t of a noise level; rounding, because truncation is wrong for some s in float32."""
        return (s * self.timesteps).round().long().clamp(0, self.timesteps - 1)

    def coefficients(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) in float64, or the widest type that the device has."""
        alpha_bar = self._table(s.device)[self.index(s)]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def _table(self, device: torch.device) -> Tensor:
        """The table on a device, copied once: a copy in every step would stall each step."""
        if device == self.alpha_bar.device:
            return self.alpha_bar
        if device not in self._copies:
            self._copies[device] = self.alpha_bar.to(device, widest(device))
        return self._copies[device]

    def draw(self, n: int, random: RandomTensors) -> Tensor:
        """Uniform over the grid."""
        return random.integers(self.timesteps, n).float() / self.timesteps


class Flow:
    """The linear path of flow matching."""

    prediction: Prediction = "velocity"
    timesteps = None

    def __init__(self, times: str = "uniform"):
        self._logit_normal = {"uniform": False, "logit-normal": True}[times]

    def coefficients(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """(1 - s, s)."""
        return 1 - s, s

    def draw(self, n: int, random: RandomTensors) -> Tensor:
        """S ~ U[0, 1) (SiT's default), or logit-normal: sigmoid of N(0, 1) (Esser et al. 2024, sec. 3.1)."""
        if self._logit_normal:
            return random.normal(n).sigmoid()
        return random.uniform(n)
