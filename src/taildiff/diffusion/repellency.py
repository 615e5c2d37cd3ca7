"""Repellency (SPELL, Kirchhof et al., ICML 2025): a predicted clean image keeps its distance from given images.

    x0 + sum_k relu(r/|x0 - z_k| - 1) (x0 - z_k)       Euclidean norm; nothing at distance 0

One z_k within r alone moves x0 onto the sphere of radius r around it; where spheres overlap, the shifts add up.
"""

import torch
from torch import Tensor

from taildiff.device import wide


def push(x0: Tensor, z: Tensor, radius: float) -> Tensor:
    """The shift of each image (B, D) away from those of z (K, D) that are nearer than `radius`.

    In float64 where the device has it, because the sum is a difference of two products: w x0 - W z, with weights
    W (B, K) and w their sums.
    """
    x, z = wide(x0), wide(z)
    distance = torch.cdist(x, z)
    weight = torch.where(distance > 0, radius / distance - 1, 0.0).clamp(min=0)
    return (weight.sum(1, keepdim=True) * x - weight @ z).to(x0.dtype)
