"""Sentences computed from the summary: which run is ahead where, what is too close to call, how far to trust it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from taildiff.comparison.difference import LEVEL
from taildiff.comparison.table import Line
from taildiff.evaluation.overview import classifier_line
from taildiff.evaluation.table import Group
from taildiff.reporting.judge import verdict_of
from taildiff.reporting.legibility import LEGIBLE_ALL, LEGIBLE_CLASS
from taildiff.reporting.load import Comparison, Evaluation, RunData
from taildiff.reporting.settings import settings_of
from taildiff.reporting.summary import (
    PER_CENT,
    WHERE,
    WORST,
    Summary,
    SummaryRow,
    best_guidance,
    capitalised,
    format_value,
    unit_of,
)
from taildiff.spec import METRICS, flatten


@dataclass(frozen=True)
class Claim:
    """A sentence; `run` is its subject (in the run's colour on the page), or None."""

    run: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.run} {self.text}" if self.run else self.text


@dataclass(frozen=True)
class _Compared:
    """A comparison of the verdict in words."""

    subject: str
    text: str
    ahead: str
    """The run that is clearly better; empty if that is too close to call."""
    group: Group


_TOLD_FIRST: tuple[Group, ...] = ("tail", "all", "body", "head", "many", "medium", "few", "class")
"""Of several clear differences, those in rare classes are what this is about."""


def headline(summary: Summary) -> Claim | None:
    """The verdict in one sentence; None where nothing was evaluated."""
    evaluated = [row for row in summary.rows if row.guidance is not None]
    if len(evaluated) == 1:
        return next(iter(_recognised(evaluated[0])), None)
    compared, judged = _all_compared(summary), summary.verdict.judged
    if not judged:
        return next((Claim(None, _sentence(note)) for note in summary.verdict.notes), None)
    names = summary.verdict.names
    wins = {name: [each for each in compared if each.ahead == name] for name in names}
    best = max(names, key=lambda name: len(wins[name]))
    clear = sum(map(len, wins.values()))
    if not clear:
        return Claim(None, f"Too close to call: none of {len(compared)} comparisons of {enumerated(names)} is clear.")
    told = _by_subject(sorted(wins[best], key=lambda each: _TOLD_FIRST.index(each.group))[:2])
    more = f", and in {len(wins[best]) - 2} more" if len(wins[best]) > 2 else ""
    if clear == len(wins[best]):
        return Claim(best, f"is better in {clear} of {len(compared)} comparisons and worse in none: {told}{more}.")
    others = enumerated([f"{name} in {len(own)}" for name, own in wins.items() if own and name != best])
    return Claim(best, f"is better in {len(wins[best])} of {len(compared)} comparisons ({told}{more}), {others}.")


def _recognised(row: SummaryRow) -> Iterator[Claim]:
    """What the classifier makes of a single run's images, against real ones."""
    score, worst = row.score("accuracy", "all"), row.score("accuracy", WORST)
    if score is None:
        yield from _single(row)
        return
    text = f"{format_value(score.value, 'share')} of its images are recognised as their class"
    if row.real_all < 1:
        text += f", where {format_value(row.real_all, 'share')} of real ones are"
    if worst:
        text += f"; its worst class is {worst.class_name} ({format_value(worst.value, 'share')})"
    yield Claim(row.run, f"{row.at.strip()}: {text}." if row.at else f"– {text}.")


def _all_compared(summary: Summary) -> list[_Compared]:
    """Every tested comparison with the first run."""
    places = range(1, len(summary.verdict.names))
    return [each for p in places for line in summary.verdict.lines if (each := _words(line, p, summary))]


def claims(summary: Summary) -> list[Claim]:
    """The findings in order: which run is ahead where, what is too close to call, legibility, cost."""
    evaluated = [row for row in summary.rows if row.guidance is not None]
    first = _single(evaluated[0]) if len(evaluated) == 1 else _compared(summary)
    return [*first, *_legibility(evaluated), *_cost(summary.rows)]


