"""A part of a comparison: some metrics, some groups of classes, one guidance; imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from taildiff.comparison.table import ComparisonTable, Line, Verdict
from taildiff.errors import InputError, unknown
from taildiff.evaluation.table import Group
from taildiff.spec import METRICS

Guidance = float | Literal["best"]
"""A value, or each subject's own."""
PAPER = (("frechet", "recall", "accuracy"), ("all", "tail"))
"""Metrics and groups of a table for a paper where none are chosen."""


@dataclass(frozen=True)
class Selection:
    """What to show; empty is everything."""

    metrics: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    guidance: Guidance | None = None

    @classmethod
    def of(cls, metrics: Sequence[str], groups: Sequence[str], guidance: Guidance | None) -> "Selection":
        """The selection; `InputError` for a name that does not exist."""
        for kind, names, known in (("metric", metrics, tuple(METRICS)), ("group", groups, get_args(Group))):
            if wrong := next((name for name in names if name not in known), None):
                raise InputError(unknown(kind, wrong, known))
        return cls(tuple(metrics), tuple(groups), guidance)

    @property
    def of_paper(self) -> "Selection":
        """The same, with few numbers where none are chosen."""
        metrics, groups = PAPER
        return Selection(self.metrics or metrics, self.groups or groups, self.guidance or "best")

    def has(self, line: Line) -> bool:
        """Whether metric and group of a line are chosen."""
        return (not self.metrics or line.metric in self.metrics) and (not self.groups or line.group in self.groups)


def select(table: ComparisonTable, selection: Selection) -> ComparisonTable:
    """The chosen part; `InputError` where nothing is left.

    At one guidance there is no verdict, which compares each subject at its own; at the best guidance the description
    holds what the verdict has not.
    """
    if selection == Selection():
        return table
    verdict = replace(table.verdict, lines=tuple(filter(selection.has, table.verdict.lines)))
    lines = tuple(filter(selection.has, table.best if selection.guidance == "best" else table.lines))
    if isinstance(selection.guidance, float | int):
        verdict, lines = Verdict(), tuple(line for line in lines if line.guidance == selection.guidance)
    elif selection.guidance == "best" and verdict.judged:
        judged = {(line.metric, line.group) for line in verdict.lines}
        lines = tuple(line for line in lines if line.class_name or (line.metric, line.group) not in judged)
    if not lines and not verdict.lines:
        raise InputError("nothing to show: no number has these metrics, groups and guidance. " + _available(table))
    return replace(table, lines=lines, best=(), verdict=verdict)


def _available(table: ComparisonTable) -> str:
    metrics, groups, guidances = (
        dict.fromkeys(text for line in table.lines if (text := of(line)))
        for of in (lambda x: x.metric, lambda x: x.group, lambda x: "" if x.guidance is None else f"{x.guidance:g}")
    )
    parts = [("metrics", metrics), ("groups", groups), ("guidances", guidances)]
    return "; ".join(f"{name}: {', '.join(values)}" for name, values in parts if values)
