"""Sentences computed from the verdict: who is ahead where, what is too close to call, and how far to trust it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taildiff.reporting.load import Comparison, Evaluation, RunData
from taildiff.reporting.summary import LEGIBLE_ALL, LEGIBLE_CLASS, Score, VerdictRow, best_guidance, show
from taildiff.spec import flatten

CLOSE = 0.05
"""Relative difference under which two numbers without intervals are not told apart."""
_CLOSE_RULE = f"intervals overlap, or less than {CLOSE:.0%} apart where there are none".replace(
    "%", "\N{NO-BREAK SPACE}%"
)


@dataclass(frozen=True)
class Claim:
    """A sentence; `run` is its subject (the page marks it with the run's colour), or None."""

    run: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.run} {self.text}" if self.run else self.text


@dataclass(frozen=True)
class _Aspect:
    subject: str
    where: str
    unit: str
    sign: int  # -1: lower is better
    get: Callable[[VerdictRow], Score | None]


_ASPECTS = (
    _Aspect("Fréchet distance", "over all classes", "score", -1, lambda row: row.frechet_all),
    _Aspect("Fréchet distance", "in the head", "score", -1, lambda row: row.frechet_head),
    _Aspect("Fréchet distance", "in the body", "score", -1, lambda row: row.frechet_body),
    _Aspect("Fréchet distance", "in the tail", "score", -1, lambda row: row.frechet_tail),
    _Aspect("share recognised", "over all classes", "percent", 1, lambda row: row.accuracy_all),
    _Aspect("share recognised", "in the tail", "percent", 1, lambda row: row.accuracy_tail),
    _Aspect("share recognised", "in the worst class", "percent", 1, lambda row: row.accuracy_worst),
    _Aspect("recall", "in the tail", "score", 1, lambda row: row.recall_tail),
)


@dataclass(frozen=True)
class _Win:
    run: str
    subject: str
    text: str
    close: bool


def claims(rows: Sequence[VerdictRow]) -> list[Claim]:
    """What the numbers say, in order: who is ahead where, what is too close to call, legibility, cost."""
    judged = [row for row in rows if row.guidance is not None]
    said = _single(judged[0]) if len(judged) == 1 else _compared(judged)
    return [*said, *_legibility(judged), *_cost(rows)]


def _single(row: VerdictRow) -> list[Claim]:
    parts: list[str] = []
    if row.frechet_all:
        groups = (("head", row.frechet_head), ("body", row.frechet_body), ("tail", row.frechet_tail))
        split = ", ".join(f"{show(score.value, 'score')} in the {name}" for name, score in groups if score)
        parts.append(
            f"has a Fréchet distance of {show(row.frechet_all.value, 'score')}" + (f" ({split})" * bool(split))
        )
    if row.accuracy_all:
        text = f"{show(row.accuracy_all.value, 'percent')} of its samples are recognised as their class"
        if row.accuracy_worst:
            text += f", in its worst class ({row.worst_class}) {show(row.accuracy_worst.value, 'percent')}"
        parts.append(text)
    return (
        [Claim(row.run, f"at guidance {row.guidance:g}{'' if row.frechet_all else ':'} " + "; ".join(parts) + ".")]
        if parts
        else []
    )


def _compared(rows: Sequence[VerdictRow]) -> list[Claim]:
    wins = [win for aspect in _ASPECTS if (win := _win(aspect, rows))]
    said: list[Claim] = []
    for row in rows:
        mine = [win for win in wins if win.run == row.run and not win.close]
        if mine:
            said.append(Claim(row.run, f"(guidance {row.guidance:g}) is ahead in {_by_subject(mine)}."))
    close = [win for win in wins if win.close]
    if close:
        said.append(Claim(None, f"Too close to call ({_CLOSE_RULE}): {_by_subject(close)}."))
    return said


def _win(aspect: _Aspect, rows: Sequence[VerdictRow]) -> _Win | None:
    """The best run and the next best; close when they print the same number or `_close`."""
    known = [(score, row.run) for row in rows if (score := aspect.get(row))]
    if len(known) < 2:
        return None
    known.sort(key=lambda pair: -aspect.sign * pair[0].value)
    (first, run), (second, other) = known[:2]
    best, next_best = show(first.value, aspect.unit), show(second.value, aspect.unit)
    if best == next_best or _close(first, second):
        return _Win(run, aspect.subject, f"{aspect.where} ({run} {best}, {other} {next_best})", close=True)
    against = f"{best} against {next_best}" if len(known) == 2 else f"{best}; next {other} {next_best}"
    return _Win(run, aspect.subject, f"{aspect.where} ({against})", close=False)