def _single(row: SummaryRow) -> list[Claim]:
    frechet, accuracy, worst = row.score("frechet", "all"), row.score("accuracy", "all"), row.score("accuracy", WORST)
    parts: list[str] = []
    if frechet:
        groups = [(name, row.score("frechet", name)) for name in ("head", "body", "tail")]
        split = ", ".join(f"{format_value(score.value, 'score')} in the {name}" for name, score in groups if score)
        text = f"has a Fréchet distance of {format_value(frechet.value, 'score')}"
        parts.append(f"{text} ({split})" if split else text)
    if accuracy:
        text = f"{format_value(accuracy.value, 'share')} of its samples are recognised as their class"
        if worst:
            text += f", in its worst class ({worst.class_name}) {format_value(worst.value, 'share')}"
        parts.append(text)
    start = row.at.strip() + ("" if frechet or not row.at else ":")
    return [Claim(row.run, f"{start} {'; '.join(parts)}.".strip())] if parts else []


def _compared(summary: Summary) -> list[Claim]:
    """What the verdict calls clear, by run, and what is too close to call."""
    verdict = summary.verdict
    if not verdict.judged:
        return [Claim(None, _sentence(note)) for note in verdict.notes]
    guidance = dict(zip(verdict.names, verdict.guidances, strict=True))
    first, *others = verdict.names
    ahead: list[Claim] = []
    close: list[_Compared] = []
    for place, other in enumerate(others, start=1):
        compared = [each for line in verdict.lines if (each := _words(line, place, summary))]
        for run, rival in ((first, other), (other, first)):
            if clear := [each for each in compared if each.ahead == run]:
                against = f" of {rival}" if len(others) > 1 else ""
                ahead.append(Claim(run, f"(guidance {guidance[run]:g}) is ahead{against} in {_by_subject(clear)}."))
        close += [each for each in compared if not each.ahead]
    rule = f"Too close to call, Holm-corrected over all comparisons at {100 * LEVEL:.0f}{PER_CENT}"
    return [*ahead, *([Claim(None, f"{rule}: {_by_subject(close)}.")] if close else [])]


def _words(line: Line, place: int, summary: Summary) -> _Compared | None:
    """One comparison with the first run; None if it was not tested."""
    difference, rows = line.cells[place].difference, (line.cells[0].row, line.cells[place].row)
    if difference is None or difference.p_holm is None:
        return None
    record, names = METRICS[line.metric], (summary.verdict.names[0], summary.verdict.names[place])
    subject = next((c.subject for c in summary.columns if c.metric == line.metric), record.title)
    values = [format_value(row.value if row else None, unit_of(record)) for row in rows]
    if not difference.clear:
        return _Compared(
            subject, f"{WHERE[line.group]} ({names[0]} {values[0]}, {names[1]} {values[1]})", "", line.group
        )
    winner = int(line.cells[place].bold)
    return _Compared(
        subject, f"{WHERE[line.group]} ({values[winner]} against {values[1 - winner]})", names[winner], line.group
    )


def _by_subject(compared: Sequence[_Compared]) -> str:
    subjects = dict.fromkeys(each.subject for each in compared)
    return "; ".join(f"{s} {enumerated([each.text for each in compared if each.subject == s])}" for s in subjects)


def enumerated(parts: Sequence[str]) -> str:
    """`a`, `a and b`, or `a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _legibility(rows: Sequence[SummaryRow]) -> list[Claim]:
    passed = [_legible(row) for row in rows if row.legible is True]
    failed = [_legible(row) for row in rows if row.legible is False]
    if not passed and not failed:
        return []
    shares = f"{format_value(LEGIBLE_ALL, 'share')} of it over all samples and {format_value(LEGIBLE_CLASS, 'share')}"
    real = " or ".join(dict.fromkeys(format_value(row.real_all, "share") for row in rows))
    text = (
        f"Legible, relative to the classifier's accuracy on real images ({real}), with at least {shares} of it in "
        f"every class: {enumerated(passed) if passed else 'none'}."
    )
    return [Claim(None, f"{text} Not legible: {enumerated(failed)}." if failed else text)]


def _legible(row: SummaryRow) -> str:
    overall, worst = format_value(row.legible_all, "share"), format_value(row.legible_worst, "share")
    at = f" at guidance {row.legible_guidance:g}" if row.swept else ""
    return f"{row.run}{at} ({overall} overall, worst class {worst})"


def _cost(rows: Sequence[SummaryRow]) -> list[Claim]:
    timed = sorted((row.seconds, row.run) for row in rows if row.seconds)
    if len(timed) < 2 or timed[-1][0] < 1.05 * timed[0][0]:
        return []
    (least, quick), (most, slow) = timed[0], timed[-1]
    return [Claim(slow, f"took {most / least:.2f} times the training time of {quick}.")]


def differences(runs: Sequence[RunData]) -> list[tuple[str, list[str]]]:
    """The spec fields in which the runs differ, each with one value per run; the recipe's name is left out."""
    specs = [flatten(run.info.spec.model_dump(mode="json")) for run in runs]
    names = sorted({name for fields in specs for name in fields if name != "recipe"})
    table = [(name, [str(fields.get(name, "–")) for fields in specs]) for name in names]
    return [(name, values) for name, values in table if len(set(values)) > 1]


