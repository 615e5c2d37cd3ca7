"""Fréchet distance between two Gaussians (Heusel et al. 2017), float64.

    |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2)

With factors `S1 = A^T A`, `S2 = B^T B`, the trace of the root is the sum of the singular values of `A B^T`: no general
matrix root, no complex numbers. A factor of few points (n <= D) is the centred points themselves, so that `A B^T` is
(n, m) and no (D, D) covariance is built; otherwise it is the covariance's Cholesky factor, or its symmetric root if it
is singular. Singular values are roots of the eigenvalues of `A B^T B A^T`, which is several times faster, except for
(nearly) singular products, where squaring would lose digits.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from taildiff.errors import InputError
from taildiff.metrics.points import Features, Floats, pair, points

_CHUNK = 4096
_SINGULAR = 1e-12  # rounding at 1e-16 of the largest square is 1e-10 of the largest singular value in a root above this


@dataclass(frozen=True)
class GaussianStatistics:
    """Mean and covariance of a set of features."""

    mean: Floats
    """(D,)"""
    cov: Floats
    """(D, D), unbiased."""
    n: int
    """Number of points."""

    @classmethod
    def of(cls, features: Features) -> Self:
        """Mean and unbiased covariance of at least two points, in float64."""
        array = points(features, "features")
        if len(array) < 2:
            raise InputError(f"a covariance needs at least 2 points, got {len(array)}")
        mean = array.mean(axis=0, dtype=np.float64)
        return cls(mean, _covariance(array, mean), len(array))


def frechet_distance(real: Features, generated: Features) -> float:
    """Fréchet distance between Gaussians fitted to real (N, D) and generated (M, D) features.

    Biased upwards for few points: compare only values with equal N and M, and use more points than dimensions.
    """
    return _distance(*(_fit(array) for array in pair(real, generated, at_least=2)))


def frechet_from_statistics(first: GaussianStatistics, second: GaussianStatistics) -> float:
    """Fréchet distance between two Gaussians; a rounding error below 0 becomes 0."""
    if first.mean.shape != second.mean.shape:
        raise InputError(f"features have different dimensions: {len(first.mean)} and {len(second.mean)}")
    return _distance(*(_Fit(each.mean, float(np.trace(each.cov)), _factor(each.cov)) for each in (first, second)))


@dataclass(frozen=True)
class _Fit:
    mean: Floats
    variance: float  # the covariance's trace
    factor: Floats  # (r, D); factor^T factor is the covariance


def _distance(first: _Fit, second: _Fit) -> float:
    trace_of_root = _sum_of_singular_values(first.factor @ second.factor.T)
    shift = first.mean - second.mean
    return max(0.0, float(shift @ shift + first.variance + second.variance - 2 * trace_of_root))


def _sum_of_singular_values(product: Floats) -> float:
    if product.shape[0] == product.shape[1]:
        squares = np.linalg.eigvalsh(product @ product.T)
        if squares[0] > _SINGULAR * squares[-1]:
            return float(np.sqrt(squares).sum())
    return float(np.linalg.svd(product, compute_uv=False).sum())


def _fit(array: NDArray[Any]) -> _Fit:
    n, dim = array.shape
    mean = array.mean(axis=0, dtype=np.float64)
    if n <= dim:
        factor = (array - mean) / np.sqrt(n - 1)
        return _Fit(mean, float((factor**2).sum()), factor)
    cov = _covariance(array, mean)
    return _Fit(mean, float(np.trace(cov)), _factor(cov))


def _covariance(array: NDArray[Any], mean: Floats) -> Floats:
    total = np.zeros((len(mean), len(mean)))
    for start in range(0, len(array), _CHUNK):
        centred = array[start : start + _CHUNK] - mean
        total += centred.T @ centred
    return total / (len(array) - 1)


def _factor(cov: Floats) -> Floats:
    try:
        lower = np.asarray(np.linalg.cholesky(cov), dtype=np.float64)
    except np.linalg.LinAlgError:  # singular: fewer points than dimensions, or dependent features
        variances, axes = np.linalg.eigh(cov)
        return np.sqrt(variances.clip(min=0))[:, None] * axes.T
    return lower.T
