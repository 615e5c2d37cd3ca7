"""The summary: one row per run (or mean over training seeds) at its best guidance, one column per metric and group.

A run's best guidance is found by `evaluation/best_guidance.py` (ties: the lower guidance). Whether its samples are
legible is decided at the guidance of its highest accuracy (`legibility.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any, Literal

from taildiff.comparison.table import Verdict
from taildiff.comparison.verdict import own_guidance
from taildiff.errors import InputError, unknown
from taildiff.evaluation.replicates import key_of
from taildiff.evaluation.table import Row
from taildiff.reporting.judge import verdict_of
from taildiff.reporting.legibility import LEGIBLE_ALL, LEGIBLE_CLASS, furthest, real_accuracy
from taildiff.reporting.load import Comparison, Evaluation, RunData, record_of
from taildiff.reporting.settings import settings_of
from taildiff.spec.metrics import METRICS, Better, Metric

HEADLINE = ("frechet", "accuracy", "recall")
"""Metrics that every report shows."""
ON_REQUEST = ("kernel_distance", "precision", "density", "coverage")
"""Measured by default, but shown only on request; any other metric is shown if it was measured."""
WORST = "worst class"
PER_CENT = "\N{NO-BREAK SPACE}%"

Unit = Literal["share", "gain", "score", "significant", "guidance", "seconds"]

WHERE = {
    "all": "over all classes",
    "head": "in the head",
    "body": "in the body",
    "tail": "in the tail",
    WORST: "in the worst class",
}
_PLACES = {"frechet": ("all", "head", "body", "tail"), "accuracy": ("all", "tail", WORST), "recall": ("tail",)}


@dataclass(frozen=True)
class Score:
    """A value with its confidence interval, if the evaluation has one."""

    value: float
    low: float | None = None
    high: float | None = None
    metric: str = ""
    place: str = ""
    """`all`, a group of classes, or `worst class`."""
    class_name: str = ""
    """The worst class."""


@dataclass(frozen=True)
class SummaryRow:
    """One run, or means over the training seeds of a setting; a field is None if the evaluation lacks it."""

    run: str
    guidance: float | None = None
    scores: tuple[Score, ...] = ()
    """At that guidance: every metric over all classes and per group, and the accuracy of the worst class."""
    seconds: float | None = None
    """Training seconds, without evaluation and saving."""
    legible_guidance: float | None = None
    """Guidance of the highest overall accuracy, at which the next two are measured."""
    legible_all: float | None = None
    legible_worst: float | None = None
    """Accuracy of the class furthest below the classifier's accuracy on its real images."""
    real_all: float = 1.0
    """The classifier's accuracy on real images; `real_worst`: of that class."""
    real_worst: float = 1.0
    seeds: int = 1
    """Evaluated runs behind the means."""
    swept: bool = True
    """Whether the guidance is known, which it is not of existing images."""

    @property
    def at(self) -> str:
        """The guidance in words; empty where it is not known."""
        return f" at guidance {self.guidance:g}" if self.swept and self.guidance is not None else ""

    @property
    def title(self) -> str:
        """The run's name, with the number of seeds where there are several."""
        return self.run if self.seeds == 1 else f"{self.run} ({self.seeds} seeds)"

    @property
    def legible(self) -> bool | None:
        """Whether the samples meet the rule of `legibility.py`."""
        if self.legible_all is None or self.legible_worst is None:
            return None
        enough = self.legible_all >= LEGIBLE_ALL * self.real_all
        return enough and self.legible_worst >= LEGIBLE_CLASS * self.real_worst

    def score(self, metric: str, place: str) -> Score | None:
        """The score of one metric in one place."""
        return next((score for score in self.scores if (score.metric, score.place) == (metric, place)), None)


