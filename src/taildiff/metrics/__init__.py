"""Metrics of features (N, D), numpy or torch: `metrics.frechet_distance(real, generated)`."""

from taildiff.metrics.classification import InceptionScore, accuracy, confusion, inception_score
from taildiff.metrics.copies import Copies, CopyRule
from taildiff.metrics.diversity import Diversity, intra_class_diversity
from taildiff.metrics.frechet import GaussianStatistics, frechet_distance, frechet_from_statistics
from taildiff.metrics.intervals import Interval, wilson
from taildiff.metrics.kernel import kernel_distance
from taildiff.metrics.neighbours import (
    DensityCoverage,
    Neighbourhoods,
    PrecisionRecall,
    density_coverage,
    neighbourhoods,
    precision_recall,
)
from taildiff.metrics.prd import PRDScores, prd_f_scores, prd_from_histograms

__all__ = [
    "Copies",
    "CopyRule",
    "DensityCoverage",
    "Diversity",
    "GaussianStatistics",
    "InceptionScore",
    "Interval",
    "Neighbourhoods",
    "PRDScores",
    "PrecisionRecall",
    "accuracy",
    "confusion",
    "density_coverage",
    "frechet_distance",
    "frechet_from_statistics",
    "inception_score",
    "intra_class_diversity",
    "kernel_distance",
    "neighbourhoods",
    "prd_f_scores",
    "prd_from_histograms",
    "precision_recall",
    "wilson",
]
