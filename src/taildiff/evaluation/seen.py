"""Which images of a store a run was trained on, also where the store was made after the run.

A folder may be split only after training: then the images of the new store are those of the run's, and the ones that it
holds out have been seen. `memorized` and utility compare with images that are new to the generator, so neither can be
given on such a store; distances, precision, recall and accuracy can.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taildiff.data.copies import same_as
from taildiff.data.locate import store_of
from taildiff.data.longtail import Split
from taildiff.data.store import Store
from taildiff.data.verify import content_hash
from taildiff.errors import DataError, InputError
from taildiff.run.layout import RunDir


@dataclass(frozen=True, eq=False)
class Seen:
    """The training images of a run in a store."""

    index: NDArray[np.intp] | None
    """Positions in the store; None where memorized and utility cannot be given."""
    refused: str = ""
    """Why they cannot."""

    def check_utility(self, wanted: bool) -> None:
        """`InputError` with the reason where utility is requested and cannot be given."""
        if wanted and self.refused:
            raise InputError(f"--utility: {self.refused}")


def seen(run: RunDir, split: Split, store: Store) -> Seen:
    """The images of a store that a run with this split was trained on."""
    if store.meta.hash == split.store_hash:
        return Seen(split.index)
    index = _split_later(split, store)
    if index is None:
        try:
            own = store_of(run)
        except DataError as error:
            unknown = f"it is not known which images of {store.root} the generator has seen ({error})"
            return Seen(None, f"{unknown}; memorised and utility need images that are new to it")
        index = np.flatnonzero(same_as(store, own, split.index))
    held_out = store.test_index
    if len(held_out) and not len(np.setdiff1d(held_out, index)):
        return Seen(
            None,
            f"the generator has seen the held-out images of {store.root}, as they were held out after training; "
            "memorised and utility need photographs that are new to the run",
        )
    return Seen(index)


def _split_later(split: Split, store: Store) -> NDArray[np.intp] | None:
    """The positions of a run's training images in its own store, split anew; None for other images.

    The run's store had nothing held out, or all that was not trained on.
    """
    if len(split.index) > store.meta.count or split.index.max() >= store.meta.count:
        return None
    others = np.ones(store.meta.count, np.bool_)
    others[split.index] = False
    for test in (np.zeros(store.meta.count, np.bool_), others):
        if content_hash(store, test) == split.store_hash:
            return split.index
    return None
