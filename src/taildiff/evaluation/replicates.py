"""Bootstrap replicates of a table's numbers, stored beside it: differences of two tables get intervals from them.

Only the generated images are resampled: two evaluations that are compared have the same real ones. `replicates.npz`
holds one row per number of `table.json`, in its order; a row of NaN has none. Imports no torch.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from taildiff.evaluation.table import Group, Row, to_csv
from taildiff.io.atomic import write_atomic
from taildiff.io.npz import NpzError, read_arrays
from taildiff.run.layout import EvalDir
from taildiff.spec import MetricName

Key = tuple[MetricName, Group, str, float | None]
Floats = NDArray[np.float64]


def key_of(row: Row) -> Key:
    """What identifies a number within its table."""
    return row.metric, row.group, row.class_name, row.guidance


def write_replicates(folder: EvalDir, rows: Sequence[Row], replicates: Sequence[Floats | None]) -> None:
    """Write the replicates (R,) of each row."""
    count = max((len(values) for values in replicates if values is not None), default=0)
    table = np.full((len(rows), count), np.nan, dtype=np.float32)
    for place, values in enumerate(replicates):
        if values is not None:
            table[place] = values
    key = np.array(_hash(rows))
    write_atomic(_path(folder), lambda file: np.savez_compressed(file, generated=table, rows=key))


def read_replicates(folder: EvalDir, rows: Sequence[Row]) -> dict[Key, Floats]:
    """Replicates by number; empty if they are missing, damaged, of another table or of an older version.

    Older ones, named `replicates`, resampled the real images too, for recall and coverage nothing else.
    """
    try:
        key, values = read_arrays(_path(folder), ("rows", "generated"))
    except (OSError, NpzError):
        return {}
    if str(key) != _hash(rows):
        return {}
    table = values.astype(np.float64)
    known = np.isfinite(table).all(axis=1) & (table.shape[1] > 0)
    return {key_of(row): table[place] for place, row in enumerate(rows) if known[place]}


def _path(folder: EvalDir):
    return folder.root / "replicates.npz"


def _hash(rows: Sequence[Row]) -> str:
    """The hash of the table, with the first name of `classifier_accuracy`, so that those of older tables still fit."""
    return hashlib.sha256(to_csv(rows).replace(",classifier_accuracy,", ",judge_accuracy,").encode()).hexdigest()