def _close(first: Score, second: Score) -> bool:
    apart = first.apart(second)
    if apart is None:
        return abs(first.value - second.value) < CLOSE * max(abs(first.value), abs(second.value))
    return not apart


def _by_subject(wins: Sequence[_Win]) -> str:
    subjects = dict.fromkeys(win.subject for win in wins)
    return "; ".join(f"{s} {_and([win.text for win in wins if win.subject == s])}" for s in subjects)


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _legibility(rows: Sequence[VerdictRow]) -> list[Claim]:
    passed = [_legible(row) for row in rows if row.legible is True]
    failed = [_legible(row) for row in rows if row.legible is False]
    if not passed and not failed:
        return []
    shares = f"{show(LEGIBLE_ALL, 'percent')} of all samples and {show(LEGIBLE_CLASS, 'percent')} in every class"
    parts = [f"Legible, with at least {shares} recognised: {_and(passed) if passed else 'none'}."]
    parts += [f"Not legible: {_and(failed)}."] if failed else []
    return [Claim(None, " ".join(parts))]


def _legible(row: VerdictRow) -> str:
    shares = f"{show(row.legible_all, 'percent')} overall, worst class {show(row.legible_worst, 'percent')}"
    return f"{row.run} at guidance {row.legible_guidance:g} ({shares})"


def _cost(rows: Sequence[VerdictRow]) -> list[Claim]:
    known = sorted((row.seconds, row.run) for row in rows if row.seconds)
    if len(known) < 2 or known[-1][0] < 1.05 * known[0][0]:
        return []
    (least, quick), (most, slow) = known[0], known[-1]
    return [Claim(slow, f"took {most / least:.2f} times the training time of {quick}.")]


def differences(runs: Sequence[RunData]) -> list[tuple[str, list[str]]]:
    """The spec fields in which the runs differ, each with one value a run; the recipe's name is left out."""
    flat = [flatten(run.info.spec.model_dump(mode="json")) for run in runs]
    names = sorted({name for fields in flat for name in fields if name != "recipe"})
    table = [(name, [str(fields.get(name, "–")) for fields in flat]) for name in names]
    return [(name, values) for name, values in table if len(set(values)) > 1]


def trust(comparison: Comparison) -> list[str]:
    """How far the numbers carry: warnings first, then sizes, seeds, intervals and the evaluation's own notes."""
    said = [*comparison.warnings, *_unfinished(comparison.runs)]
    judged = [run.evaluation for run in comparison.runs if run.evaluation]
    for evaluation in judged:
        said += _sizes(evaluation)
    specs = {run.info.spec.model_copy(update={"seed": 0}).model_dump_json() for run in comparison.runs}
    seeds = {run.info.spec.seed for run in comparison.runs}
    if len(specs) == len(comparison.runs) and judged:
        which = f"seed {min(seeds)}" if len(seeds) == 1 else "different seeds"
        said.append(f"One training run of each setting ({which}): what another seed would change is not measured.")
    if judged:
        said.append("Compare only with numbers of the same evaluation, not with published FIDs.")
    said += [_sentence(note) for evaluation in judged for note in evaluation.table.notes]
    return list(dict.fromkeys(said))


def _sentence(note: str) -> str:
    return note[:1].upper() + note[1:].removesuffix(".") + "."


def _unfinished(runs: Sequence[RunData]) -> list[str]:
    said: list[str] = []
    for run in runs:
        steps, done = run.info.spec.steps, run.log[-1].step if run.log else 0
        judged = run.evaluation.table.definition.step if run.evaluation else steps
        if judged < max(steps, done):
            said.append(f"{run.name} was judged at step {judged} of {max(steps, done)}.")
        elif run.log and done + run.info.spec.every.log <= steps:
            said.append(f"{run.name} is at step {done} of {steps}: training is not finished.")
    return said


def _sizes(evaluation: Evaluation) -> list[str]:
    said: list[str] = []
    guidance = best_guidance(evaluation)
    row = evaluation.find("frechet", "all", guidance) if guidance is not None else None
    if row is not None:
        dim = evaluation.table.definition.extractor.dim
        said.append(f"Judged on {row.n_generated} generated against {row.n_real} real images, by {dim} features.")
    judge = next((r for r in evaluation.table.select("classifier_accuracy", "all") if r.value is not None), None)
    if judge is not None:
        said.append(f"The classifier that judges recognises {show(judge.value, 'percent')} of unseen real images.")
    if any(r.low is not None for r in evaluation.table.select("accuracy")):
        said.append("Ranges and bands are 95 % intervals; they cover the draw of the samples only.")
    if row is not None and row.low is None:
        said.append("Fréchet distances have no interval here: do not build on small differences between them.")
    return said
