"""What the checks share."""

from collections.abc import Callable

import torch
from torch import Tensor

from taildiff.models.denoiser import Denoiser


def require(condition: object, message: str) -> None:
    """`AssertionError` with this message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def close(value: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Equal up to this multiple of the largest expected value."""
    if value.shape != expected.shape:
        return False
    return bool((value - expected).abs().max() <= tolerance * expected.abs().max())


def trained(make: Callable[[], Denoiser]) -> Denoiser:
    """In evaluation mode, with weights away from their start, where parts may be zero by design."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make()
        for p in network.parameters():
            if p.requires_grad:
                p.data.add_(0.05 * torch.randn_like(p))
    require(isinstance(network, Denoiser), f"{type(network).__name__} must be a taildiff.models.denoiser.Denoiser")
    return network.eval()


def raises(error: type[Exception], call: Callable[[], object]) -> str:
    """The message of the error that a call raises; empty without one."""
    try:
        call()
    except error as raised:
        return str(raised)
    return ""
