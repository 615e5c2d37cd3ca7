"""A table of an evaluation for people: one line per guidance and group, one column per metric."""

from collections.abc import Sequence
from dataclasses import dataclass

from taildiff.evaluation.table import Group, Table
from taildiff.spec import CHEAP, METRICS

GROUPS: tuple[Group, ...] = ("all", "head", "body", "tail")


@dataclass(frozen=True)
class Overview:
    """Text only; a row's first cells name guidance (of a run) and classes."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    groups: int
    """Rows per guidance."""


def overview(table: Table, metrics: Sequence[str] | None = None) -> Overview:
    """The rounded values of some metrics; default: those of `overview_metrics`."""
    metrics = overview_metrics(table) if metrics is None else metrics
    swept, is_fid = table.definition.source == "run", table.definition.extractor.is_fid
    step = f", step {table.definition.step}" if swept else ""
    groups: list[Group] = [group for group in GROUPS if group in table.groups]
    heads = (
        *(["guidance"] if swept else []),
        "classes",
        *(METRICS[metric].on(is_fid).short_heading for metric in metrics),
    )
    rows: list[tuple[str, ...]] = []
    for guidance in table.guidances if swept else (None,):
        for group in groups:
            swept_cells = [f"{guidance:g}" if group == groups[0] else ""] if guidance is not None else []
            rows.append((*swept_cells, group, *(_cell(table, metric, group, guidance) for metric in metrics)))
    return Overview(table.definition.run + step, tuple(heads), tuple(rows), len(groups))


def overview_metrics(table: Table) -> list[str]:
    """The metrics that an overview shows: those requested, or of the default ones those that matter most."""
    default = table.definition.spec.metrics == CHEAP
    of_images = (METRICS[name] for name in table.metrics if METRICS[name].option)
    return [metric.name for metric in of_images if metric.overview or not default]


def _cell(table: Table, metric: str, group: Group, guidance: float | None) -> str:
    value = table.value(metric, group, guidance)
    return "–" if value is None else METRICS[metric].rounded(value)
