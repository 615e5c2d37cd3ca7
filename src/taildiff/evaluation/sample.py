"""One scope's images, from which metrics are computed, and the numbers that come out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from taildiff.evaluation.scopes import Pool
from taildiff.evaluation.shared import Classes, Keep, Shared, compute
from taildiff.metrics.intervals import Resampling
from taildiff.metrics.points import Floats
from taildiff.spec.metrics import MetricName


@dataclass(frozen=True, eq=False)
class Number:
    """A value with its 95 % interval, where there are enough images for it, and the numbers of images behind it."""

    metric: MetricName
    value: float | None
    n_real: int
    n_generated: int
    low: float | None = None
    high: float | None = None
    replicates: Floats | None = None
    """(R,) of the bootstrap over the generated images, where there is one; differences are taken from them."""
    real_side: Floats | None = None
    """(R,) deviations of the bootstrap over the real images, where they matter; only in the interval."""

    @property
    def bare(self) -> Self:
        """The same without an interval."""
        return replace(self, low=None, high=None, replicates=None, real_side=None)


@dataclass(frozen=True, eq=False)
class Sample:
    """Generated images and the real ones they are compared with; all pools are of the same scope."""

    real: Pool
    generated: Pool
    behind_copies: NDArray[np.intp] | None = None
    """(C,) real images that decide which generated ones are copies, by class; None where that is not known."""
    probabilities: NDArray[np.float32] | None = None
    """(M, K) class probabilities of the generated images, where a metric needs them and the extractor has classes."""
    real_key: int = 0
    generated_key: int = 0
    """Equal keys are resampled alike: that makes differences paired."""
    k: int = 0
    """Neighbours; 0 for metrics whose record does not need k."""
    intervals: bool = True
    resampling: Resampling = field(default_factory=Resampling)
    scope: Classes = ()
    """The classes of the pools."""
    shared: Shared | None = None
    """What all scopes share; its pools are those of all classes."""

    def sharing(self, scopes: Sequence[Classes], ks: tuple[int, ...] = (), keep: Keep = compute) -> Self:
        """The same with what these scopes share, for several k."""
        return replace(self, shared=Shared(self.real, self.generated, scopes, ks, keep))

    def alone(self) -> Self:
        """The same as the only scope."""
        own = tuple(np.unique(np.concatenate([self.real.labels, self.generated.labels])).tolist())
        return replace(self.sharing([own]), scope=own)

    def of(self, classes: Classes) -> Self:
        """The part of some classes."""
        known = self.probabilities
        return replace(
            self,
            scope=classes,
            real=self.real.of(classes),
            generated=self.generated.of(classes),
            probabilities=None if known is None else known[np.isin(self.generated.labels, classes)],
        )
