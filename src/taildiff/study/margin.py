"""Which methods come within a stated margin of an expensive one, in the mean over training seeds. Imports no torch.

A method is within it if each of its means is at most a difference worse than the reference's, and each mean of a
distance at most a multiple of it. The costs that are compared are those of a training step, measured in turns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from taildiff.spec import METRICS, MetricName
from taildiff.study.budget import Plan
from taildiff.study.file import MarginSpec
from taildiff.study.results import Block
from taildiff.study.statistics import Measured


@dataclass(frozen=True)
class Standing:
    """How one method stands to the reference."""

    name: str
    cost: float
    """Time of a step, divided by the reference's."""
    worse: tuple[str, ...]
    """The numbers that are outside the margin; none for a method within it."""


def findings(block: Block, plan: Plan) -> list[str]:
    """What the margin says of a block, in sentences; none for a study without one."""
    margin = block.study.spec.margin
    if margin is None:
        return []
    if not block.complete:
        return [f"Cells are missing, so the margin of {margin.reference} is not judged yet."]
    methods = block.measured()
    costs = {each.name: plan.arms[block.of_method(each.name)[0].cell.arm.key].milliseconds for each in methods}
    found = standings(margin, methods, costs)
    if found is None:
        return [f"No run of {margin.reference} has all numbers of the margin, so nothing is judged by it."]
    return list(_sentences(margin, found, methods[0].name))


def standings(margin: MarginSpec, methods: Sequence[Measured], costs: Mapping[str, float]) -> list[Standing] | None:
    """Every method but the reference, given the cost of each; None where the reference lacks a number."""
    reference = next(each for each in methods if each.name == margin.reference)
    if not all(reference.values((metric, margin.group)) for metric in margin.metrics):
        return None
    return [
        Standing(each.name, costs[each.name] / costs[reference.name], tuple(_worse(margin, each, reference)))
        for each in methods
        if each is not reference
    ]


def _worse(margin: MarginSpec, method: Measured, reference: Measured) -> Iterator[str]:
    """The numbers of a method that are outside the margin; means over the runs that both have."""
    for metric in margin.metrics:
        record = METRICS[metric]
        own, other = method.values((metric, margin.group)), reference.values((metric, margin.group))
        if not (shared := own.keys() & other.keys()):
            yield f"no {record.title}"
            continue
        mean, bar = fmean(own[place] for place in shared), fmean(other[place] for place in shared)
        if not within(margin, metric, mean, bar):
            yield f"{record.title} {record.text(mean)} against {record.text(bar)}"


def within(margin: MarginSpec, metric: MetricName, mean: float, reference: float) -> bool:
    """Whether a mean is close enough to the reference's."""
    if metric in margin.ratio:
        return mean <= margin.ratio[metric] * reference
    loss = mean - reference if METRICS[metric].better == "lower" else reference - mean
    return loss <= margin.difference[metric] + 1e-12  # a loss of 0.05 in binary is not quite 0.05


def _sentences(margin: MarginSpec, found: list[Standing], first: str) -> Iterator[str]:
    inside = [each for each in found if not each.worse]
    candidates = [each for each in inside if each.name != first and each.cost < 1]
    rule = f"the margin of {margin.reference} ({_rule(margin)})"
    if inside:
        listed = ", ".join(f"{each.name} ({each.cost:.2f} of its time per step)" for each in inside)
        yield f"Within {rule}: {listed}."
    else:
        yield f"No method is within {rule}."
    if outside := [each for each in found if each.worse]:
        listed = "; ".join(f"{each.name} ({', '.join(each.worse)})" for each in outside)
        yield f"Outside it: {listed}."
    if candidates:
        cheapest = min(candidates, key=lambda each: each.cost)
        yield (
            f"The cheapest within it: {cheapest.name}, with {cheapest.cost:.2f} of the time of a step of "
            f"{margin.reference}."
        )
    else:
        yield f"No cheaper variant takes the place of {margin.reference}."
    if any(each.name == first for each in inside):
        yield f"{first} itself is within it: what {margin.reference} gains over it is no more than the margin."


def _rule(margin: MarginSpec) -> str:
    texts: list[str] = []
    for metric, loss in margin.difference.items():
        record = METRICS[metric]
        amount = f"{100 * loss:g} points" if record.unit == "share" else f"{loss:g}"
        texts.append(f"{record.title} at most {amount} {'higher' if record.better == 'lower' else 'lower'}")
    texts += [f"{METRICS[metric].title} at most {ratio:g} times" for metric, ratio in margin.ratio.items()]
    where = "all classes" if margin.group == "all" else f"the {margin.group}"
    return f"{', '.join(texts)}; means over training seeds, {where}"
