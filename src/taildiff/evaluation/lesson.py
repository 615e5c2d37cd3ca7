"""Utility as numbers of a table: what a classifier learns from real, completed and generated images (`utility.py`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taildiff.data.store import Store
from taildiff.errors import DataError
from taildiff.evaluation.images import Chosen
from taildiff.evaluation.scopes import Scope
from taildiff.evaluation.scores import Number
from taildiff.evaluation.table import Metric
from taildiff.evaluation.utility import TrainedOn, utility
from taildiff.log import Progress

_METRICS: tuple[tuple[TrainedOn, Metric], ...] = (
    ("real", "utility_real"),
    ("completed", "utility_completed"),
    ("generated", "utility_generated"),
)


@dataclass(frozen=True, eq=False)
class Lesson:
    """The real images that classifiers are trained on and tested with."""

    store: Store
    trained: NDArray[np.intp]
    """Positions of the run's training images."""
    device: str

    def numbers(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], found: Sequence[Scope], progress: Progress
    ) -> Iterator[Number]:
        """Accuracy on held-out real images, scope after scope, of each training set; then the gain of completing."""
        store, real = self.store, np.sort(self.trained)
        own = np.asarray(store.labels)
        counts = np.bincount(own[real], minlength=len(store.meta.class_names)).tolist()
        test = store.test_index
        learned = utility(
            Chosen(store.images, real),
            own[real],
            images,
            labels,
            Chosen(store.images, test),
            own[test],
            counts,
            progress=progress,
            device=self.device,
        )
        for scope in found:
            for kind, metric in _METRICS:
                a = learned.accuracy(kind, scope.labels)
                yield Number(metric, a.value, a.n_test, a.n_train_generated, a.low, a.high)
            gain = learned.gain(scope.labels)
            n = learned.accuracy("completed", scope.labels)
            if gain is None:
                yield Number("utility_gain", None, n.n_test, n.n_train_generated)
            else:
                yield Number("utility_gain", gain.value, gain.n_test, n.n_train_generated, gain.low, gain.high)


def lesson(store: Store, trained: NDArray[np.intp] | None, device: str) -> Lesson:
    """What `--utility` needs; `DataError` when it is not there."""
    if trained is None:
        raise DataError("--utility needs to know the training images: name the run's own store, or --trained-on RUN")
    if not len(store.test_index):
        raise DataError(f"--utility needs held-out real images, and {store.root} has no test column")
    return Lesson(store, trained, device)
