"""The verdict: a stated family of comparisons with the first subject, corrected for their number; imports no torch.

The family is every metric whose record has `verdict` over `VERDICT_GROUPS` (`spec/metrics.py`), for every further
subject, each subject at its own guidance of the values that all were swept over (`evaluation/best_guidance.py`).
Holm (1979) keeps the probability of any false "clear" at 5 %: the i-th smallest of m p-values times
m - i + 1, as a running maximum. All other numbers are description. One rule for bold, wherever a comparison is shown:
clear, and the better of the two; the first subject's value where it is clearly better than every other.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from taildiff.comparison.difference import LEVEL, Difference
from taildiff.comparison.table import Line, Verdict
from taildiff.evaluation.best_guidance import Criterion
from taildiff.evaluation.replicates import Key
from taildiff.spec import METRICS
from taildiff.spec.metrics import VERDICT_GROUPS, verdict_metrics


def common_grid(swept: Iterable[Sequence[float]]) -> tuple[float, ...]:
    """The guidance values that all were swept over, ascending; existing images, which have none, are left out."""
    known = [set(values) for values in swept if values]
    return tuple(sorted(set.intersection(*known))) if known else ()


def own_guidance(value: Callable[[Key], float | None], grid: Iterable[float], rule: Criterion) -> float | None:
    """The guidance where the criterion is lowest, else that of the highest accuracy; ties: the lower."""
    grid = sorted(grid)
    if lowest := [(found, at) for at in grid if (found := rule.of(value, at)) is not None]:
        return min(lowest)[1]
    accuracy = [(-found, at) for at in grid if (found := value(("accuracy", "all", "", at))) is not None]
    return min(accuracy)[1] if accuracy else None


def judged(
    names: Sequence[str],
    grid: Sequence[float],
    guidances: Sequence[float | None],
    line: Callable[[Sequence[Key]], Line | None],
    rule: Criterion,
) -> Verdict:
    """The verdict on named subjects at their guidances by a criterion, given the line of one number of each."""
    keys: list[list[Key]] = [
        [(metric, group, "", guidance) for guidance in guidances]
        for metric in verdict_metrics()
        for group in VERDICT_GROUPS
    ]
    lines = tuple(map(marked, corrected([found for each in keys if (found := line(each)) is not None])))
    return Verdict(tuple(names), lines, tuple(guidances), tuple(_notes(lines, names, grid, rule)))


def at_own(
    keys: Iterable[Key], guidances: Sequence[float | None], line: Callable[[Sequence[Key]], Line | None]
) -> tuple[Line, ...]:
    """Every number of the keys once, of each subject at its own guidance; numbers of real images are left out."""
    numbers = dict.fromkeys(key[:3] for key in keys if key[3] is not None or None in guidances)
    lines = (line([(*number, guidance) for guidance in guidances]) for number in numbers)
    return tuple(found for found in lines if found is not None)


def corrected(lines: Sequence[Line]) -> list[Line]:
    """The lines with Holm-corrected p-values of all their differences together."""
    tested = [d.p for line in lines for cell in line.cells if (d := cell.difference) and d.p is not None]
    of = dict(zip(tested, holm(tested), strict=True))  # equal p-values have equal corrected ones

    def mend(difference: Difference | None) -> Difference | None:
        if difference is None or difference.p is None:
            return difference
        return replace(difference, p_holm=of[difference.p])

    return [
        replace(line, cells=tuple(replace(cell, difference=mend(cell.difference)) for cell in line.cells))
        for line in lines
    ]


def holm(values: Sequence[float]) -> list[float]:
    """Corrected p-values, in the order of `values`."""
    ascending = sorted(range(len(values)), key=values.__getitem__)
    result, least = [0.0] * len(values), 0.0
    for rank, place in enumerate(ascending):
        least = max(least, min(1.0, (len(values) - rank) * values[place]))
        result[place] = least
    return result


def marked(line: Line) -> Line:
    """The line with what is clear and the better in bold."""
    first, *others = line.cells
    sign = -1 if METRICS[line.metric].better == "lower" else 1
    gains = [sign * d.value if (d := cell.difference) and d.clear else 0.0 for cell in others]
    measured = [gain for gain, cell in zip(gains, others, strict=True) if cell.difference is not None]
    ahead = bool(measured) and all(gain < 0 for gain in measured)
    others = [replace(cell, bold=gain > 0) for gain, cell in zip(gains, others, strict=True)]
    return replace(line, cells=(replace(first, bold=ahead), *others))


def _notes(lines: Sequence[Line], names: Sequence[str], grid: Sequence[float], rule: Criterion) -> Iterator[str]:
    tested = sum(cell.difference is not None and cell.difference.p is not None for line in lines for cell in line.cells)
    if len(names) < 2:
        return
    if not tested:
        yield "no verdict: no number of its family has an interval of its difference at a common guidance"
        return
    metrics = ", ".join(METRICS[name].title for name in dict.fromkeys(line.metric for line in lines))
    groups = ", ".join(dict.fromkeys(line.group for line in lines))
    yield (
        f"verdict over {tested} comparisons with {names[0]} ({metrics}; {groups}), each at its own guidance, "
        f"Holm-corrected at {100 * LEVEL:.0f} %: bold is clear and the better. All other numbers are description"
    )
    if len(grid) > 1:
        yield (
            f"each guidance was chosen from {', '.join(f'{value:g}' for value in grid)} by the lowest {rule.title}, "
            "on the same images that are compared, so these distances are a little low. For numbers free of the "
            "choice, evaluate the chosen guidance with another --seed"
        )
