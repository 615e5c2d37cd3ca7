"""From noise to images: step rules that know the process only through (alpha, sigma), and the loop over them.

With x0 the predicted clean image at s and eps = (x - alpha x0)/sigma, primes at s':

    DDIM       x' = alpha' x0 + sigma' eps                                                  (Song et al. 2021, eq. 12)
    ancestral  x' = alpha' x0 + sqrt(sigma'² - eta²) eps + eta z,
               eta = sigma'/sigma sqrt(sigma² - (alpha/alpha')² sigma'²)                    (ibid., eta of eq. 16; DDPM)
    Euler      of d(x/alpha)/d(sigma/alpha) = eps: the same as DDIM on every process        (Karras et al. 2022)
    Heun       the same equation, with the mean of eps at both ends                         (ibid., alg. 1)

Where alpha = 0 (flow at s = 1) the variables of Heun's equation are infinite; its first step is then Euler's.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from taildiff.diffusion.guidance import Network
from taildiff.diffusion.path import Path, Times
from taildiff.diffusion.prediction import to_x0

Predict = Callable[[Tensor, float], Tensor]
"""(x (B, C, H, W), s) -> clean image (B, C, H, W)."""
Noise = Callable[[], Tensor]
"""-> fresh standard normal noise (B, C, H, W)."""


class Sampler(Protocol):
    """One step from noise level s to s_next < s."""

    def step(self, x: Tensor, s: float, s_next: float, predict: Predict, noise: Noise) -> Tensor:
        """The image at s_next, (B, C, H, W)."""
        ...


def _at(path: Path, s: float) -> tuple[float, float]:
    alpha, sigma = path.coefficients(torch.tensor(s, dtype=torch.float64))
    return float(alpha), float(sigma)


class Deterministic:
    """DDIM, which is Euler's method."""

    def __init__(self, path: Path):
        self.path = path

    def step(self, x: Tensor, s: float, s_next: float, predict: Predict, noise: Noise) -> Tensor:
        """Keep the predicted noise, at the new level."""
        (alpha, sigma), (alpha_next, sigma_next) = _at(self.path, s), _at(self.path, s_next)
        x0 = predict(x, s)
        return alpha_next * x0 + sigma_next * (x - alpha * x0) / sigma


class Ancestral:
    """DDPM's own steps: part of the noise is drawn anew, with the variance of the exact posterior."""

    def __init__(self, path: Path):
        self.path = path

    def step(self, x: Tensor, s: float, s_next: float, predict: Predict, noise: Noise) -> Tensor:
        """Draw from q(x_next | x, x0 = prediction)."""
        (alpha, sigma), (alpha_next, sigma_next) = _at(self.path, s), _at(self.path, s_next)
        x0 = predict(x, s)
        eta2 = (sigma_next / sigma) ** 2 * max(sigma**2 - (alpha / alpha_next * sigma_next) ** 2, 0.0)
        kept = max(sigma_next**2 - eta2, 0.0) ** 0.5
        return alpha_next * x0 + kept * (x - alpha * x0) / sigma + eta2**0.5 * noise()


class Heun:
    """Second order, two network calls a step."""

    def __init__(self, path: Path):
        self.path = path

    def step(self, x: Tensor, s: float, s_next: float, predict: Predict, noise: Noise) -> Tensor:
        """Euler's step, corrected by the slope where it arrives."""
        (alpha, sigma), (alpha_next, sigma_next) = _at(self.path, s), _at(self.path, s_next)
        x0 = predict(x, s)
        eps = (x - alpha * x0) / sigma
        x_euler = alpha_next * x0 + sigma_next * eps
        if alpha == 0:
            return x_euler
        eps_next = (x_euler - alpha_next * predict(x_euler, s_next)) / sigma_next
        return x_euler + (alpha_next / 2) * (sigma_next / alpha_next - sigma / alpha) * (eps_next - eps)


def predictor(network: Network, path: Path, y: Tensor, clip: bool) -> Predict:
    """The clean image that `network` sees, for labels y (B,); `clip` keeps it in [-1, 1] (right for pixels only)."""

    def predict(x: Tensor, s: float) -> Tensor:
        level = torch.full((len(x),), s, dtype=torch.float32, device=x.device)
        alpha, sigma = (c.to(x.dtype).view(-1, *[1] * (x.ndim - 1)) for c in path.coefficients(level))
        x0 = to_x0(path.prediction, network(x, level, y), x, alpha, sigma)
        return x0.clamp(-1, 1) if clip else x0

    return predict


def trajectory(sampler: Sampler, times: Times, predict: Predict, noise: Noise) -> Iterator[Tensor]:
    """The images after each step, (B, C, H, W), the first from pure noise; the last is the result."""
    x = noise()
    for s, s_next in pairwise(times):
        assert s is not None
        x = predict(x, s) if s_next is None else sampler.step(x, s, s_next, predict, noise)
        yield x


class ImageNoise:
    """Each image's own noise, so that no image depends on which others are in the batch.

    `seeds`: one an image; noise is drawn on the CPU, so that it is the same on every device.
    """

    def __init__(self, seeds: Sequence[int], shape: tuple[int, ...], device: torch.device | str = "cpu"):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.shape, self.device = shape, device

    def __call__(self) -> Tensor:
        """The next noise of every image, (B, *shape)."""
        return torch.stack([torch.randn(self.shape, generator=g) for g in self.generators]).to(self.device)
