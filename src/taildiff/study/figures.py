"""The figures of a study: trade-offs over guidance, and quality against what was spent. Imports no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean

from taildiff.evaluation.table import Group, Table
from taildiff.reporting.plots import Chart, Panel, Point, Series
from taildiff.spec import METRICS
from taildiff.study.results import Block, Outcome
from taildiff.study.statistics import PRIMARY

GROUPS: tuple[Group, ...] = ("all", "head", "body", "tail")
OTHERS = 6
"""Methods beside the first in one figure, which has seven colours."""


def charts_of(blocks: Sequence[Block]) -> list[Chart]:
    """The frontiers of each block, then quality against seconds and steps for each dataset."""
    found: list[Chart | None] = []
    for block in blocks:
        found += [frontier(block, names, part) for part, names in enumerate(_parts(block))]
    for dataset in dict.fromkeys(block.dataset for block in blocks):
        own = [block for block in blocks if block.dataset == dataset]
        for spent in ("seconds", "step"):
            found += [spending(own, spent, names, part) for part, names in enumerate(_parts(own[0]))]
    return [chart for chart in found if chart]


def _parts(block: Block) -> list[list[str]]:
    """Names of methods for each figure, the first method in all of them, the others spread evenly."""
    first, *others = (method.name for method in block.study.spec.methods)
    number = -(-len(others) // OTHERS)
    size = -(-len(others) // number)
    return [[first, *others[start : start + size]] for start in range(0, len(others), size)]


def frontier(block: Block, names: Sequence[str], part: int) -> Chart | None:
    """Recall against accuracy over guidance by group, means over training seeds on sampling seed A."""
    panels = [
        Panel(group, tuple(series), "scatter")
        for group in GROUPS
        if (series := [s for place, name in enumerate(names) if (s := _curve(block, name, group, place))])
    ]
    if not panels:
        return None
    seed = block.study.spec.seeds.choose
    return Chart(
        _key("frontier", block.dataset, block.at, part),
        f"Recall against accuracy over guidance: {block.name} (right and high is better)",
        f"Each mark is a guidance, joined in rising order: means over training seeds on sampling seed {seed}.",
        "accuracy",
        "recall",
        _same_range(panels),
        named="guidance",
    )


def _curve(block: Block, name: str, group: Group, place: int) -> Series | None:
    tables = [o.search for o in block.of_method(name) if o.search and o.status != "failed"]
    points = [
        Point(x, y, name=f"{guidance:g}")
        for guidance in sorted({value for table in tables for value in table.guidances})
        if (x := _mean(tables, "accuracy", group, guidance)) is not None
        and (y := _mean(tables, "recall", group, guidance)) is not None
    ]
    return Series(name, place, tuple(points)) if points else None


def _mean(tables: Iterable[Table], metric: str, group: Group, guidance: float) -> float | None:
    values = [value for table in tables if (value := table.value(metric, group, guidance)) is not None]
    return fmean(values) if values else None


def spending(blocks: Sequence[Block], spent: str, names: Sequence[str], part: int) -> Chart | None:
    """The primary numbers against training seconds or steps, each method at its choice."""
    panels: list[Panel] = []
    for metric, group in PRIMARY:
        series = [s for place, name in enumerate(names) if (s := _spent(blocks, spent, name, (metric, group), place))]
        if series:
            panels.append(Panel(f"{METRICS[metric].title}, {group}", tuple(series), "scatter"))
    if not panels:
        return None
    unit = "training seconds" if spent == "seconds" else "training steps"
    return Chart(
        _key(spent, blocks[0].dataset, part),
        f"Quality against {unit}: {blocks[0].dataset}",
        "One mark per budget of the study: means over training seeds on the reported sampling seed.",
        unit,
        "value",
        tuple(panels),
    )


def _spent(blocks: Sequence[Block], spent: str, name: str, number: tuple[str, Group], place: int) -> Series | None:
    points: dict[float, Point] = {}
    for block in blocks:
        values = next(method for method in block.measured() if method.name == name).values(number)
        costs = [cost for o in block.of_method(name) if (cost := _cost(o, spent)) is not None]
        if values and costs:
            points[fmean(costs)] = Point(fmean(costs), fmean(values.values()))
    return Series(name, place, tuple(points[x] for x in sorted(points))) if points else None


def _cost(outcome: Outcome, spent: str) -> float | None:
    return outcome.seconds if spent == "seconds" else float(outcome.step)


def _same_range(panels: Sequence[Panel]) -> tuple[Panel, ...]:
    """Groups are compared by eye, so their axes are the same."""
    ys = [point.y for panel in panels for series in panel.series for point in series.points]
    pad = 0.06 * (max(ys) - min(ys)) or 0.05
    return tuple(replace(panel, y_range=(max(0.0, min(ys) - pad), max(ys) + pad)) for panel in panels)


def _key(*parts: object) -> str:
    """Name of the figure's file; the first part has no number."""
    *words, part = parts
    return "-".join(map(str, words)) + (f"-{part + 1}" if isinstance(part, int) and part else "")
