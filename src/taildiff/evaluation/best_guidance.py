"""The guidance that a run's evaluations found best: the default of `taildiff sample`; imports no torch."""

from collections.abc import Iterator
from dataclasses import dataclass

from taildiff.errors import RunError
from taildiff.evaluation.table import Table
from taildiff.run.layout import RunDir
from taildiff.run.null_label import UNTRAINED, has_null

UNKNOWN = 1.5
"""Without an evaluation."""


@dataclass(frozen=True)
class DefaultGuidance:
    """A guidance and where it is from."""

    value: float
    reason: str


def default_guidance(run: RunDir) -> DefaultGuidance:
    """The guidance of the lowest Fréchet distance over all classes; 1.5 without an evaluation, 1 without a null label.

    Distances of the newest evaluation that has one are compared, and of others of the same weights and settings; of
    equal ones the lowest guidance is best.
    """
    if not has_null(run):
        return DefaultGuidance(1.0, UNTRAINED)
    tables = [table for table in _tables(run) if _distances(table)]
    if not tables:
        return DefaultGuidance(UNKNOWN, f"not evaluated yet; taildiff evaluate {run.root} finds the best one")
    newest = tables[-1].definition
    same = (
        table
        for table in tables
        if (table.definition.weights_hash, table.definition.method) == (newest.weights_hash, newest.method)
    )
    distance, guidance = min(pair for table in same for pair in _distances(table))
    return DefaultGuidance(
        guidance, f"the best of its evaluation at step {newest.step}, Fréchet distance {distance:.3g} over all classes"
    )


def _tables(run: RunDir) -> Iterator[Table]:
    """The run's evaluations, oldest first, without damaged ones."""
    for folder in run.evaluations():
        try:
            yield Table.read(folder)
        except RunError:
            continue


def _distances(table: Table) -> list[tuple[float, float]]:
    rows = table.select("frechet", "all")
    return [(row.value, row.guidance) for row in rows if row.value is not None and row.guidance is not None]
