"""Copies of training images among the images of evaluated runs, for reports; on small pictures, so no features."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from taildiff.data.store import Store
from taildiff.errors import DataError
from taildiff.io.checksum import json_sha256
from taildiff.reporting.copies import FoundCopies
from taildiff.reporting.load import RunData
from taildiff.reporting.summary import best_guidance

if TYPE_CHECKING:
    from taildiff.evaluation.copies import CopyFinder

LARGEST = 20_000
"""Training images up to which a report searches for copies without being asked: some 20 s on a CPU core."""


def copies_of_runs(runs: Sequence[RunData]) -> tuple[FoundCopies, ...]:
    """Those of each run at its best guidance; runs without images or training images, or with many, are left out."""
    finders: dict[str, CopyFinder] = {}
    found = (_of_run(run, finders) for run in runs)
    return tuple(each for each in found if each)


def _of_run(run: RunData, finders: "dict[str, CopyFinder]") -> FoundCopies | None:
    guidance = best_guidance(run.evaluation) if run.evaluation else None
    made = run.images(guidance) if guidance is not None else None
    if made is None or (run.split is None and not run.is_foreign):
        return None
    try:
        store = Store.at_recorded(run.info.store.path, run.info.store.hash)
        trained = np.sort(run.split.index) if run.split else store.train_index
        if not 2 <= len(trained) <= LARGEST:
            return None
        finder = _finder(store, trained, finders)
    except DataError:  # moved
        return None
    images, labels = made[0], made[1].astype(np.int64)
    copies, rule = finder.measure(images, labels), finder.rule
    return FoundCopies(run.name, copies, images, labels, store.images, rule.threshold, rule.known_from)


def _finder(store: Store, trained: NDArray[np.intp], finders: "dict[str, CopyFinder]") -> "CopyFinder":
    """The finder for training images, made once for all runs that share them."""
    key = json_sha256([store.meta.hash, trained.tolist()])
    if key not in finders:
        from taildiff.evaluation.copies import CopyFinder  # torch

        finders[key] = CopyFinder.of(store, trained)
    return finders[key]
