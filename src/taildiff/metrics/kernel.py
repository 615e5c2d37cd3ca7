"""Kernel distance (Bińkowski et al. 2018): unbiased MMD^2 with the kernel `(x·y/D + 1)^3`, mean over random subsets.

Unlike the Fréchet distance it is unbiased for any n, so it suits small groups; it may fall below 0. It is called KID
only on features of FID's Inception network.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from taildiff.errors import InputError
from taildiff.metrics.points import Features, pair
from taildiff.rng import stream


def kernel_distance(real: Features, generated: Features, subsets: int = 100, size: int = 1000, seed: int = 0) -> float:
    """Unbiased MMD^2 of real (N, D) and generated (M, D) features: the mean over `subsets` draws of `size` of each.

    At most min(N, M) are drawn, without replacement; the value is deterministic if that is all of both.
    Memory: a few times size^2 numbers.
    """
    a, b = pair(real, generated, at_least=2)
    if subsets < 1 or size < 2:
        raise InputError(f"give at least 1 subset of at least 2 points, got {subsets} of {size}")
    size = min(size, len(a), len(b))
    if size == len(a) == len(b):
        return _mmd2(a, b)
    rng = stream(seed, "evaluation/kernel distance")
    draws = ((rng.choice(len(a), size, replace=False), rng.choice(len(b), size, replace=False)) for _ in range(subsets))
    return float(np.mean([_mmd2(a[i], b[j]) for i, j in draws]))


def _mmd2(real: NDArray[Any], generated: NDArray[Any]) -> float:
    x, y = real.astype(np.float64), generated.astype(np.float64)
    return _mean_of_others(_kernel(x, x)) + _mean_of_others(_kernel(y, y)) - 2 * float(_kernel(x, y).mean())


def _kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    base = x @ y.T / x.shape[1] + 1
    return base * base * base  # several times faster than a power


def _mean_of_others(kernel: NDArray[np.float64]) -> float:
    """Mean off the diagonal, which makes the estimate unbiased."""
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))
