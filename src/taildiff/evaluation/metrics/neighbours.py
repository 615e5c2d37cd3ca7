"""What nearest neighbours tell: precision, recall, density, coverage, memorisation.

- Improved precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020): around each
  point a ball that reaches to its k-th nearest neighbour of the same set, itself excluded; a point is inside when its
  distance is strictly smaller.
- Memorisation: how near generated images come to training images, held against how near new real images come.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taildiff.errors import InputError
from taildiff.evaluation.metrics.distances import CHUNK, blocks, nearest, radii
from taildiff.evaluation.metrics.points import Features, Floats, pair, points, same_dimension


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


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """Who lies in whose balls: precision, recall, density and coverage of one k before they are averaged."""

    k: int
    balls: NDArray[np.int64]
    """(M,) in how many real balls each generated point lies."""
    covered: NDArray[np.bool_]
    """(N,) whether each real ball holds a generated point."""
    reached: NDArray[np.bool_]
    """(N,) whether each real point lies in some generated ball."""

    @property
    def precision_recall(self) -> PrecisionRecall:
        """The shares of generated points in a real ball, and of real points in a generated ball."""
        return PrecisionRecall(float((self.balls > 0).mean()), float(self.reached.mean()))

    @property
    def density_coverage(self) -> DensityCoverage:
        """Mean number of real balls around a generated point over k; share of real balls that hold one."""
        return DensityCoverage(float(self.balls.sum()) / (self.k * len(self.balls)), float(self.covered.mean()))


@dataclass(frozen=True, eq=False)
class Memorization:
    """Distances to the nearest training image, of generated and of new real images."""

    generated: Floats
    """(M,) of each generated image."""
    nearest: NDArray[np.intp]
    """(M,) which training image that is."""
    holdout: Floats
    """(H,) of each hold-out image: what a new real image keeps."""
    threshold: float
    """The smallest of `holdout`."""
    copied: float
    """Share of generated images nearer than `threshold`: nearer than real hold-out images ever are. Images as new as
    those of the hold-out give 1 / (H + 1) on average."""
    ratio: float
    """Median of `generated` over median of `holdout`; well below 1: the model repeats what it was trained on. NaN where
    half of the hold-out lies in the training set itself."""


def neighbourhoods(real: Features, generated: Features, k: int = 3, chunk: int = CHUNK) -> Neighbourhoods:
    """Which of real (N, D) and generated (M, D) lie in whose balls; takes the memory of a few blocks beside the input.

    Depends on N and M: keep those equal. More than k of each are needed.
    """
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    a, b = pair(real, generated, at_least=k + 1)
    real_radius, generated_radius = radii(a, k, chunk), radii(b, k, chunk)
    balls = np.zeros(len(b), dtype=np.int64)
    covered, reached = np.zeros(len(a), dtype=bool), np.zeros(len(a), dtype=bool)
    for block in blocks(a, b, chunk):
        inside = block.below(real_radius[block.rows, None])
        balls[block.columns] += inside.sum(axis=0)
        covered[block.rows] |= inside.any(axis=1)
        reached[block.rows] |= block.below(generated_radius[None, block.columns]).any(axis=1)
    return Neighbourhoods(k, balls, covered, reached)


def precision_recall(real: Features, generated: Features, k: int = 3, chunk: int = CHUNK) -> PrecisionRecall:
    """Improved precision and recall of real (N, D) and generated (M, D); see `neighbourhoods`."""
    return neighbourhoods(real, generated, k, chunk).precision_recall


def density_coverage(real: Features, generated: Features, k: int = 5, chunk: int = CHUNK) -> DensityCoverage:
    """Density and coverage of real (N, D) and generated (M, D); see `neighbourhoods`."""
    return neighbourhoods(real, generated, k, chunk).density_coverage


def memorization(generated: Features, train: Features, holdout: Features, chunk: int = CHUNK) -> Memorization:
    """Compare generated (M, D) and hold-out (H, D) features by their nearest among the training set's (N, D).

    The hold-out: real images of the same classes that were not trained on, class proportions as those of the generated
    ones; rare classes are sparse, so their images are far from each other.
    """
    a, b = points(generated, "generated features", at_least=1), points(train, "training features", at_least=1)
    c = points(holdout, "hold-out features", at_least=1)
    same_dimension(b, a, "training features", "generated ones")
    same_dimension(b, c, "training features", "hold-out ones")
    near, place = nearest(a, b, chunk)
    new = nearest(c, b, chunk)[0]
    usual = float(np.median(new))
    ratio = float(np.median(near)) / usual if usual else float("nan")
    threshold = float(new.min())
    return Memorization(near, place, new, threshold, float((near < threshold).mean()), ratio)
