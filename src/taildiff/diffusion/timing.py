"""How training draws noise levels s in (0, 1); (n,) float32 on the generator's device.

uniform        s ~ U[0, 1)                              (SiT's default)
logit-normal   s = sigmoid(n), n ~ N(0, 1)              (Esser et al. 2024, sec. 3.1)
"""

import torch
from torch import Tensor


def uniform(n: int, generator: torch.Generator) -> Tensor:
    """Uniform noise levels."""
    return torch.rand(n, generator=generator, device=generator.device)


def logit_normal(n: int, generator: torch.Generator) -> Tensor:
    """More often in the middle, where learning is hardest."""
    return torch.randn(n, generator=generator, device=generator.device).sigmoid()
