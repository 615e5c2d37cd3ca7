"""Noise levels that a sampler visits, falling: n levels from pure noise down, then the clean prediction (None).

With u = 1 - i/n for i = 0 .. n-1, and DDPM's level s = t/T rounded to integers t:

    power   flow s = u^p,  DDPM t = T u^p - 1        (uniform: p = 1)
    karras  (sigma/alpha)^(1/rho) evenly spaced      (Karras et al. 2022, eq. 5)
    logsnr  log(alpha²/sigma²) evenly spaced         (Lu et al. 2022, DPM-Solver)
    grid    t = floor(i T/n), then t = 0 once more   (the DDIM of the CCUA release)

The data's spread survives only if the last levels lie well below its own deviation: `taildiff.testing.gaussian_spread`.
"""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from taildiff.diffusion.process import Process, Times
from taildiff.errors import InputError

FLOW_ENDS = 0.01, 0.99
"""Where `karras` and `logsnr` end on a continuous process, whose sigma/alpha runs from 0 to infinity. At 0.01 it is
that of DDPM at t = 0; the first level is pure noise all the same."""


def power(process: Process, steps: int, exponent: float) -> Times:
    """Evenly spaced in s^(1/exponent): the larger the exponent, the more levels near the clean image; 1 is uniform."""
    left = range(_checked(process, steps), 0, -1)
    if process.timesteps is None:
        return _continuous([(i / steps) ** exponent for i in left])
    T = process.timesteps
    return _on_grid([round(T * i / steps * (i / steps) ** (exponent - 1)) - 1 for i in left], T)


def karras(process: Process, steps: int, rho: float) -> Times:
    """Evenly spaced in (sigma/alpha)^(1/rho)."""
    ratio, s = _ratios(process)
    first, last = np.exp(ratio[-1] / rho), np.exp(ratio[0] / rho)
    return _interior(process, rho * np.log(np.linspace(first, last, _checked(process, steps))), ratio, s)


def logsnr(process: Process, steps: int) -> Times:
    """Evenly spaced in log(alpha²/sigma²)."""
    ratio, s = _ratios(process)
    return _interior(process, np.linspace(ratio[-1], ratio[0], _checked(process, steps)), ratio, s)


def grid(process: Process, steps: int) -> Times:
    """Evenly spaced integers t from below T down to 0; ends with a step from t = 0 to t = 0, which does nothing.

    Raises `InputError` on a process without integer timesteps.
    """
    T = process.timesteps
    if T is None:
        raise InputError("spacing grid needs integer timesteps, which a flow does not have; choose uniform or power")
    return [*(i * T // steps / T for i in reversed(range(_checked(process, steps)))), 0.0]


def _checked(process: Process, steps: int) -> int:
    """`steps`, where the process has so many levels."""
    T = process.timesteps
    if T is not None and not 1 <= steps <= T:
        raise InputError(f"sampling steps must be 1..{T}, the number of steps of this DDPM process, not {steps}")
    if steps < 1:
        raise InputError(f"sampling steps must be at least 1, not {steps}")
    return steps


def _ratios(process: Process) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """log(sigma/alpha) and the noise levels s that have it, both rising, (N,)."""
    T = process.timesteps
    s = torch.linspace(*FLOW_ENDS, 100_001, dtype=torch.float64) if T is None else torch.arange(T).double() / T
    alpha, sigma = process.coefficients(s)
    return (sigma / alpha).log().numpy(), s.numpy()


def _interior(
    process: Process, wanted: NDArray[np.float64], ratio: NDArray[np.float64], s: NDArray[np.float64]
) -> Times:
    """The levels with these log(sigma/alpha), the first replaced by pure noise."""
    levels: list[float] = np.interp(wanted, ratio, s).tolist()
    if process.timesteps is None:
        return _continuous([1.0, *levels[1:]])
    return _on_grid([round(level * process.timesteps) for level in levels], process.timesteps)


def _continuous(s: list[float]) -> Times:
    """Falling levels; `InputError` where two of them are one in float32, which the network and its noise see."""
    if any(a <= b for a, b in pairwise(np.array([*s, 0], np.float32).tolist())):
        raise InputError(f"{len(s)} sampling steps of this spacing repeat noise levels; take fewer or a lower exponent")
    return [*s, None]


def _on_grid(t: list[int], T: int) -> Times:
    """Falling timesteps as levels; those that coincide move to the nearest free ones, which exist for up to T."""
    t[0] = min(t[0], T - 1)
    for i in range(1, len(t)):
        t[i] = min(t[i], t[i - 1] - 1)
    t[-1] = max(t[-1], 0)
    for i in reversed(range(len(t) - 1)):
        t[i] = max(t[i], t[i + 1] + 1)
    return [*(each / T for each in t), None]
