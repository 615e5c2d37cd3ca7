"""The sampler protocol, and the loop that runs a sampler."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from taildiff.diffusion.guidance import Network
from taildiff.diffusion.prediction import to_x0
from taildiff.diffusion.process import Process, Times

Predict = Callable[[Tensor, float], Tensor]
"""(x (B, C, H, W), s) -> clean image (B, C, H, W)."""
Noise = Callable[[], Tensor]
"""-> fresh standard normal noise (B, C, H, W)."""


State = Any
"""What a sampler carries from step to step, such as earlier predictions; None before the first step."""


class Sampler(Protocol):
    """One step from noise level s to s_next < s."""

    def step(
        self, x: Tensor, s: float, s_next: float, predict: Predict, noise: Noise, state: State
    ) -> tuple[Tensor, State]:
        """The image at s_next, (B, C, H, W), and the state for the next step."""
        ...


def coefficients(process: Process, s: float) -> tuple[float, float]:
    """(alpha, sigma) at one noise level, computed in float64."""
    alpha, sigma = process.coefficients(torch.tensor(s, dtype=torch.float64))
    return float(alpha), float(sigma)


def predictor(network: Network, process: Process, y: Tensor, clip: bool) -> Predict:
    """The clean image that `network` predicts for labels y (B,); `clip` keeps it in [-1, 1] (for pixels only)."""

    def predict(x: Tensor, s: float) -> Tensor:
        level = torch.full((len(x),), s, dtype=torch.float32, device=x.device)
        alpha, sigma = (c.to(x.dtype).view(-1, *[1] * (x.ndim - 1)) for c in process.coefficients(level))
        x0 = to_x0(process.prediction, network(x, level, y), x, alpha, sigma)
        return x0.clamp(-1, 1) if clip else x0

    return predict


def trajectory(sampler: Sampler, times: Times, predict: Predict, noise: Noise) -> Iterator[Tensor]:
    """The images after each step, (B, C, H, W), the first from pure noise; the last is the result."""
    x, state = noise(), None
    for s, s_next in pairwise(times):
        assert s is not None
        if s_next is None:
            x = predict(x, s)
        else:
            x, state = sampler.step(x, s, s_next, predict, noise, state)
        yield x


class ImageNoise:
    """One noise stream per image (`rng.stream`), so that no image depends on the others in its batch.

    Noise is drawn on the CPU, so it is the same on every device.
    """

    def __init__(
        self, streams: Sequence[np.random.Generator], shape: tuple[int, ...], device: torch.device | str = "cpu"
    ):
        self.streams, self.shape, self.device = streams, shape, device

    def __call__(self) -> Tensor:
        """The next noise for every image, (B, *shape)."""
        noise = np.stack([each.standard_normal(self.shape, np.float32) for each in self.streams])
        return torch.from_numpy(noise).to(self.device)
