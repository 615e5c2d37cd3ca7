"""How much of the data's spread a sampler keeps, exactly."""

from collections.abc import Callable

import torch
from torch import Tensor

from taildiff import build
from taildiff.diffusion.process import Process
from taildiff.diffusion.samplers.base import predictor, trajectory
from taildiff.errors import InputError
from taildiff.spec import SamplingSpec
from taildiff.spec.process import DDPMSpec, FlowSpec
from taildiff.testing.base import require
from taildiff.testing.samplers import exact_gaussian


def gaussian_spread(sampling: SamplingSpec, process: Process | DDPMSpec | FlowSpec, variance: float) -> float:
    """The standard deviation of samples of N(0, variance), made with the exact denoiser, as a share of the data's.

    1 is right; below it samples lose variety. Every sampler is linear in the noise that it draws, so the variance of a
    result is the sum of the squares of its coefficients. Image i of one batch takes 1 for the i-th noise and 0 for all
    others; the sampler's own steps then return coefficient i, in float64. Nothing is drawn or clipped.

    Raises `InputError` for a variance that is not positive, or a spacing or number of steps that the process lacks;
    `AssertionError` for a sampler that is not linear.
    """
    if not 0 < variance < float("inf"):
        raise InputError(f"variance must be positive and finite, not {variance:g}")
    if isinstance(process, DDPMSpec | FlowSpec):
        process = build.process(process)
    drawn: list[None] = []

    def nothing() -> Tensor:
        drawn.append(None)
        return torch.zeros(1, 1, 1, 1, dtype=torch.float64)

    offset = _result(sampling, process, variance, 1, nothing)
    require(not offset.any(), f"{sampling.sampler} makes something of no noise, for data of mean 0")
    unit = iter(torch.eye(len(drawn), dtype=torch.float64).view(len(drawn), -1, 1, 1, 1))
    coefficients = _result(sampling, process, variance, len(drawn), lambda: next(unit))
    return float((coefficients.square().sum() / variance).sqrt())


def _result(sampling: SamplingSpec, process: Process, variance: float, n: int, noise: Callable[[], Tensor]) -> Tensor:
    """The last of a trajectory of n images of one pixel, (n, 1, 1, 1) float64."""
    network = exact_gaussian(process, torch.zeros_like, variance)
    predict = predictor(network, process, torch.zeros(n), clip=False)
    *_, x = trajectory(build.sampler(sampling, process), build.times(sampling, process), predict, noise)
    return x