@dataclass(frozen=True)
class Column:
    """A column of the summary."""

    heading: str
    """Shared by neighbouring columns; an arrow points towards better values."""
    title: str
    unit: Unit
    better: Better
    get: Callable[[SummaryRow], Any]
    """Returns `Score`, float or None."""
    subject: str = ""
    """The metric's title in a sentence; empty for guidance and time."""
    where: str = ""
    """Such as "in the tail"."""
    metric: str = ""
    """The metric's name; empty for guidance and time."""

    def score(self, row: SummaryRow) -> Score | None:
        """The row's value in this column."""
        score = self.get(row)
        return score if score is None or isinstance(score, Score) else Score(score)

    def value(self, row: SummaryRow) -> float | None:
        """The same as a bare number."""
        score = self.score(row)
        return score.value if score else None

    def text(self, value: float | None) -> str:
        """A value as printed in this column."""
        return format_value(value, self.unit)

    def shown(self, row: SummaryRow) -> str:
        """The row's value as printed; of a mean over seeds with half its interval."""
        score = self.score(row)
        text = self.text(score.value if score else None)
        if row.seeds == 1 or score is None or score.high is None:
            return text
        half = self.text(score.high - score.value).removeprefix("+")
        return f"{text.removesuffix(PER_CENT)} ± {half}"


@dataclass(frozen=True)
class Summary:
    """All runs in all columns."""

    columns: tuple[Column, ...]
    rows: tuple[SummaryRow, ...]
    verdict: Verdict = field(default_factory=Verdict)

    def bold(self, row: SummaryRow, column: Column) -> bool:
        """Whether the verdict calls this number clear, and the better; never for what is not in its family."""
        return self.verdict.bold(row.run, column.metric, column.title)


def summarise(comparison: Comparison, metrics: Sequence[str] = ()) -> Summary:
    """The summary of loaded runs, in their order and seeds of one setting as one, with columns of `shown_metrics`."""
    records = [record_of(name, comparison.runs) for name in shown_metrics(comparison.runs, metrics)]
    settings = settings_of(comparison.runs)
    return Summary(columns(records), tuple(map(_row, settings)), verdict_of(settings))


def shown_metrics(runs: Sequence[RunData], metrics: Sequence[str] = ()) -> tuple[str, ...]:
    """Metrics of a report: the headline ones, measured ones that need no request, those named in `metrics` (or `all`).

    Raises `InputError` for a name that is unknown or was not measured.
    """
    measured = measured_metrics(runs)
    for name in metrics:
        if name not in (*HEADLINE, *measured, "all"):
            raise InputError(_not_measured(name))
    requested = measured if "all" in metrics else metrics
    extra = [name for name in measured if name not in ON_REQUEST or name in requested]
    return tuple(dict.fromkeys((*HEADLINE, *extra)))


def _not_measured(name: str) -> str:
    choices = [*(record.name for record in METRICS.values() if record.option), "all"]
    if name not in choices:
        return unknown("metric", name, choices)
    option = METRICS[name].option
    command = f"taildiff evaluate RUN --{option}" + (f" cheap,{name}" if option == "metrics" else "")
    return f"no run's evaluation has {name}; measure it first: {command}"


def measured_metrics(runs: Sequence[RunData]) -> tuple[str, ...]:
    """Metrics of generated images that any run's evaluation has, in the catalogue's order."""
    rows = (row for run in runs if run.evaluation for row in run.evaluation.table.rows)
    names = {row.metric for row in rows if row.value is not None and row.guidance is not None}
    return tuple(name for name in METRICS if name in names)


def columns(records: Sequence[Metric]) -> tuple[Column, ...]:
    """Best guidance, each metric over all classes and in the tail (more for the headline ones), training time."""
    return (
        Column("Guidance", "best", "guidance", "none", lambda row: row.guidance if row.swept else None),
        *(_column(record, place) for record in records for place in _PLACES.get(record.name, ("all", "tail"))),
        Column("Training ↓", "time", "seconds", "lower", lambda row: row.seconds),
    )


def _column(record: Metric, place: str) -> Column:
    get = methodcaller("score", record.name, place)
    heading, unit = capitalised(record.heading), unit_of(record)
    return Column(heading, place, unit, record.better, get, record.title, WHERE[place], record.name)


