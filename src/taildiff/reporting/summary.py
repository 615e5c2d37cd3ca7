"""The verdict: one row a run, each run at the guidance that suits it best, and what the numbers allow to be said.

Rule: a run's best guidance is the one with the lowest Fréchet distance over all classes (ties: the lower guidance).
Whether its samples are legible is judged at the guidance of its highest accuracy instead: >= 85 % of all samples and
>= 50 % of those of every class recognised by a classifier trained on real images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taildiff.evaluation.table import Group, Metric, Row
from taildiff.reporting.load import Comparison, Evaluation, RunData, load
from taildiff.run.layout import RunDir

RULE = "Best guidance: the lowest Fréchet distance over all classes."
LEGIBLE_ALL, LEGIBLE_CLASS = 0.85, 0.50


@dataclass(frozen=True)
class Score:
    """A value with its confidence interval, where the evaluation gives one."""

    value: float
    low: float | None = None
    high: float | None = None

    def apart(self, other: "Score") -> bool | None:
        """Whether the two intervals do not overlap; None when one of them is not known."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return None
        return self.low > other.high or other.low > self.high


@dataclass(frozen=True)
class VerdictRow:
    """One run; every field is None where the evaluation does not have it."""

    run: str
    guidance: float | None = None
    frechet_all: Score | None = None
    frechet_head: Score | None = None
    frechet_body: Score | None = None
    frechet_tail: Score | None = None
    accuracy_all: Score | None = None
    accuracy_tail: Score | None = None
    accuracy_worst: Score | None = None
    worst_class: str | None = None
    recall_tail: Score | None = None
    seconds: float | None = None
    """Training seconds, without evaluation and saving."""
    legible_guidance: float | None = None
    """Guidance of the highest overall accuracy; the next two are at it."""
    legible_all: float | None = None
    legible_worst: float | None = None

    @property
    def legible(self) -> bool | None:
        """Whether the samples pass the rule of this module's docstring."""
        if self.legible_all is None or self.legible_worst is None:
            return None
        return self.legible_all >= LEGIBLE_ALL and self.legible_worst >= LEGIBLE_CLASS


@dataclass(frozen=True)
class Column:
    """A column of the verdict table."""

    family: str
    """Neighbours of one family share a heading."""
    title: str
    unit: str
    """`score` as it is, `percent`, `guidance` or `seconds`."""
    best: Callable[[Sequence[float]], float] | None
    """`min`, `max`, or None where no value is better than another."""
    get: Callable[[VerdictRow], Score | float | None]

    def value(self, row: VerdictRow) -> float | None:
        """The bare number."""
        got = self.get(row)
        return got.value if isinstance(got, Score) else got


COLUMNS = (
    Column("Guidance", "best", "guidance", None, lambda row: row.guidance),
    Column("Fréchet distance ↓", "all", "score", min, lambda row: row.frechet_all),
    Column("Fréchet distance ↓", "head", "score", min, lambda row: row.frechet_head),
    Column("Fréchet distance ↓", "body", "score", min, lambda row: row.frechet_body),
    Column("Fréchet distance ↓", "tail", "score", min, lambda row: row.frechet_tail),
    Column("Recognised ↑", "all", "percent", max, lambda row: row.accuracy_all),
    Column("Recognised ↑", "tail", "percent", max, lambda row: row.accuracy_tail),
    Column("Recognised ↑", "worst class", "percent", max, lambda row: row.accuracy_worst),
    Column("Recall ↑", "tail", "score", max, lambda row: row.recall_tail),
    Column("Training ↓", "time", "seconds", min, lambda row: row.seconds),
)


def verdict(runs: Sequence[RunDir]) -> list[VerdictRow]:
    """One row a run, in the order given; `RunError` when a file is damaged."""
    return verdict_rows(load(runs))


def verdict_rows(comparison: Comparison) -> list[VerdictRow]:
    """`verdict` of runs that are already read."""
    return [_row(run) for run in comparison.runs]


def best_guidance(evaluation: Evaluation) -> float | None:
    """Where the overall Fréchet distance is lowest; without any, where the overall accuracy is highest."""
    found = _argbest(evaluation.over_guidance("frechet", "all"), -1)
    return best_accuracy_guidance(evaluation) if found is None else found


def best_accuracy_guidance(evaluation: Evaluation) -> float | None:
    """Where the overall accuracy is highest."""
    return _argbest(evaluation.over_guidance("accuracy", "all"), 1)


def _argbest(rows: Sequence[Row], sign: int) -> float | None:
    known = [(row.value * sign, -row.guidance) for row in rows if row.value is not None and row.guidance is not None]
    return -max(known)[1] if known else None


def _row(run: RunData) -> VerdictRow:
    evaluation = run.evaluation
    guidance = best_guidance(evaluation) if evaluation else None
    if evaluation is None or guidance is None:
        return VerdictRow(run.name, seconds=run.seconds)

    def score(metric: Metric, group: Group) -> Score | None:
        return _score(evaluation.find(metric, group, guidance))

    worst = _worst(evaluation, guidance)
    legible_at = best_accuracy_guidance(evaluation)
    legible = evaluation.find("accuracy", "all", legible_at) if legible_at is not None else None
    legible_worst = _worst(evaluation, legible_at) if legible_at is not None else None
    return VerdictRow(
        run=run.name,
        guidance=guidance,
        frechet_all=score("frechet", "all"),
        frechet_head=score("frechet", "head"),
        frechet_body=score("frechet", "body"),
        frechet_tail=score("frechet", "tail"),
        accuracy_all=score("accuracy", "all"),
        accuracy_tail=score("accuracy", "tail"),
        accuracy_worst=_score(worst),
        worst_class=worst.class_name if worst else None,
        recall_tail=score("recall", "tail"),
        seconds=run.seconds,
        legible_guidance=legible_at,
        legible_all=legible.value if legible else None,
        legible_worst=legible_worst.value if legible_worst else None,
    )


def _score(row: Row | None) -> Score | None:
    return Score(row.value, row.low, row.high) if row is not None and row.value is not None else None


def _worst(evaluation: Evaluation, guidance: float) -> Row | None:
    return min(evaluation.by_class("accuracy", guidance), key=lambda row: row.value or 0.0, default=None)


def best_values(rows: Sequence[VerdictRow]) -> list[float | None]:
    """For each of `COLUMNS` the best value, or None where none can be best: no ordering, or fewer than two values."""
    best: list[float | None] = []
    for column in COLUMNS:
        values = [value for row in rows if (value := column.value(row)) is not None]
        best.append(column.best(values) if column.best and len(values) > 1 and len(set(values)) > 1 else None)
    return best


def show(value: float | None, unit: str) -> str:
    r"""A value of a verdict column as text; a number and its unit stay on one line.

    >>> show(0.934, "percent"), show(83.2, "seconds"), show(4210.0, "seconds"), show(None, "score")
    ('93\xa0%', '83\xa0s', '70\xa0min', '–')
    """
    if value is None:
        return "–"
    match unit:
        case "percent":
            return f"{100 * value:.0f}\N{NO-BREAK SPACE}%"
        case "guidance":
            return f"{value:g}"
        case "seconds":
            number, name = (
                (value, "s") if value < 600 else (value / 60, "min") if value < 36000 else (value / 3600, "h")
            )
            return f"{number:.{1 if name == 'h' else 0}f}\N{NO-BREAK SPACE}{name}"
        case _:
            return f"{value:.2f}" if value < 10 else f"{value:.1f}"
