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
    scopes = _scopes(table)
    heads = (
        *(["guidance"] if swept else []),
        "classes",
        *(METRICS[metric].on(is_fid).short_heading for metric in metrics),
    )
    rows: list[tuple[str, ...]] = []
    for guidance in table.guidances if swept else (None,):
        for scope in scopes:
            swept_cells = [f"{guidance:g}" if scope == scopes[0] else ""] if guidance is not None else []
            name = scope[1] or scope[0]
            rows.append((*swept_cells, name, *(_cell(table, metric, scope, guidance) for metric in metrics)))
    return Overview(table.definition.run + step, tuple(heads), tuple(rows), len(scopes))


def _scopes(table: Table) -> list[tuple[Group, str]]:
    """Groups, with an empty name of a class; or the class alone that has images, as it says nothing about all."""
    drawn, names = table.definition.drawn, table.definition.class_names
    own = [name for name, count in zip(names, drawn, strict=True) if count] if len(drawn) == len(names) else []
    if len(own) == 1 and table.select(class_name=own[0]):
        return [("class", own[0])]
    return [(group, "") for group in GROUPS if group in table.groups]


def classifier_line(table: Table) -> str:
    """What the classifier reaches on real images, the measure of every accuracy; empty where it was not measured."""
    row = next((row for row in table.select("classifier_accuracy", "all") if row.value is not None), None)
    if row is None:
        return ""
    return f"The classifier recognises {row.value:.1%} of {row.n_real} real images that it never saw."


def overview_metrics(table: Table) -> list[str]:
    """The metrics that an overview shows: those requested, or of the default ones those that matter most."""
    default = table.definition.spec.metrics == CHEAP
    of_images = (METRICS[name] for name in table.metrics if METRICS[name].option)
    return [metric.name for metric in of_images if metric.overview or not default]


def _cell(table: Table, metric: str, scope: tuple[Group, str], guidance: float | None) -> str:
    group, class_name = scope
    value = table.value(metric, group, guidance, class_name)
    return "–" if value is None else METRICS[metric].rounded(value)