def capitalised(text: str) -> str:
    """`text` with a capital first letter and all else unchanged."""
    return text[:1].upper() + text[1:]


def best_guidance(evaluation: Evaluation) -> float | None:
    """The best among the common values, else that of the highest accuracy."""
    known = {key_of(row): row.value for row in evaluation.table.rows}
    grid = evaluation.grid or {guidance for *_, guidance in known if guidance is not None}
    return own_guidance(known.get, grid, evaluation.criterion)


def best_accuracy_guidance(evaluation: Evaluation) -> float | None:
    """The guidance of the highest overall accuracy."""
    rows = evaluation.over_guidance("accuracy", "all")
    return max(rows, key=lambda row: row.value or 0.0).guidance if rows else None


def _row(run: RunData) -> SummaryRow:
    evaluation = run.evaluation
    guidance = best_guidance(evaluation) if evaluation else None
    if evaluation is None or guidance is None:
        return SummaryRow(run.name, seconds=run.seconds)
    legible_guidance = best_accuracy_guidance(evaluation)
    legible = evaluation.find("accuracy", "all", legible_guidance) if legible_guidance is not None else None
    real = real_accuracy(evaluation)
    worst, real_worst = furthest(evaluation, legible_guidance, real) if legible_guidance is not None else (None, 1.0)
    return SummaryRow(
        run=run.name,
        guidance=guidance,
        scores=_scores(evaluation, guidance),
        seconds=run.seconds,
        legible_guidance=legible_guidance,
        legible_all=legible.value if legible else None,
        legible_worst=worst.value if worst else None,
        real_all=real,
        real_worst=real_worst,
        seeds=max(1, sum(member.evaluation is not None for member in run.members)),
        swept=not run.is_foreign,
    )


def _scores(evaluation: Evaluation, guidance: float) -> tuple[Score, ...]:
    placed = [(row, row.group) for row in evaluation.table.select(guidance=guidance) if row.group in WHERE]
    worst = _worst(evaluation, guidance)
    return tuple(
        Score(row.value, row.low, row.high, row.metric, place, row.class_name)
        for row, place in [*placed, *([(worst, WORST)] if worst else [])]
        if row.value is not None
    )


def _worst(evaluation: Evaluation, guidance: float) -> Row | None:
    return min(evaluation.by_class("accuracy", guidance), key=lambda row: row.value or 0.0, default=None)


def unit_of(record: Metric) -> Unit:
    """How the summary prints a metric: per cent (signed if it may be negative), decimals or significant digits."""
    if record.unit == "share":
        return "gain" if record.bounds[0] < 0 else "share"
    return "score" if record.digits is not None else "significant"


def format_value(value: float | None, unit: Unit) -> str:
    r"""A value of a summary column as text; a number and its unit stay on one line.

    >>> format_value(0.934, "share"), format_value(83.2, "seconds"), format_value(None, "score")
    ('93\xa0%', '83\xa0s', '–')
    """
    if value is None:
        return "–"
    match unit:
        case "share":
            return f"{100 * value:.0f}\N{NO-BREAK SPACE}%"
        case "gain":
            return f"{100 * value:+.1f}\N{NO-BREAK SPACE}%"
        case "guidance":
            return f"{value:g}"
        case "significant":
            return f"{value:.3g}"
        case "seconds":
            return _duration(value)
        case "score":
            return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _duration(seconds: float) -> str:
    r"""Seconds, minutes or hours.

    >>> _duration(4210.0), _duration(40000.0)
    ('70\xa0min', '11.1\xa0h')
    """
    if seconds < 600:
        return f"{seconds:.0f}\N{NO-BREAK SPACE}s"
    return f"{seconds / 60:.0f}\N{NO-BREAK SPACE}min" if seconds < 36000 else f"{seconds / 3600:.1f}\N{NO-BREAK SPACE}h"
