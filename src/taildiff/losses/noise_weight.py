"""Weights by noise level, w(s)^exponent.

noise  w = s        large at high noise, as described in CCUA's text (the default)
clean  w = 1 - s    large near clean images, as in CCUA's released SiT code, which multiplies by SiT's own time
none   w = 1        as in CCUA's main formula for UCL
"""

import torch
from torch import Tensor

from taildiff.errors import SpecError, unknown


def noise_weight(s: Tensor, kind: str = "noise", exponent: float = 1.0) -> Tensor:
    """w(s)^exponent, (B,), for noise levels s (B,) in [0, 1], 0 clean."""
    match kind:
        case "noise":
            return s**exponent
        case "clean":
            return (1 - s) ** exponent
        case "none":
            return torch.ones_like(s)
    raise SpecError(unknown("noise weight", kind, ["noise", "clean", "none"]))
