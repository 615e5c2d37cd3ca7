"""Overlap-controlled transfer, T2H (OC: "Long-tailed diffusion models with oriented calibration", ICLR 2024).

The regression target of a noisy image becomes that of another clean image of the batch that could also have led to it.
With x_s = alpha x0 + sigma eps and x̃ = x_s/alpha = x0 + (sigma/alpha) eps:

    w_ij ∝ exp(-|x̃_i - x_j|² / (2 (sigma_i/alpha_i)²))      |.|² the sum over elements
    draw j from w_i; keep it if its class is at least as frequent (t2h), at most as frequent (h2t), always (full)
    eps* = (x_s,i - alpha_i x_j)/sigma_i

References j are the batch itself or any set that contains it; `own` (B,) is the index of each sample in that set.
"""

import torch
from torch import Tensor

from taildiff.errors import InputError, SpecError, unknown
from taildiff.losses.pairwise import full_precision, squared_distances

MODES = ("t2h", "h2t", "full")


def transfer_weights(
    x0: Tensor,
    noise: Tensor,
    sigma: Tensor,
    references: Tensor | None = None,
    prior: Tensor | None = None,
) -> Tensor:
    """Rows w_i that sum to 1, (B, M), for clean images x0 and their noise (B, ...).

    sigma (B,) or (B, 1, ...) is the noise of x̃, that is, sigma/alpha of the process: sqrt(1/alpha_bar - 1) for DDPM,
    s/(1 - s) for flow matching; above 0. `references` (M, ...) are the batch by default. `prior` (M,) multiplies the
    weights: frequency[labels]**power is the paper's frequency variant, drawn with mode `full`. No (B, M, D) tensor.
    """
    clean = full_precision(x0).flatten(1)
    scale = sigma.to(clean.dtype).reshape(len(clean), 1)
    noisy = clean + scale * noise.to(clean.dtype).flatten(1)
    others = clean if references is None else references.to(clean.dtype).flatten(1)
    logits = -squared_distances(noisy, others) / (2 * scale.square())
    if prior is not None:
        logits = logits + prior.to(logits.dtype).log()
    return logits.softmax(1)


def transfer_index(
    weights: Tensor,
    u: Tensor,
    labels: Tensor,
    frequency: Tensor,
    mode: str = "t2h",
    own: Tensor | None = None,
) -> Tensor:
    """The index (B,) of the reference that gives each sample its target; its own index where the draw is rejected.

    weights (B, M); u (B,) uniform in [0, 1) draws by the inverse of the row's cumulative sum; labels (M,) of the
    references; frequency (C,) of the classes, counts or shares; mode `t2h`, `h2t` or `full`.
    """
    own = _own(len(weights), own, weights)
    cumulative = weights.cumsum(1)
    total = cumulative[:, -1:]
    drawn = (cumulative <= u.to(weights.dtype)[:, None] * total).sum(1)
    drawn = drawn.minimum((cumulative < total).sum(1))  # u rounded up to 1 must not draw a reference of weight 0
    frequency_own, frequency_drawn = frequency[labels[own]], frequency[labels[drawn]]
    match mode:
        case "t2h":
            return torch.where(frequency_drawn >= frequency_own, drawn, own)
        case "h2t":
            return torch.where(frequency_drawn <= frequency_own, drawn, own)
        case "full":
            return drawn
    raise SpecError(unknown("transfer mode", mode, MODES))


def transfer_target(
    x_s: Tensor,
    x0: Tensor,
    index: Tensor,
    alpha: Tensor,
    sigma: Tensor,
    eps: Tensor | None = None,
    own: Tensor | None = None,
) -> Tensor:
    """The noise eps* = (x_s - alpha x0[index])/sigma that leads from the chosen references to the noisy images.

    x_s (B, ...), x0 (M, ...) the references, index (B,), alpha and sigma (B,) or (B, 1, ...) of the process. With the
    true noise `eps` of x_s it is computed as eps + alpha (x0[own] - x0[index])/sigma: equal, and exactly eps where a
    sample keeps its own target. A velocity network is trained on eps* - x0[index]. Returns (B, ...).
    """
    shape = (-1, *[1] * (x_s.ndim - 1))
    alpha, sigma = alpha.to(x_s.dtype).reshape(shape), sigma.to(x_s.dtype).reshape(shape)
    if eps is None:
        return (x_s - alpha * x0[index]) / sigma
    own = _own(len(x_s), own, x_s)
    # at sigma 0 only copies can be drawn: this gives 0/tiny instead of 0/0
    return eps + alpha * (x0[own] - x0[index]) / sigma.clamp(min=torch.finfo(x_s.dtype).tiny)


def _own(n: int, own: Tensor | None, like: Tensor) -> Tensor:
    """The index of each sample among the references; by default the first n."""
    if own is None:
        return torch.arange(n, device=like.device)
    if own.shape != (n,):
        raise InputError(
            f"own has shape {tuple(own.shape)}, not ({n},): give the index of each sample among the references"
        )
    return own
