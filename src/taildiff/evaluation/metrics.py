"""Metrics on features: pure functions of (N, D) real and (M, D) generated features, numpy or torch in, floats out.

- Fréchet distance of the two Gaussians (Heusel et al. 2017), float64:
  `|mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2)`, where the trace of the root is the sum of the square roots of the
  eigenvalues of the symmetric `S1^1/2 S2 S1^1/2`: no general matrix root, no complex numbers.
- Improved precision and recall (Kynkäänniemi et al. 2019) and density and coverage (Naeem et al. 2020): around each
  point a ball that reaches to its k-th nearest neighbour of the same set, itself excluded; a point is inside when its
  distance is strictly smaller.

Distances are worked out in blocks, so that memory does not grow with N·M. A block is `|a|^2 + |b|^2 - 2ab`, which is
fast but wrong in the last digits where points (nearly) coincide: exactly there, and where a distance is about equal to
a radius, it is worked out again from the difference. So copies are at distance 0 and no block size changes a result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from taildiff.errors import InputError

Features = Any  # a numpy array or torch tensor, (N, D)
Floats = NDArray[np.float64]
_CHUNK = 2048
_CLOSE = 1e-12  # relative to |a|^2 + |b|^2: far above the rounding of the product form, far below any real difference


@dataclass(frozen=True)
class GaussianStatistics:
    """What the Fréchet distance needs of a set of features."""

    mean: Floats
    """(D,)"""
    cov: Floats
    """(D, D), unbiased."""
    n: int
    """How many points it was taken over."""

    @classmethod
    def of(cls, features: Features) -> Self:
        """Mean and unbiased covariance in float64; needs two points or more."""
        array = _points(features, "features")
        if len(array) < 2:
            raise InputError(f"a covariance needs at least 2 points, got {len(array)}")
        mean = array.mean(axis=0, dtype=np.float64)
        centred = array - mean
        return cls(mean, centred.T @ centred / (len(array) - 1), len(array))


@dataclass(frozen=True)
class PrecisionRecall:
    """Improved precision and recall, each in [0, 1]."""

    precision: float
    """Share of generated points inside the union of the real points' balls: are they like real ones?"""
    recall: float
    """Share of real points inside the union of the generated points' balls: are all kinds of them there?"""


@dataclass(frozen=True)
class DensityCoverage:
    """Density in [0, inf), coverage in [0, 1]."""

    density: float
    """Mean number of real balls that a generated point is in, over k; about 1 for equal distributions."""
    coverage: float
    """Share of real balls that hold at least one generated point."""


def frechet_distance(real: Features, generated: Features) -> float:
    """Fréchet distance between Gaussians fitted to real (N, D) and generated (M, D) features.

    Biased upwards for few points: compare only values over the same N and M, and take more points than dimensions.
    """
    _points_pair(real, generated, at_least=2)
    return frechet_from_statistics(GaussianStatistics.of(real), GaussianStatistics.of(generated))


def frechet_from_statistics(first: GaussianStatistics, second: GaussianStatistics) -> float:
    """Fréchet distance of two Gaussians; rounding below 0 is returned as 0."""
    if first.mean.shape != second.mean.shape:
        raise InputError(f"features of different dimension: {len(first.mean)} and {len(second.mean)}")
    variances, axes = np.linalg.eigh(first.cov)
    root = (axes * np.sqrt(variances.clip(min=0))) @ axes.T
    product = root @ second.cov @ root
    trace_of_root = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(min=0)).sum()
    shift = first.mean - second.mean
    return max(0.0, float(shift @ shift + np.trace(first.cov) + np.trace(second.cov) - 2 * trace_of_root))


def precision_recall(real: Features, generated: Features, k: int = 3, chunk: int = _CHUNK) -> PrecisionRecall:
    """Improved precision and recall of real (N, D) and generated (M, D); both depend on N and M: keep those equal."""
    a, b = _points_pair(real, generated, at_least=k + 1, k=k)
    real_radius, generated_radius = _radii(a, k, chunk), _radii(b, k, chunk)
    in_real, in_generated = np.zeros(len(b), dtype=bool), np.zeros(len(a), dtype=bool)
    for block in _blocks(a, b, chunk):
        in_real[block.columns] |= block.below(real_radius[block.rows, None]).any(axis=0)
        in_generated[block.rows] |= block.below(generated_radius[None, block.columns]).any(axis=1)
    return PrecisionRecall(float(in_real.mean()), float(in_generated.mean()))


