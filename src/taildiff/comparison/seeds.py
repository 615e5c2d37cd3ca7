"""Runs that differ only in the training seed as one column of a comparison; imports no torch.

Such runs are one setting. Its values v_1 … v_n are shown as their mean and Student's interval,
mean ± t(n-1, 0.975) s / sqrt(n). A difference of two settings with the same seeds is paired, since runs of equal seed
draw the same images and noise (`rng.py`): the same formula over the n differences. Otherwise it is
Welch's (1947): squared error s_a²/n_a + s_b²/n_b, with the degrees of freedom of Satterthwaite (1946).

Runs that were stopped by time have unequal steps: they, and the runs that they are compared with, are then compared at
equal training time, which the table says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt
from pathlib import Path
from statistics import mean, variance  # exact: the order of the runs changes no digit

from taildiff.comparison.compare import Subject, choose, names_of, notes_of
from taildiff.comparison.difference import Difference
from taildiff.comparison.equal_training import At
from taildiff.comparison.settings import TrainedRun, check_seeds, grouped, read_runs, setting_names
from taildiff.comparison.table import Cell, ComparisonTable, Line, Verdict
from taildiff.comparison.verdict import at_own, common_grid, judged, own_guidance
from taildiff.errors import RunError
from taildiff.evaluation.best_guidance import criterion
from taildiff.evaluation.replicates import Key, key_of
from taildiff.evaluation.table import Row
from taildiff.spec import METRICS


@dataclass(frozen=True)
class Setting:
    """The rows of each run of a setting, in ascending order of seeds."""

    name: str
    seeds: tuple[int, ...]
    rows: tuple[dict[Key, Row], ...]
    subjects: tuple[Subject, ...]

    @property
    def steps(self) -> tuple[int, int]:
        """The lowest and highest step of its weights."""
        steps = [subject.table.definition.step for subject in self.subjects]
        return min(steps), max(steps)

    def measured(self, key: Key) -> dict[int, Row]:
        """The rows of one number by seed, where they have a value."""
        by_seed = ((seed, rows.get(key)) for seed, rows in zip(self.seeds, self.rows, strict=True))
        return {seed: row for seed, row in by_seed if row is not None and row.value is not None}

    def value(self, key: Key) -> float | None:
        """The mean of a number; None where a seed lacks it."""
        rows = self.measured(key)
        return mean(row.value or 0.0 for row in rows.values()) if len(rows) == len(self.seeds) else None


def compare_seeds(paths: Sequence[Path], at: At | None = None) -> ComparisonTable:
    """One column per setting: means over the seeds of its runs, with Student's intervals.

    Weights of one setting that have different steps are compared at equal training time, unless `at` names another
    measure. Raises `RunError` for images, a seed given twice, and like `choose`.
    """
    groups = grouped(read_runs(paths, names_of(paths)))
    for group in groups:
        check_seeds(group)
    settings = _settings(paths, groups, at)
    if at is None and any(low < high for low, high in (setting.steps for setting in settings)):
        settings = _settings(paths, groups, "time")
    keys = dict.fromkeys(key for rows in settings[0].rows for key in rows if METRICS[key[0]].option)
    lines = [line for key in keys if (line := _line(settings, [key] * len(settings))) is not None]
    if not lines:
        raise RunError("nothing to compare: no two settings have a number at the same guidance and class")
    subjects = [subject for setting in settings for subject in setting.subjects]
    notes = (*notes_of(subjects), *_notes(settings, lines))
    is_fid = subjects[0].table.definition.extractor.is_fid
    names, seeds = tuple(s.name for s in settings), tuple(len(s.seeds) for s in settings)
    verdict = verdict_over(settings)
    best = at_own(keys, verdict.guidances, partial(_line, settings))
    return ComparisonTable(names, tuple(lines), notes, is_fid, seeds, verdict, best)


def verdict_over(settings: Sequence[Setting]) -> Verdict:
    """The verdict on means over training seeds, with Student's or Welch's p-values."""
    grid = common_grid(subject.table.guidances for setting in settings for subject in setting.subjects)
    rule = criterion(subject.table for setting in settings for subject in setting.subjects)
    guidances = [own_guidance(setting.value, grid, rule) for setting in settings]
    return judged([setting.name for setting in settings], grid, guidances, partial(_line, settings), rule)


def student(values: Sequence[float]) -> Difference:
    """The mean of normally distributed values (n,), with interval and p-value for two or more."""
    if len(values) < 2:
        return Difference(mean(values))
    return _around(mean(values), variance(values) / len(values), len(values) - 1)


def welch(first: Sequence[float], other: Sequence[float]) -> Difference:
    """mean(other) - mean(first) of unpaired values, with interval and p-value for two or more of each."""
    difference = mean(other) - mean(first)
    if min(len(first), len(other)) < 2:
        return Difference(difference)
    a, b = (variance(v) / len(v) for v in (first, other))
    if a + b == 0:  # no spread, so the degrees of freedom are undefined
        return _around(difference, 0.0, 1.0)
    share = a / (a + b)
    freedom = 1 / (share**2 / (len(first) - 1) + (1 - share) ** 2 / (len(other) - 1))
    return _around(difference, a + b, freedom)


def _around(centre: float, squared_error: float, freedom: float) -> Difference:
    """Without a p-value where there is a difference and no spread: a few equal values are no sign of certainty."""
    from scipy.special import stdtr, stdtrit  # Student's law without the half second that scipy.stats takes to import

    error = sqrt(squared_error)
    half = float(stdtrit(freedom, 0.975)) * error
    p = 2 * float(stdtr(freedom, -abs(centre) / error)) if error else 1.0 if centre == 0 else None
    return Difference(centre, centre - half, centre + half, p)


def _settings(paths: Sequence[Path], groups: Sequence[Sequence[TrainedRun]], at: At | None) -> list[Setting]:
    subjects = dict(zip(paths, choose(paths, at), strict=True))
    return [
        setting_of(name, [run.seed for run in group], [subjects[run.path] for run in group])
        for name, group in zip(setting_names(groups), groups, strict=True)
    ]


def setting_of(name: str, seeds: Sequence[int], subjects: Sequence[Subject]) -> Setting:
    """A setting of evaluated runs with these seeds, in ascending order."""
    rows = tuple({key_of(row): row for row in subject.table.rows} for subject in subjects)
    setting = Setting(name, tuple(seeds), rows, tuple(subjects))
    if subjects[0].training is None:
        return setting
    low, high = setting.steps
    return replace(setting, name=f"{name} (step {low})" if low == high else f"{name} (steps {low}–{high})")


def _line(settings: Sequence[Setting], keys: Sequence[Key]) -> Line | None:
    """One number of each setting; None where fewer than two have it (a single setting shows all its numbers)."""
    measured = [setting.measured(key) for setting, key in zip(settings, keys, strict=True)]
    if sum(map(bool, measured)) < min(2, len(settings)):
        return None
    values = [{seed: row.value for seed, row in rows.items() if row.value is not None} for rows in measured]
    means = [mean_row(s.name, list(rows.values())) for s, rows in zip(settings, measured, strict=True)]
    differences = [None, *(_difference(values[0], other) for other in values[1:])]
    cells = [Cell(row, False, d, len(own)) for row, d, own in zip(means, differences, values, strict=True)]
    return Line(*keys[0], tuple(cells))


def mean_row(name: str, rows: Sequence[Row]) -> Row | None:
    """The mean of rows that have a value, with Student's interval and the smallest image counts; None without any."""
    if not rows:
        return None
    values = [row.value for row in rows if row.value is not None]
    spread = student(values)
    return rows[0].model_copy(
        update={
            "run": name,
            "value": mean(values),
            "low": spread.low,
            "high": spread.high,
            "n_real": min(row.n_real for row in rows),
            "n_generated": min(row.n_generated for row in rows),
        }
    )


