"""The section of a report on utility: does a classifier get better with the generated images?"""

from collections.abc import Sequence
from dataclasses import dataclass

from taildiff.evaluation.table import Group, Row
from taildiff.reporting.load import RunData
from taildiff.reporting.summary import WHERE, best_guidance, format_value
from taildiff.spec import MetricName

_METRICS: tuple[MetricName, ...] = ("utility_real", "utility_completed", "utility_gain")
_GROUPS: tuple[Group, ...] = ("all", "head", "body", "tail")


@dataclass(frozen=True)
class UtilityLine:
    """One group of classes; texts."""

    where: str
    real: str
    completed: str
    gain: str
    interval: str
    clear: bool
    """Whether the interval leaves out 0."""


@dataclass(frozen=True)
class RunUtility:
    """The part of the section about one run."""

    run: str
    sentence: str
    """After the run's name."""
    lines: tuple[UtilityLine, ...]


def run_utility(runs: Sequence[RunData]) -> tuple[RunUtility, ...]:
    """The section, in the order of the runs; those without `--utility` are left out."""
    found = (_of_run(run) for run in runs)
    return tuple(each for each in found if each)


def _of_run(run: RunData) -> RunUtility | None:
    guidance = best_guidance(run.evaluation) if run.evaluation else None
    if run.evaluation is None or guidance is None:
        return None
    rows = {
        (metric, group): row
        for metric in _METRICS
        for group in _GROUPS
        if (row := run.evaluation.find(metric, group, guidance)) and row.value is not None
    }
    gain = rows.get(("utility_gain", "all"))
    if gain is None:
        return None
    lines = tuple(
        UtilityLine(
            WHERE[group],
            _text(rows.get(("utility_real", group))),
            _text(rows.get(("utility_completed", group))),
            format_value(row.value, "gain"),
            _interval(row),
            _is_clear(row),
        )
        for group in _GROUPS
        if (row := rows.get(("utility_gain", group)))
    )
    return RunUtility(run.name, _sentence(gain, rows.get(("utility_gain", "tail"))), lines)


def _sentence(gain: Row, tail: Row | None) -> str:
    what = {True: "makes a classifier better", False: "makes a classifier worse"}[(gain.value or 0.0) > 0]
    if not _is_clear(gain):
        what = "adds nothing clear to a classifier"
    text = f"{what} over all classes: {format_value(gain.value, 'gain')} accuracy ({_interval(gain)})"
    if tail:
        text += f"; in the tail {format_value(tail.value, 'gain')} ({_interval(tail)})"
        text += "" if _is_clear(tail) else ", not clear"
    return f"{text}."


def _is_clear(row: Row) -> bool:
    return row.low is not None and row.high is not None and (row.low > 0 or row.high < 0)


def _interval(row: Row) -> str:
    if row.low is None or row.high is None:
        return "no interval"
    return f"{format_value(row.low, 'gain')} to {format_value(row.high, 'gain')}"


def _text(row: Row | None) -> str:
    return format_value(row.value if row else None, "share")
