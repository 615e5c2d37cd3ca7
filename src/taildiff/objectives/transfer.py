"""OC / T2H, the target rule of overlap-controlled transfer (ICLR 2024); see `losses/target_transfer.py`.

It changes the network's target: the noise (or velocity) that leads to the same noisy image from another image of the
batch. It works with every term and every process; sigma/alpha is sqrt(1/alpha_bar - 1) for DDPM and s/(1 - s) for
flow, where s is clamped to [1e-3, 1 - 1e-3] for the weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from taildiff.diffusion.process import Process
from taildiff.losses.pairwise import gathered
from taildiff.losses.target_transfer import transfer_index, transfer_target, transfer_weights
from taildiff.objectives.objective import Step, Target

EDGE = 1e-3


class Transfer(Target):
    """Draws another image of the batch as the origin of each noisy image, by its posterior weight."""

    uniforms = ("transfer",)
    frequency: Tensor

    def __init__(
        self,
        process: Process,
        counts: Sequence[int],
        mode: str,
        below: float = 1.0,
        power: float = 0.0,
        gather: bool = True,
    ):
        """`counts`: training images of each class; `below`: the highest noise level at which targets change; `power`:
        the frequency variant, which multiplies the weights by p_j^power and accepts every draw.
        """
        super().__init__(process)
        self.mode, self.below, self.power, self.gather = ("full" if power else mode), below, power, gather
        frequency = torch.tensor(counts, dtype=torch.float64)
        self.register_buffer("frequency", (frequency / frequency.sum()).float(), persistent=False)

    def forward(self, step: Step) -> Tensor:
        """(B, C, H, W)."""
        noised, y = step.noised, step.batch.y
        images, labels, first = noised.x0, y, 0
        if self.gather:
            (images, first), (labels, _) = gathered(noised.x0), gathered(y)
        own = torch.arange(len(y), device=y.device) + first
        alpha, sigma = (c.flatten() for c in (noised.alpha, noised.sigma))
        ratio = sigma.clamp(min=EDGE) / alpha.clamp(min=EDGE)
        prior = self.frequency[labels] ** self.power if self.power else None
        weights = transfer_weights(noised.x0, noised.eps, ratio, images, prior)
        index = transfer_index(weights, step.uniform("transfer"), labels, self.frequency, self.mode, own)
        index = torch.where(step.draws.s <= self.below, index, own)
        eps = transfer_target(noised.x_s, images, index, noised.alpha, noised.sigma, noised.eps, own)
        return eps if self.process.prediction == "eps" else eps - images[index]