def _difference(first: dict[int, float], other: dict[int, float]) -> Difference | None:
    if not first or not other:
        return None
    if first.keys() == other.keys():
        gaps = [other[seed] - first[seed] for seed in first]
        return student(gaps)
    return welch(list(first.values()), list(other.values()))


def _notes(settings: Sequence[Setting], lines: Sequence[Line]) -> list[str]:
    seeds = "; ".join(f"{s.name}: {', '.join(map(str, s.seeds))}" for s in settings)
    notes = [
        f"means over training seeds ({seeds}); ± and intervals are Student's 95 % from the spread between these runs, "
        "not the bootstrap over images"
    ]
    first, *others = settings
    for words, chosen in (
        ("paired by seed", [s.name for s in others if s.seeds == first.seeds]),
        ("unpaired (Welch), since the seeds differ", [s.name for s in others if s.seeds != first.seeds]),
    ):
        if chosen:
            notes.append(f"difference to {first.name} {words}: {', '.join(chosen)}")
    notes += _unequal_steps(settings)
    if alone := [s.name for s in settings if len(s.seeds) == 1]:
        notes.append(
            f"only one run, so no interval: {', '.join(alone)}. Train more seeds: taildiff train RECIPE --seed N"
        )
    complete = tuple(len(s.seeds) for s in settings)
    if any(tuple(cell.seeds for cell in line.cells) != complete for line in lines):
        notes.append("n counts the seeds where some lack the number; such differences are unpaired")
    return notes


def _unequal_steps(settings: Sequence[Setting]) -> list[str]:
    """How far the steps and the training of the runs of one setting spread."""
    spreads: list[str] = []
    measure = ""
    for setting in settings:
        (low, high), training = setting.steps, [s.training for s in setting.subjects if s.training]
        if low < high:
            least, most = (end(training, key=lambda each: each.amount) for end in (min, max))
            spreads.append(f"{setting.name} spans {(high - low) / low:.1%}, {least.amount:.4g} to {most.text}")
            measure = least.at
    return [f"unequal steps, compared at equal training {measure}: {'; '.join(spreads)}"] if spreads else []
