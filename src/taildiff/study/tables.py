"""The tables of a study as files: LaTeX with few numbers, Markdown and CSV. Imports no torch."""

from dataclasses import replace

from taildiff.comparison.formats import TEXTS
from taildiff.comparison.select import Selection, select
from taildiff.comparison.table import ComparisonTable
from taildiff.errors import InputError
from taildiff.study.statistics import PRIMARY


def tables_of(name: str, table: ComparisonTable, selection: Selection) -> dict[str, str]:
    """Contents by file name; none where no number exists yet, and no LaTeX where its chosen numbers do not."""
    if not table.lines:
        return {}
    if not (selection.metrics or selection.groups):
        return {
            f"{name}.tex": TEXTS[".tex"](of_paper(table)),
            **{f"{name}{suffix}": TEXTS[suffix](select(table, selection)) for suffix in (".md", ".csv")},
        }
    chosen = select(table, selection)
    return {f"{name}{suffix}": text(chosen) for suffix, text in TEXTS.items()}


def of_paper(table: ComparisonTable) -> ComparisonTable:
    """The primary family alone: the verdict, or the same numbers as description."""
    if table.verdict.judged:
        return replace(table, lines=(), best=())
    lines = [line for number in PRIMARY for line in table.lines if (line.metric, line.group) == number]
    if not lines:
        raise InputError("the study has none of the primary numbers: choose others with --metrics and --groups")
    return replace(table, lines=tuple(lines), best=())
