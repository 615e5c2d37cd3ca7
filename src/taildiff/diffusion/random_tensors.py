"""Random tensors of one stream: from Philox on the CPU (`rng.stream`), from torch's own 64-bit generator on a GPU."""

import numpy as np
import torch
from torch import Tensor

from taildiff.rng import seed_of, stream


class RandomTensors:
    """The random numbers of one purpose at one position (a step, say), as float32 tensors on `device`.

    A GPU draws its own numbers, because copying them from the CPU would stall each step; they differ from the CPU's.
    """

    def __init__(self, seed: int, purpose: str, *position: int, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        if self.device.type == "cpu":
            self._numpy = stream(seed, purpose, *position)
        else:
            self._torch = torch.Generator(self.device).manual_seed(seed_of(seed, purpose, *position))

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1)."""
        if self.device.type == "cpu":
            return torch.from_numpy(self._numpy.random(shape, np.float32))
        return torch.rand(shape, generator=self._torch, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        if self.device.type == "cpu":
            return torch.from_numpy(self._numpy.standard_normal(shape, np.float32))
        return torch.randn(shape, generator=self._torch, device=self.device)

    def integers(self, below: int, n: int) -> Tensor:
        """Uniform in 0..below-1, (n,) int64."""
        if self.device.type == "cpu":
            return torch.from_numpy(self._numpy.integers(below, size=n))
        return torch.randint(below, (n,), generator=self._torch, device=self.device)
