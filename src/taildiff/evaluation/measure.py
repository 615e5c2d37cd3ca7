"""The numbers of one scope: which images each is taken over, and when there are too few for it.

- Accuracy: all generated images. Fréchet distance: all real and all generated ones; needs more of each than dimensions,
  else the covariance is singular and the distance mostly says how few images there were.
- Precision and recall: equally many real and generated images, since both depend on the two numbers.
- Below `FEWEST_REAL` real images nothing is said about a scope.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taildiff.data.longtail import FEWEST_REAL
from taildiff.evaluation.intervals import wilson
from taildiff.evaluation.metrics import frechet_distance, precision_recall
from taildiff.evaluation.pools import Pool
from taildiff.evaluation.table import Metric


@dataclass(frozen=True)
class Number:
    """A value with its 95 % interval, where there are enough images for it, and how many images it was taken over."""

    metric: Metric
    value: float | None
    n_real: int
    n_generated: int
    low: float | None = None
    high: float | None = None


def share(metric: Metric, value: float, n: int, n_real: int, n_generated: int) -> Number:
    """A share of n, with Wilson's interval."""
    interval = wilson(value, n)
    return Number(metric, value, n_real, n_generated, interval.low, interval.high)


def numbers(real: Pool, generated: Pool, predicted: NDArray[np.int64], k: int) -> Iterator[Number]:
    """All metrics of one scope; `predicted` (M,) are the judge's labels of the generated images."""
    if len(real) < FEWEST_REAL:
        for metric in ("accuracy", "frechet", "precision", "recall"):
            yield Number(metric, None, len(real), len(generated))
        return
    yield share("accuracy", float((predicted == generated.labels).mean()), len(generated), 0, len(generated))
    yield _frechet(real, generated)
    n = min(len(real), len(generated))
    if n <= k:
        yield Number("precision", None, n, n)
        yield Number("recall", None, n, n)
        return
    found = precision_recall(real.first(n).features, generated.first(n).features, k)
    yield share("precision", found.precision, n, n, n)
    yield share("recall", found.recall, n, n, n)


def _frechet(real: Pool, generated: Pool) -> Number:
    enough = min(len(real), len(generated)) > real.features.shape[1]
    value = frechet_distance(real.features, generated.features) if enough else None
    return Number("frechet", value, len(real), len(generated))
