"""Precision and recall of distributions (Sajjadi et al. 2018): F8 favours recall, F1/8 precision, each in [0, 1].

K-means clusters the union of real and generated points; p and q are the clusters' shares among real and among
generated points. For 1001 angles with slope s

    precision(s) = sum_c min(s p_c, q_c),   recall(s) = precision(s) / s,

and F_b is the largest (1 + b^2) precision recall / (b^2 precision + recall) over the angles. As in the release:
20 clusters (here per class), mean of 10 runs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taildiff.errors import InputError
from taildiff.metrics.points import Features, Floats, as_array, pair
from taildiff.rng import stream

CLUSTERS = 20  # per class
_ANGLES = 1001
_TINY = 1e-10
_ITERATIONS = 50  # at most, of k-means; later ones move only single points
_CHUNK = 4096


@dataclass(frozen=True)
class PRDScores:
    """F8 and F1/8, each in [0, 1]."""

    f8: float
    """Recall counts 8 times as much: low if modes are missing."""
    f1_8: float
    """Precision counts 8 times as much: low if points resemble no real one."""


def prd_f_scores(real: Features, generated: Features, classes: int = 1, runs: int = 10, seed: int = 0) -> PRDScores:
    """F8 and F1/8 of real (N, D) and generated (M, D) features of `classes` classes; use N = M.

    The mean over `runs` random clusterings: another seed or order of the points changes about the third digit. With
    fewer than about 50 points per cluster even equal distributions stay below 1.
    """
    if classes < 1 or runs < 1:
        raise InputError(f"classes and runs must be at least 1, got {classes} and {runs}")
    a, b = pair(real, generated, at_least=1)
    clusters = CLUSTERS * classes
    if len(a) + len(b) < clusters:
        raise InputError(
            f"{clusters} clusters ({CLUSTERS} per class) need at least as many points, got {len(a) + len(b)}"
        )
    union = np.concatenate([a, b]).astype(np.float64)
    union -= union.mean(axis=0)
    scores = [_run(union, len(a), clusters, stream(seed, "evaluation/prd", run)) for run in range(runs)]
    return PRDScores(float(np.mean([s.f8 for s in scores])), float(np.mean([s.f1_8 for s in scores])))


def prd_from_histograms(p: Features, q: Features) -> PRDScores:
    """F8 and F1/8 of real p (K,) and generated q (K,), shares or counts of the same K bins."""
    real, generated = _histogram(p, "real"), _histogram(q, "generated")
    if real.shape != generated.shape:
        raise InputError(f"histograms have {len(real)} and {len(generated)} bins; use the same bins for both")
    slopes = np.tan(np.linspace(_TINY, np.pi / 2 - _TINY, _ANGLES))
    precision = np.minimum(real * slopes[:, None], generated).sum(axis=1)
    recall = precision / slopes
    return PRDScores(_best_f(precision, recall, 8.0), _best_f(precision, recall, 1 / 8))


def _best_f(precision: Floats, recall: Floats, beta: float) -> float:
    score = (1 + beta**2) * precision * recall / (beta**2 * precision + recall + _TINY)
    return float(score.max().clip(0, 1))


def _histogram(values: Features, name: str) -> Floats:
    array = as_array(values).astype(np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all() or (array < 0).any() or not array.sum():
        raise InputError(f"the {name} histogram must be (K,) non-negative shares or counts, not all 0")
    return array / array.sum()


def _run(union: Floats, n_real: int, clusters: int, rng: np.random.Generator) -> PRDScores:
    assigned = k_means(union, clusters, rng)
    real, generated = (np.bincount(part, minlength=clusters) for part in (assigned[:n_real], assigned[n_real:]))
    return prd_from_histograms(real, generated)


def k_means(points: Floats, clusters: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Lloyd's iterations from a k-means++ start: the cluster (N,) of each point (N, D)."""
    lengths = np.einsum("nd,nd->n", points, points)
    centres = _spread(points, lengths, clusters, rng)
    assigned = np.full(len(points), -1, dtype=np.intp)
    for _ in range(_ITERATIONS):
        before, assigned = assigned, _assign(points, centres)
        if np.array_equal(before, assigned):
            break
        centres = _centres(points, assigned, centres)
    return assigned


def _spread(points: Floats, lengths: Floats, clusters: int, rng: np.random.Generator) -> Floats:
    """Starting centres (K, D): each is a point drawn by its squared distance to the nearest earlier centre."""
    chosen = [int(rng.integers(len(points)))]
    squared = np.full(len(points), np.inf)
    while len(chosen) < clusters:
        last = chosen[-1]
        squared = np.minimum(squared, (lengths - 2 * (points @ points[last]) + lengths[last]).clip(min=0))
        squared[chosen] = 0  # exactly, despite rounding
        total = squared.sum()
        if total:
            reached = np.cumsum(squared / total)  # what `rng.choice` does, without its checks
            chosen.append(int(np.searchsorted(reached / reached[-1], rng.random(), side="right")))
        else:  # all points coincide with a centre
            chosen.append(int(rng.choice(len(points))))
    return points[chosen]


def _assign(points: Floats, centres: Floats) -> NDArray[np.intp]:
    half = np.einsum("kd,kd->k", centres, centres) / 2
    parts = [points[start : start + _CHUNK] for start in range(0, len(points), _CHUNK)]
    return np.concatenate([(half - part @ centres.T).argmin(axis=1) for part in parts])


def _centres(points: Floats, assigned: NDArray[np.intp], before: Floats) -> Floats:
    """Means of the clusters; an empty cluster keeps its centre."""
    order: NDArray[Any] = np.argsort(assigned, kind="stable")
    counts = np.bincount(assigned, minlength=len(before))
    filled = counts > 0
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])[filled]
    centres = before.copy()
    centres[filled] = np.add.reduceat(points[order], starts, axis=0) / counts[filled, None]
    return centres
