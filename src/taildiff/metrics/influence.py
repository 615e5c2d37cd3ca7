"""First-order influence of each image on a value; `intervals.Resampling` turns it into replicates.

- A share (accuracy, precision, recall, coverage): 1 for an image that counts, else 0.
- The other side of a share of neighbourhoods: the counted images that depend on this one alone. A generated image
  contributes to recall the share of real ones that only its ball reaches, to coverage the share of real balls that only
  it enters; a real image contributes to precision the share of generated ones that only its ball holds. The radii stay
  fixed.
- Density: the balls around a generated image, and the generated images in the ball of a real one, over k.
- Fréchet distance F of N(m, S) real and N(n, U) generated, T the optimal map from U to S:
  dF = 2 (n - m)·dn + tr((I - T) dU), so a generated x, y = x - n, contributes 2 (n - m)·y + y'(I - T)y; real ones
  likewise, with the roles swapped. T = S^1/2 (S^1/2 U S^1/2)^-1/2 S^1/2.
- Kernel distance (unbiased MMD²): 2 (mean kernel to the other generated images - mean kernel to the real ones).

Source: infinitesimal jackknife (Jaeckel 1972; Efron 1982). Near F = 0 the expansion no longer
holds: the interval then shows the spread of these images, not the bias of the distance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taildiff.metrics.frechet import GaussianStatistics
from taildiff.metrics.neighbours import Neighbourhoods
from taildiff.metrics.points import Floats

Fits = tuple[GaussianStatistics, GaussianStatistics]
_SINGULAR = 1e-10  # relative to the largest variance


@dataclass(frozen=True)
class Contributions:
    """Influence of the real (N,) and generated (M,) images, each with mean 0."""

    real: Floats
    generated: Floats


def of_share(counted: NDArray[np.bool_] | Floats) -> Floats:
    """Influence (N,) on the mean of `counted` (N,)."""
    values = np.asarray(counted, dtype=np.float64)
    return values - values.mean()


def of_precision(near: Neighbourhoods) -> Contributions:
    """Influence on the precision."""
    return Contributions(_alone(near.holds_alone, near.balls), of_share(near.balls > 0))


def of_recall(near: Neighbourhoods) -> Contributions:
    """Influence on the recall."""
    return Contributions(of_share(near.reached), _alone(near.reaches_alone, near.reached))


def of_density(near: Neighbourhoods) -> Contributions:
    """Influence on the density."""
    each = len(near.entered) / (near.k * len(near.balls))
    return Contributions(of_share(near.entered.astype(np.float64) * each), of_share(near.balls / near.k))


def of_coverage(near: Neighbourhoods) -> Contributions:
    """Influence on the coverage."""
    return Contributions(of_share(near.covered), _alone(near.enters_alone, near.covered))


def of_frechet(real: NDArray[np.float32], generated: NDArray[np.float32], fits: Fits | None = None) -> Contributions:
    """Influence on the Fréchet distance of real (N, D) and generated (M, D); each needs more images than dimensions.

    `fits` are the Gaussians of the two, where they are known.
    """
    a, b = fits or (GaussianStatistics.of(real), GaussianStatistics.of(generated))
    root, inverse_root = _roots(a.cov)
    middle, inverse_middle = _roots(root @ b.cov @ root)
    shift = b.mean - a.mean
    to_real = root @ inverse_middle @ root
    to_generated = inverse_root @ middle @ inverse_root
    return Contributions(_quadratic(real, a, -shift, to_generated), _quadratic(generated, b, shift, to_real))


def of_kernel(real: Floats, real_cross: Floats, generated: Floats, generated_cross: Floats) -> Contributions:
    """Influence on the unbiased MMD² of real (N,) and generated (M,) images.

    Each is given by its mean kernel to the others of its side and to those of the other side (`kernel.kernel_sums`).
    """
    return Contributions(2 * of_share(real - real_cross), 2 * of_share(generated - generated_cross))


def _alone(dependent: NDArray[np.int64], counted: NDArray[np.bool_] | NDArray[np.int64]) -> Floats:
    """Influence (M,) on a share of `counted` (N,) of points that `dependent` (M,) of them depend on alone."""
    return of_share(dependent.astype(np.float64) * (len(dependent) / len(counted)))


def _quadratic(features: NDArray[np.float32], fit: GaussianStatistics, shift: Floats, transport: Floats) -> Floats:
    y = features.astype(np.float64) - fit.mean
    gradient = np.eye(len(transport)) - transport
    return of_share(2 * (y @ shift) + np.einsum("nd,nd->n", y @ gradient, y))


def _roots(matrix: Floats) -> tuple[Floats, Floats]:
    """Square roots of a positive semidefinite matrix and of its pseudo-inverse."""
    values, axes = np.linalg.eigh((matrix + matrix.T) / 2)
    nonzero = values > _SINGULAR * max(float(values[-1]), 0.0)
    root = np.sqrt(np.where(nonzero, values, 0.0))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=nonzero)
    return (axes * root) @ axes.T, (axes * inverse) @ axes.T
