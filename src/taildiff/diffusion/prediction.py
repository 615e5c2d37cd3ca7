"""What a network may predict, and how to convert one prediction to another.

With x_s = alpha x0 + sigma eps:

    eps        the noise                                    (DDPM, Ho et al. 2020)
    x0         the clean image
    v          alpha eps - sigma x0                         (Salimans & Ho 2022, eq. in sec. 4)
    velocity   eps - x0 = dx_s/ds on the linear flow        (SiT, Ma et al. 2024, up to sign)

All are linear in (x0, eps), so x_s and any one of them give all the others.
"""

from typing import Literal

from torch import Tensor

Prediction = Literal["eps", "x0", "v", "velocity"]


def target(kind: Prediction, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The exact value of `kind`; all shapes broadcast to (B, C, H, W)."""
    match kind:
        case "eps":
            return eps
        case "x0":
            return x0
        case "v":
            return alpha * eps - sigma * x0
        case "velocity":
            return eps - x0


def to_x0(kind: Prediction, value: Tensor, x_s: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The clean image that a prediction implies; from `eps` it needs alpha > 0."""
    match kind:
        case "eps":
            return (x_s - sigma * value) / alpha
        case "x0":
            return value
        case "v":
            return (alpha * x_s - sigma * value) / (alpha**2 + sigma**2)
        case "velocity":
            return (x_s - sigma * value) / (alpha + sigma)


def to_eps(kind: Prediction, value: Tensor, x_s: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The noise that a prediction implies; from `x0` it needs sigma > 0."""
    match kind:
        case "eps":
            return value
        case "x0":
            return (x_s - alpha * value) / sigma
        case "v":
            return (sigma * x_s + alpha * value) / (alpha**2 + sigma**2)
        case "velocity":
            return (x_s + alpha * value) / (alpha + sigma)


def convert(value: Tensor, source: Prediction, to: Prediction, x_s: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """A prediction of kind `source` as kind `to`; (B, C, H, W), alpha and sigma broadcast.

    Undefined (inf or nan) only where information is missing: from `eps` at alpha = 0, from `x0` at sigma = 0.
    """
    if source == to:
        return value
    x0 = to_x0(source, value, x_s, alpha, sigma)
    if to == "x0":
        return x0
    return target(to, x0, to_eps(source, value, x_s, alpha, sigma), alpha, sigma)
