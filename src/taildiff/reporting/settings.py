"""Runs that differ only in the training seed, as one: means over the seeds with Student's intervals.

A report shows settings, not seeds: which of two seeds came out ahead says nothing about the method.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

from taildiff.comparison.seeds import mean_row
from taildiff.comparison.settings import TrainedRun, grouped, separable
from taildiff.evaluation.replicates import key_of
from taildiff.evaluation.table import Table
from taildiff.reporting.load import Evaluation, LogLine, RunData


def settings_of(runs: Sequence[RunData]) -> tuple[RunData, ...]:
    """One entry per setting, in the order of their first runs; a setting of one run is that run."""
    if any(run.is_foreign for run in runs):
        return tuple(runs)
    known = {run.name: run for run in runs}
    groups = grouped([TrainedRun(run.run.root, run.name, run.info) for run in runs])
    return tuple(
        _merged(name, [known[run.name] for run in group])
        if len(group) > 1
        else replace(known[group[0].name], name=name)
        for name, group in separable(groups)
    )


def _merged(name: str, members: Sequence[RunData]) -> RunData:
    """The seeds of one setting as one run: its files are those of the first, its numbers are means."""
    log, evaluation = _mean_log([run.log for run in members]), _mean_evaluation(name, members)
    return replace(members[0], name=name, log=log, evaluation=evaluation, members=tuple(members))


def _mean_evaluation(name: str, members: Sequence[RunData]) -> Evaluation | None:
    """Means at the guidances that most seeds were evaluated at; None if no seed was evaluated."""
    evaluations = [run.evaluation for run in members if run.evaluation]
    if not evaluations:
        return None
    swept = Counter(value for each in evaluations for value in each.table.guidances)
    kept = tuple(value for value, count in swept.items() if count == max(swept.values()))
    tables = [
        {key_of(row): row for row in each.table.rows if row.guidance in (*kept, None) and row.value is not None}
        for each in evaluations
    ]
    keys = dict.fromkeys(key for table in tables for key in table)
    rows = (mean_row(name, [table[key] for table in tables if key in table]) for key in keys)
    notes = tuple(dict.fromkeys(note for each in evaluations for note in each.table.notes))
    definition = evaluations[0].table.definition
    spec = definition.spec.model_copy(update={"guidance": kept})
    definition = definition.model_copy(update={"run": name, "spec": spec})
    table = Table(tuple(row for row in rows if row), definition, notes)
    return replace(evaluations[0], table=table)


def _mean_log(logs: Sequence[Sequence[LogLine]]) -> tuple[LogLine, ...]:
    """The mean lines of the steps that every seed has logged."""
    by_step = [{line.step: line.model_dump() for line in log} for log in logs]
    steps = sorted(set.intersection(*(set(lines) for lines in by_step)))
    return tuple(LogLine.model_validate(_mean([lines[step] for lines in by_step])) for step in steps)


def _mean(values: Sequence[Any]) -> Any:
    """The mean of numbers, or part by part of equally built mappings and sequences; None counts as missing."""
    if isinstance(values[0], dict):
        shared = [name for name in values[0] if all(name in value for value in values)]
        return {name: _mean([value[name] for value in values]) for name in shared}
    if isinstance(values[0], list | tuple):
        return [_mean(parts) for parts in zip(*values, strict=False)]
    known = [value for value in values if value is not None]
    return mean(known) if known else None