def classifiers(comparison: Comparison) -> list[str]:
    """What the classifier reaches on real images: the measure of every accuracy of the report."""
    tables = [run.evaluation.table for run in comparison.runs if run.evaluation]
    return list(dict.fromkeys(filter(None, map(classifier_line, tables))))


def trust(comparison: Comparison) -> list[str]:
    """How far the numbers carry: warnings first, then sizes, seeds, intervals and the evaluations' own notes."""
    settings = settings_of(comparison.runs)
    evaluations = [run.evaluation for run in settings if run.evaluation]
    sentences = [*comparison.warnings, *_unfinished(comparison.runs)]
    sentences += [text for run in settings if run.evaluation for text in _sizes(run.evaluation, bool(run.members))]
    if evaluations:
        verdict = verdict_of(settings)
        sentences += [_sentence(note) for note in verdict.notes if verdict.judged]
        sentences += _of_seeds(settings)
        sentences.append("Compare only with numbers of the same evaluation, not with published FIDs.")
    sentences += [_sentence(note) for evaluation in evaluations for note in evaluation.table.notes]
    return list(dict.fromkeys(sentences))


def _sentence(note: str) -> str:
    return capitalised(note).removesuffix(".") + "."


def _of_seeds(settings: Sequence[RunData]) -> list[str]:
    """What the numbers cover of the spread between training seeds."""
    several, single = ([run for run in settings if bool(run.members) == many] for many in (True, False))
    sentences = [sentence for run in several for sentence in _means(run)]
    if not single or any(run.is_foreign for run in single):
        return sentences
    seeds = {run.info.spec.seed for run in single}
    which = f"seed {min(seeds)}" if len(seeds) == 1 else "different seeds"
    whose = f"of {enumerated([run.name for run in single])}" if several else "per setting"
    return [*sentences, f"One training run {whose} ({which}): the effect of another seed is not measured."]


def _means(run: RunData) -> list[str]:
    evaluated = [each for each in run.members if each.evaluation]
    seeds = ", ".join(str(each.info.spec.seed) for each in evaluated)
    sentences = [
        f"{run.name} stands for means over the training seeds {seeds}: ± and bands are Student's 95 % intervals from "
        "the spread between these runs."
    ]
    steps = [each.evaluation.table.definition.step for each in evaluated if each.evaluation]
    if len(set(steps)) > 1:
        sentences.append(f"The seeds of {run.name} were evaluated at unequal steps, {min(steps)} to {max(steps)}.")
    if len({each.evaluation.table.guidances for each in evaluated if each.evaluation}) > 1:
        sentences.append(
            f"The seeds of {run.name} were evaluated at different guidance; what most of them have is shown."
        )
    return sentences


def _unfinished(runs: Sequence[RunData]) -> list[str]:
    sentences: list[str] = []
    for run in (run for run in runs if not run.is_foreign):
        steps, done = run.info.spec.steps, run.log[-1].step if run.log else 0
        evaluated = run.evaluation.table.definition.step if run.evaluation else steps
        if evaluated < max(steps, done):
            sentences.append(f"{run.name} was evaluated at step {evaluated} of {max(steps, done)}.")
        elif run.log and done + run.info.spec.every.log <= steps:
            sentences.append(f"{run.name} is at step {done} of {steps}: training is not finished.")
    return sentences


def _sizes(evaluation: Evaluation, over_seeds: bool) -> list[str]:
    table, guidance = evaluation.table, best_guidance(evaluation)
    row = evaluation.find("frechet", "all", guidance) if guidance is not None else None
    sentences: list[str] = []
    if row is not None:
        images = f"{row.n_generated} generated and {row.n_real} real images"
        sentences.append(f"Computed from {images}, on {table.definition.extractor.dim} features.")
    if not over_seeds and any(r.low is not None for r in table.select("accuracy")):
        sentences.append("Ranges and bands are 95 % intervals; they cover the choice of the images only.")
    if row is not None and row.low is None:
        sentences.append("Fréchet distances have no interval here: do not rely on small differences between them.")
    return sentences
