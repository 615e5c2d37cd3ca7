"""How the best guidance of an evaluation is found, and the default of `taildiff sample`; imports no torch.

The best has the lowest Fréchet distance over all classes. Where the real images are a long tail themselves, as in most
folders of photographs, that distance compares equally many generated images per class with mostly common real ones: it
would prefer a model that draws rare classes like common ones. There the mean of the kernel distances (MMD²) per class
is taken instead, over the classes with enough images, at least two; it counts classes equally, and few images do not
raise it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import mean

from taildiff.data.longtail import NEARLY_EQUAL
from taildiff.errors import RunError
from taildiff.evaluation.replicates import Key, key_of
from taildiff.evaluation.table import Table
from taildiff.run.layout import RunDir
from taildiff.run.null_label import UNTRAINED, has_null
from taildiff.spec import MetricName

UNKNOWN = 1.5
"""Without an evaluation."""
BY_CLASS: MetricName = "kernel_distance"


@dataclass(frozen=True)
class Criterion:
    """What is lowest at the best guidance."""

    classes: tuple[str, ...] = ()
    """Whose kernel distances are averaged; none: the Fréchet distance over all classes."""

    @property
    def title(self) -> str:
        """In words."""
        if not self.classes:
            return "Fréchet distance over all classes"
        return f"mean kernel distance per class, over {len(self.classes)} with enough images"

    def of(self, value: Callable[[Key], float | None], guidance: float) -> float | None:
        """Its value at a guidance, given every number's; None if it lacks any."""
        if not self.classes:
            return value(("frechet", "all", "", guidance))
        values = [value((BY_CLASS, "class", name, guidance)) for name in self.classes]
        known = [each for each in values if each is not None]
        return mean(known) if len(known) == len(values) else None


OVERALL = Criterion()
"""The Fréchet distance over all classes."""


def criterion(tables: Iterable[Table]) -> Criterion:
    """The criterion for evaluations with the same real images, by what all of them have."""
    shared = [table.measured_classes(BY_CLASS) if _in_a_tail(table) else () for table in tables]
    classes = tuple(name for name in shared[0] if all(name in each for each in shared)) if shared else ()
    return Criterion(classes if len(classes) > 1 else ())  # one class alone, the commonest, says nothing on the others


def _in_a_tail(table: Table) -> bool:
    """Whether the real images of an evaluation are a long tail."""
    counts = {row.class_name: row.n_real for row in table.select(BY_CLASS, "class")}
    return bool(counts) and max(counts.values()) > NEARLY_EQUAL * min(counts.values())


@dataclass(frozen=True)
class DefaultGuidance:
    """A guidance and where it is from."""

    value: float
    reason: str


def default_guidance(run: RunDir) -> DefaultGuidance:
    """The best guidance by `criterion`; 1.5 without an evaluation, 1 without a null label.

    The newest evaluation that tells one is compared with others of the same weights and settings; of equally good
    values the lowest is best.
    """
    if not has_null(run):
        return DefaultGuidance(1.0, UNTRAINED)
    tables = [table for table in _tables(run) if _values(table, criterion([table]))]
    if not tables:
        return DefaultGuidance(UNKNOWN, f"not evaluated yet; taildiff evaluate {run.root} finds the best one")
    newest = tables[-1].definition
    same = [
        table
        for table in tables
        if (table.definition.weights_hash, table.definition.method) == (newest.weights_hash, newest.method)
    ]
    rule = criterion(same)
    lowest, guidance = min(pair for table in same for pair in _values(table, rule))
    return DefaultGuidance(guidance, f"the best of its evaluation at step {newest.step}, {rule.title}: {lowest:.3g}")


def _tables(run: RunDir) -> Iterator[Table]:
    """The run's evaluations, oldest first, without damaged ones."""
    for folder in run.evaluations():
        try:
            yield Table.read(folder)
        except RunError:
            continue


def _values(table: Table, rule: Criterion) -> list[tuple[float, float]]:
    """The criterion at each guidance, with the guidance."""
    known = {key_of(row): row.value for row in table.rows}
    pairs = ((rule.of(known.get, guidance), guidance) for guidance in table.guidances)
    return [(value, guidance) for value, guidance in pairs if value is not None]
