"""Pure functions of (N, D) features, numpy or torch in, floats or records out; for users: `taildiff.metrics`."""

from taildiff.evaluation.metrics.classified import InceptionScore, accuracy, confusion, inception_score
from taildiff.evaluation.metrics.diversity import Diversity, intra_class_diversity
from taildiff.evaluation.metrics.frechet import GaussianStatistics, frechet_distance, frechet_from_statistics
from taildiff.evaluation.metrics.kernel import kernel_distance
from taildiff.evaluation.metrics.neighbours import (
    DensityCoverage,
    Memorization,
    Neighbourhoods,
    PrecisionRecall,
    density_coverage,
    memorization,
    neighbourhoods,
    precision_recall,
)
from taildiff.evaluation.metrics.prd import PRDScores, prd_f_scores, prd_from_histograms

__all__ = [
    "DensityCoverage",
    "Diversity",
    "GaussianStatistics",
    "InceptionScore",
    "Memorization",
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
    "memorization",
    "neighbourhoods",
    "prd_f_scores",
    "prd_from_histograms",
    "precision_recall",
]
