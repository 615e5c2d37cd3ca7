"""Our metrics on any features: `from taildiff import metrics; metrics.frechet_distance(real, generated)`."""

from taildiff.evaluation.intervals import Interval, wilson
from taildiff.evaluation.metrics import (
    DensityCoverage,
    GaussianStatistics,
    PrecisionRecall,
    density_coverage,
    frechet_distance,
    frechet_from_statistics,
    precision_recall,
)

__all__ = [
    "DensityCoverage",
    "GaussianStatistics",
    "Interval",
    "PrecisionRecall",
    "density_coverage",
    "frechet_distance",
    "frechet_from_statistics",
    "precision_recall",
    "wilson",
]