def density_coverage(real: Features, generated: Features, k: int = 5, chunk: int = _CHUNK) -> DensityCoverage:
    """Density and coverage of real (N, D) and generated (M, D)."""
    a, b = _points_pair(real, generated, at_least=k + 1, k=k)
    radius = _radii(a, k, chunk)
    balls, covered = 0, np.zeros(len(a), dtype=bool)
    for block in _blocks(a, b, chunk):
        inside = block.below(radius[block.rows, None])
        balls += int(inside.sum())
        covered[block.rows] |= inside.any(axis=1)
    return DensityCoverage(balls / (k * len(b)), float(covered.mean()))


@dataclass(frozen=True)
class _Block:
    """Squared distances between some points of `a` and some of `b`."""

    rows: slice
    columns: slice
    a: Floats  # (n, D), centred
    b: Floats  # (m, D), centred
    squared: Floats  # (n, m), product form
    tolerance: Floats  # (n, m)

    def below(self, limit: Floats) -> NDArray[np.bool_]:
        """Where the squared distance is strictly smaller than `limit` (broadcast), exactly."""
        inside = self.squared < limit
        row, column = np.nonzero(np.abs(self.squared - limit) <= self.tolerance)
        inside[row, column] = self.exact(row, column) < np.broadcast_to(limit, inside.shape)[row, column]
        return inside

    def exact(self, row: NDArray[np.intp], column: NDArray[np.intp]) -> Floats:
        """Squared distances of single pairs (p,) from their differences; in parts: all pairs may coincide."""
        result = np.empty(len(row))
        step = max(1, 2**22 // self.a.shape[1])
        for start in range(0, len(row), step):
            part = slice(start, start + step)
            difference = self.a[row[part]] - self.b[column[part]]
            result[part] = np.einsum("pd,pd->p", difference, difference)
        return result


def _blocks(a: NDArray[Any], b: NDArray[Any], chunk: int) -> Iterator[_Block]:
    centre = a.mean(axis=0, dtype=np.float64)  # features far from 0 would lose digits to their own length
    for i in range(0, len(a), chunk):
        rows = slice(i, min(i + chunk, len(a)))
        x = a[rows].astype(np.float64) - centre
        x_length = np.einsum("nd,nd->n", x, x)[:, None]
        for j in range(0, len(b), chunk):
            columns = slice(j, min(j + chunk, len(b)))
            y = b[columns].astype(np.float64) - centre
            lengths = x_length + np.einsum("md,md->m", y, y)[None, :]
            yield _Block(rows, columns, x, y, lengths - 2 * (x @ y.T), _CLOSE * lengths)


def _radii(points: NDArray[Any], k: int, chunk: int) -> Floats:
    """Squared distance of each point (N,) to its k-th nearest neighbour, itself excluded."""
    nearest = np.full((len(points), k), np.inf)
    for block in _blocks(points, points, chunk):
        squared = block.squared
        if block.rows == block.columns:
            np.fill_diagonal(squared, np.inf)
        columns = np.argpartition(squared, min(k, squared.shape[1]) - 1, axis=1)[:, :k]
        row = np.repeat(np.arange(len(squared)), columns.shape[1])
        exact = block.exact(row, columns.ravel()).reshape(columns.shape)
        exact[np.isinf(np.take_along_axis(squared, columns, axis=1))] = np.inf
        merged = np.concatenate([nearest[block.rows], exact], axis=1)
        nearest[block.rows] = np.partition(merged, k - 1, axis=1)[:, :k]
    return nearest.max(axis=1)


def _points_pair(real: Features, generated: Features, at_least: int, k: int = 1) -> tuple[NDArray[Any], NDArray[Any]]:
    a, b = _points(real, "real features"), _points(generated, "generated features")
    if a.shape[1] != b.shape[1]:
        raise InputError(f"real features have {a.shape[1]} dimensions, generated ones {b.shape[1]}: use one extractor")
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    for array, name in ((a, "real"), (b, "generated")):
        if len(array) < at_least:
            raise InputError(f"at least {at_least} {name} points are needed, got {len(array)}")
    return a, b


def _points(features: Features, name: str) -> NDArray[Any]:
    if hasattr(features, "detach"):  # a torch tensor, on any device and in any precision
        features = features.detach().cpu().double()
    array = np.asarray(features)
    if array.ndim != 2:
        raise InputError(f"{name} must be (N, D), got shape {array.shape}: flatten each sample to one row")
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name} must be real numbers, got {array.dtype}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} hold NaN or infinite values")
    return array
