"""What a reader has to know before believing a number: each check gives a sentence, or nothing."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from taildiff.data.longtail import FEWEST_REAL, NEARLY_EQUAL
from taildiff.evaluation.table import Metric, Row

PRIOR_TOLERANCE = 0.05
"""Total variation between two laws of classes, up to which they count as the same."""


def missing(rows: Sequence[Row], dim: int) -> Iterator[str]:
    """Why some values are not there: too few images for the dimensions, for k, or to say anything."""

    def without(*metrics: Metric) -> list[str]:
        empty = (row for row in rows if row.metric in metrics and row.value is None)
        return list(dict.fromkeys(row.class_name or row.group for row in empty))

    few = _unsaid(rows)
    if few:
        yield f"fewer than {FEWEST_REAL} real images, so no values: {', '.join(few)}"
    if rest := [name for name in without("frechet") if name not in few]:
        yield f"a Fréchet distance needs more than {dim} real and generated images, so none: {', '.join(rest)}"
    if rest := [name for name in without("recall", "coverage") if name not in few]:
        yield f"precision and recall need more images than their k, so none: {', '.join(rest)}"


def _unsaid(rows: Sequence[Row]) -> list[str]:
    """Scopes without any value, whose real images are too few."""
    scopes: dict[str, list[Row]] = {}
    for row in rows:
        if row.metric != "classifier_accuracy" and not row.metric.startswith("utility"):
            scopes.setdefault(row.class_name or row.group, []).append(row)
    return [
        name
        for name, own in scopes.items()
        if all(row.value is None for row in own) and max(row.n_real for row in own) < FEWEST_REAL
    ]


def few_images(rows: Sequence[Row], dim: int) -> Iterator[str]:
    """A Fréchet distance of hardly more images than dimensions is mostly bias."""
    near = (r for r in rows if r.metric == "frechet" and r.value is not None and min(r.n_real, r.n_generated) < 2 * dim)
    names = list(dict.fromkeys(row.class_name or row.group for row in near))
    if names:
        yield (
            f"fewer than {2 * dim} images for {dim} dimensions: the Fréchet distance of {', '.join(names)} is "
            "far too high; read the kernel distance there"
        )


def long_tailed_reference(
    counts: Sequence[int], real: NDArray[np.intp], trained: NDArray[np.intp] | None
) -> Iterator[str]:
    """The reference should be balanced; one that is the training set itself rewards neglect of rare classes."""
    least, most = min(counts), max(counts)
    if trained is not None and most > NEARLY_EQUAL * least and np.array_equal(np.sort(real), np.sort(trained)):
        yield (
            "the reference is the long-tailed cut that was trained on: over all classes it rewards neglecting rare "
            "ones; believe values by class"
        )


def priors(generated: Sequence[int], real: Sequence[int]) -> Iterator[str]:
    """Images of each class in different proportions make every number over several classes a matter of the mix."""
    p, q = (np.asarray(counts, dtype=float) / max(sum(counts), 1) for counts in (generated, real))
    apart = float(np.abs(p - q).sum() / 2)
    if apart > PRIOR_TOLERANCE:
        yield (
            f"label priors differ: {apart:.0%} of the generated images are of other classes than the reference's "
            f"proportions ({_ends(generated)} a class generated, {_ends(real)} real); believe values by class"
        )


def _ends(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def neighbours(k: int, rows: Sequence[Row]) -> Iterator[str]:
    """With k near n each ball reaches over everything."""
    sizes = [row.n_generated for row in rows if row.metric == "recall" and row.value is not None]
    if sizes and k > 0.1 * min(sizes):
        yield f"k = {k} neighbours of only {min(sizes)} images: precision and recall come out too high"
