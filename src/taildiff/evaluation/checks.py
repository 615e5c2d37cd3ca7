"""Warnings about numbers: each check gives a sentence or nothing."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from taildiff.data.longtail import FEWEST_REAL, NEARLY_EQUAL
from taildiff.evaluation.table import Row
from taildiff.spec import METRICS

PRIOR_TOLERANCE = 0.05
"""Total variation between two class distributions, up to which they count as equal."""


def without_intervals(intervals: Literal["all", "none"]) -> Iterator[str]:
    """Without intervals, no difference can be told from noise."""
    if intervals == "none":
        yield "evaluated without intervals (--intervals none): no difference to another evaluation is called clear"


def missing(rows: Sequence[Row], dim: int) -> Iterator[str]:
    """Why some values are missing: too few real images, or too few images for the dimensions or for k."""
    few = _with_few_real_images(rows)

    def without(*metrics: str) -> str:
        empty = (row for row in rows if row.metric in metrics and row.value is None)
        return ", ".join(name for name in dict.fromkeys(_scope(row) for row in empty) if name not in few)

    if few:
        measured = {row.metric for row in rows if row.value is not None}
        given = [METRICS[name].title for name in ("accuracy", "memorized") if name in measured]
        but = f"; {' and '.join(given)} with wide intervals" if given else ""
        yield f"fewer than {FEWEST_REAL} real images, so no distances{but}: {', '.join(few)}"
    if names := without("frechet"):
        yield f"a Fréchet distance needs more than {dim} real and generated images, so none: {names}"
    if names := without("recall", "coverage"):
        yield f"precision and recall need more images than their k, so none: {names}"


def _with_few_real_images(rows: Sequence[Row]) -> list[str]:
    """Scopes where no comparison of distributions has a value, because of too few real images."""
    scopes: dict[str, list[Row]] = {}
    for row in rows:
        if METRICS[row.metric].option == "metrics" and not METRICS[row.metric].few_real:
            scopes.setdefault(_scope(row), []).append(row)
    return [
        name
        for name, own in scopes.items()
        if all(row.value is None for row in own) and max(row.n_real for row in own) < FEWEST_REAL
    ]


def _scope(row: Row) -> str:
    return row.class_name or row.group


def few_images(rows: Sequence[Row], dim: int) -> Iterator[str]:
    """A Fréchet distance of hardly more images than dimensions is mostly bias."""
    biased = (r for r in rows if r.metric == "frechet" and r.value is not None)
    sizes = [(_scope(row), min(row.n_real or row.n_generated, row.n_generated)) for row in biased]  # 0: not known
    names = list(dict.fromkeys(scope for scope, size in sizes if size < 2 * dim))
    if names:
        yield (
            f"fewer than {2 * dim} images for {dim} dimensions: the Fréchet distance of {', '.join(names)} is "
            "far too high; read the kernel distance there"
        )


def long_tailed_reference(
    counts: Sequence[int], real: NDArray[np.intp], trained: NDArray[np.intp] | None
) -> Iterator[str]:
    """The reference should be balanced: the training set itself rewards neglect of rare classes."""
    least, most = min(counts), max(counts)
    if trained is not None and most > NEARLY_EQUAL * least and np.array_equal(np.sort(real), np.sort(trained)):
        yield (
            "the reference is the long-tailed training set: over all classes it rewards neglecting rare ones; trust "
            "values per class"
        )


def priors(generated: Sequence[int], real: Sequence[int]) -> Iterator[str]:
    """Different class proportions change every number over several classes."""
    p, q = (np.asarray(counts, dtype=float) / max(sum(counts), 1) for counts in (generated, real))
    apart = float(np.abs(p - q).sum() / 2)
    if apart > PRIOR_TOLERANCE:
        yield (
            f"label priors differ: {apart:.0%} of the generated images are of other classes than the reference's "
            f"proportions ({_ends(generated)} per class generated, {_ends(real)} real); trust values per class"
        )


def _ends(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def neighbours(k: int, rows: Sequence[Row]) -> Iterator[str]:
    """With k near n each ball covers everything."""
    sizes = [min(row.n_real, row.n_generated) for row in rows if row.metric == "recall" and row.value is not None]
    if sizes and k > 0.1 * min(sizes):
        yield f"k = {k} neighbours of only {min(sizes)} images: precision and recall come out too high"


def copies(rows: Sequence[Row], real: Sequence[int], generated: Sequence[int]) -> Iterator[str]:
    """Exact copies, which neighbourhoods count once; the numbers of images are per class."""
    of_class = {row.class_name: row for row in rows if row.metric in ("recall", "coverage") and row.group == "class"}
    found: dict[str, list[str]] = {"real": [], "generated": []}
    for row, n in zip(of_class.values(), map(min, real, generated), strict=False):
        for kind, different in (("real", row.n_real), ("generated", row.n_generated)):
            if 0 < different < n:
                found[kind].append(f"{row.class_name} {different} of {n}")
    parts = [f"{kind}: {', '.join(names[:5])}{' …' * (len(names) > 5)}" for kind, names in found.items() if names]
    if parts:
        yield f"exact copies count once as neighbours; different images, {'; '.join(parts)}"
