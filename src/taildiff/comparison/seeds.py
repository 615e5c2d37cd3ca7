"""Runs that differ only in the training seed as one column of a comparison; imports no torch.

Such runs are one setting. Its values v_1 … v_n are shown as their mean and Student's interval,
mean ± t(n-1, 0.975) s / sqrt(n). A difference of two settings with the same seeds is paired, since runs of equal seed
draw the same images and noise (`rng.py`): the same formula over the n differences. Otherwise it is
Welch's (1947): squared error s_a²/n_a + s_b²/n_b, with the degrees of freedom of Satterthwaite (1946).

Runs that were stopped by time have unequal steps: they, and the runs that they are compared with, are then compared at
equal training time, which the table says.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile
from math import sqrt
from pathlib import Path
from statistics import mean, variance  # exact: the order of the runs changes no digit

from taildiff.comparison.compare import (
    Cell,
    ComparisonTable,
    Difference,
    Line,
    Subject,
    best_of,
    choose,
    names_of,
    notes_of,
)
from taildiff.comparison.equal_training import At
from taildiff.errors import RunError
from taildiff.evaluation.replicates import Key, key_of
from taildiff.evaluation.table import Row
from taildiff.metrics.intervals import Interval
from taildiff.run.info import MAY_CHANGE, RunInfo, changed
from taildiff.run.layout import RunDir
from taildiff.spec import METRICS

_APART = "-_. /="
_NUMBERING = re.compile(rf"[{_APART}]*((?<![A-Za-z0-9])(seed|s))?[{_APART}]*$")


@dataclass(frozen=True)
class _Run:
    path: Path
    name: str
    info: RunInfo

    @property
    def seed(self) -> int:
        return self.info.spec.seed


@dataclass(frozen=True)
class _Setting:
    """The rows of each run of a setting, in ascending order of seeds."""

    name: str
    seeds: tuple[int, ...]
    rows: tuple[dict[Key, Row], ...]
    subjects: tuple[Subject, ...]

    @property
    def steps(self) -> tuple[int, int]:
        """The lowest and highest step of its weights."""
        return _ends([subject.table.definition.step for subject in self.subjects])

    def measured(self, key: Key) -> dict[int, Row]:
        """The rows of one number by seed, where they have a value."""
        by_seed = ((seed, rows.get(key)) for seed, rows in zip(self.seeds, self.rows, strict=True))
        return {seed: row for seed, row in by_seed if row is not None and row.value is not None}


def compare_seeds(paths: Sequence[Path], at: At | None = None) -> ComparisonTable:
    """One column per setting: means over the seeds of its runs, with Student's intervals.

    Weights of one setting that have different steps are compared at equal training time, unless `at` names another
    measure. Raises `RunError` for images, a seed given twice, and like `choose`.
    """
    groups = _grouped(paths, names_of(paths))
    for group in groups:
        _check_seeds(group)
    settings = _settings(paths, groups, at)
    if at is None and any(low < high for low, high in (setting.steps for setting in settings)):
        settings = _settings(paths, groups, "time")
    keys = dict.fromkeys(key for rows in settings[0].rows for key in rows if METRICS[key[0]].option)
    lines = [line for key in keys if (line := _line(key, settings)) is not None]
    if not lines:
        raise RunError("nothing to compare: no two settings have a number at the same guidance and class")
    subjects = [subject for setting in settings for subject in setting.subjects]
    notes = (*notes_of(subjects), *_notes(settings, lines))
    is_fid = subjects[0].table.definition.extractor.is_fid
    return ComparisonTable(
        tuple(s.name for s in settings), tuple(lines), notes, is_fid, tuple(len(s.seeds) for s in settings)
    )


def only_seeds_differ(paths: Sequence[Path]) -> str | None:
    """Names of the runs that `compare_seeds` would put into one column; None without any."""
    named = [(path, name) for path, name in zip(paths, names_of(paths), strict=True) if RunDir(path).exists()]
    try:
        groups = _grouped([path for path, _ in named], [name for _, name in named])
    except RunError:  # of a file that comparing single runs does not read
        return None
    groups = [group for group in groups if len({run.seed for run in group}) == len(group) > 1]
    return "; ".join(", ".join(run.name for run in group) for group in groups) or None


def student(values: Sequence[float]) -> Interval | None:
    """95 % interval of the mean of normally distributed values (n,); None for fewer than two."""
    if len(values) < 2:
        return None
    return _around(mean(values), variance(values) / len(values), len(values) - 1)


def welch(first: Sequence[float], other: Sequence[float]) -> Interval | None:
    """95 % interval of mean(other) - mean(first) of unpaired values; None for fewer than two of either."""
    if min(len(first), len(other)) < 2:
        return None
    difference, (a, b) = mean(other) - mean(first), (variance(v) / len(v) for v in (first, other))
    if a + b == 0:  # no spread, so the degrees of freedom are undefined
        return Interval(difference, difference)
    share = a / (a + b)
    freedom = 1 / (share**2 / (len(first) - 1) + (1 - share) ** 2 / (len(other) - 1))
    return _around(difference, a + b, freedom)


def _around(centre: float, squared_error: float, freedom: float) -> Interval:
    from scipy.special import stdtrit  # Student's quantile without the half second that scipy.stats takes to import

    half = float(stdtrit(freedom, 0.975)) * sqrt(squared_error)
    return Interval(centre - half, centre + half)


def _grouped(paths: Iterable[Path], names: Iterable[str]) -> list[list[_Run]]:
    """Runs of one setting together, each in ascending order of seeds, in the order of their first runs."""
    groups: list[list[_Run]] = []
    for path, name in zip(paths, names, strict=True):
        if not RunDir(path).exists():
            raise RunError(
                f"--over-seeds takes means over separately trained runs, and {path} is not a run; remove it or compare "
                "without --over-seeds"
            )
        run = _Run(path, name, RunDir(path).info())
        home = next((group for group in groups if _same(group[0].info, run.info)), None)
        if home is None:
            groups.append([run])
        else:
            home.append(run)
    return [sorted(group, key=lambda run: run.seed) for group in groups]


def _same(a: RunInfo, b: RunInfo) -> bool:
    """Whether two runs differ only in the seed and in what does not change their weights."""
    free = (*MAY_CHANGE, "seed", "data.list")  # the split's hash covers the content of the list
    trained = [
        # terms that compare the samples of a device see fewer of them on more devices
        (info.split_hash, info.start_from, info.latents and info.latents.hash)
        + ((info.spec.processes,) if info.spec.objective.compares_samples else ())
        for info in (a, b)
    ]
    return trained[0] == trained[1] and not changed(a.spec, b.spec, free)


def _check_seeds(group: Sequence[_Run]) -> None:
    for run, other in pairwise(group):
        if run.seed == other.seed:
            raise RunError(
                f"{run.name} and {other.name} are equal, with the same seed {run.seed}, so their mean adds nothing. "
                "Give only one of them"
            )


def _settings(paths: Sequence[Path], groups: Sequence[Sequence[_Run]], at: At | None) -> list[_Setting]:
    subjects = dict(zip(paths, choose(paths, at), strict=True))
    return [
        _setting(name, group, [subjects[run.path] for run in group])
        for name, group in zip(_names(groups), groups, strict=True)
    ]


def _setting(name: str, group: Sequence[_Run], subjects: Sequence[Subject]) -> _Setting:
    rows = tuple({key_of(row): row for row in subject.table.rows} for subject in subjects)
    setting = _Setting(name, tuple(run.seed for run in group), rows, tuple(subjects))
    if subjects[0].training is None:
        return setting
    low, high = setting.steps
    return replace(setting, name=f"{name} (step {low})" if low == high else f"{name} (steps {low}–{high})")


def _ends(steps: Sequence[int]) -> tuple[int, int]:
    return min(steps), max(steps)


def _line(key: Key, settings: Sequence[_Setting]) -> Line | None:
    """One number of all settings; None where fewer than two have it (a single setting shows all its numbers)."""
    measured = [setting.measured(key) for setting in settings]
    if sum(map(bool, measured)) < min(2, len(settings)):
        return None
    values = [{seed: row.value for seed, row in rows.items() if row.value is not None} for rows in measured]
    names = [setting.name for setting in settings]
    means = [_mean(*each) for each in zip(names, measured, values, strict=True)]
    best = best_of(key[0], means)
    cells = [
        Cell(row, place in best, _difference(values[0], values[place]) if place else None, len(values[place]))
        for place, row in enumerate(means)
    ]
    return Line(*key, tuple(cells))


def _mean(name: str, rows: dict[int, Row], values: dict[int, float]) -> Row | None:
    """The mean of the rows of all seeds, with the smallest image counts among them."""
    if not rows:
        return None
    spread = student(list(values.values()))
    return next(iter(rows.values())).model_copy(
        update={
            "run": name,
            "value": mean(values.values()),
            "low": spread.low if spread else None,
            "high": spread.high if spread else None,
            "n_real": min(row.n_real for row in rows.values()),
            "n_generated": min(row.n_generated for row in rows.values()),
        }
    )


def _difference(first: dict[int, float], other: dict[int, float]) -> Difference | None:
    if not first or not other:
        return None
    if first.keys() == other.keys():
        gaps = [other[seed] - first[seed] for seed in first]
        return Difference.within(mean(gaps), student(gaps))
    a, b = list(first.values()), list(other.values())
    return Difference.within(mean(b) - mean(a), welch(a, b))


def _notes(settings: Sequence[_Setting], lines: Sequence[Line]) -> list[str]:
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


def _unequal_steps(settings: Sequence[_Setting]) -> list[str]:
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


def _names(groups: Sequence[Sequence[_Run]]) -> list[str]:
    """The common part of a setting's run names, its recipe or its first run: the first choice that is unique."""
    members = [[run.name for run in group] for group in groups]
    starts = [_NUMBERING.sub("", _shared(names)) for names in members]
    ends = [_shared([name[::-1] for name in names])[::-1].lstrip(_APART) for names in members]
    recipes = [group[0].info.spec.recipe for group in groups]
    for names in (starts, ends, recipes):
        if all(names) and len(set(names)) == len(names):
            return names
    return [names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more" for names in members]


def _shared(names: Sequence[str]) -> str:
    """The longest common prefix, without the leading digits of a number that continues after it."""
    same = takewhile(lambda marks: len(set(marks)) == 1, zip(*names, strict=False))
    start = names[0][: len(list(same))]
    return start.rstrip("0123456789") if any(name[len(start) :][:1].isdigit() for name in names) else start
