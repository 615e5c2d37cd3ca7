"""Compares evaluations in one table, with differences to the first one and their intervals; imports no torch.

Numbers of different definitions are never compared. The interval of a difference comes from the bootstrap replicates:
paired where the images share seeds, labels and real images, since those are then resampled alike.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

from taildiff.comparison.difference import between
from taildiff.comparison.equal_training import CLOSE, At, Training, amount, uneven
from taildiff.comparison.table import Cell, ComparisonTable, Line, Verdict
from taildiff.comparison.verdict import at_own, common_grid, judged, own_guidance
from taildiff.errors import RunError
from taildiff.evaluation.best_guidance import criterion
from taildiff.evaluation.replicates import Floats, Key, key_of, read_replicates
from taildiff.evaluation.table import Row, Table, superseded
from taildiff.run.layout import EvalDir, RunDir, in_order
from taildiff.spec import METRICS


@dataclass(frozen=True)
class Subject:
    """One evaluation with its name in the table."""

    name: str
    folder: EvalDir
    table: Table
    training: Training | None = None
    """Of its weights, where evaluations of equal training are compared."""


def found_at(path: Path) -> list[EvalDir]:
    """Finished evaluations of a run, of images (in the folder beside them) or in a folder, oldest first."""
    run = RunDir(path)
    if run.exists():
        return list(run.evaluations())
    resolved = path.resolve()
    for place in (resolved.with_name(f"{resolved.name}-evals"), resolved):
        if folders := in_order((*place.glob("*/table.json"), *place.glob("table.json"))):
            return folders
    return []


def choose(paths: Sequence[Path], at: At | None = None) -> list[Subject]:
    """The newest evaluation of each path by a definition that all share; with `at`, the one nearest to equal training.

    One without intervals is left out where another one of the same weights and settings has them.
    Raises `RunError` where a path has no evaluation and where no definition is shared (naming what differs).
    """
    evaluated = [_subjects(path, name) for path, name in zip(paths, names_of(paths), strict=True)]
    if at is not None:
        evaluated = _at_equal(paths, evaluated, at)
    for subject in reversed(evaluated[0]):
        chosen = [subject]
        for others in evaluated[1:]:
            same = [other for other in reversed(others) if not differing(subject.table, other.table)]
            chosen += sorted(same, key=lambda other: (_far(other), _swept(other) != _swept(subject)))[:1]
        if len(chosen) == len(paths):
            return chosen
    newest = [subjects[-1] for subjects in evaluated]
    for other in newest[1:]:
        if differ := differing(newest[0].table, other.table):
            what = "; ".join(f"{name}: {a} and {b}" for name, a, b in differ)
            raise RunError(
                f"{newest[0].name} and {other.name} were evaluated by different definitions ({what}). "
                "Evaluate both with the same options: taildiff evaluate"
            )
    raise RunError("no definition is shared by all; evaluate all with the same options: taildiff evaluate")


def differing(first: Table, second: Table) -> list[tuple[str, str, str]]:
    """The settings in which two evaluations differ: (name, first value, other value)."""
    a, b = first.definition.method, second.definition.method
    shared = [name for name in a if name in b]  # the sampling of existing images is not known
    return [(name, _short(a[name]), _short(b[name])) for name in shared if a[name] != b[name]]


def compare(subjects: Sequence[Subject]) -> ComparisonTable:
    """All numbers that the first subject and another one have, and the verdict."""
    numbers = [_Numbers.of(subject) for subject in subjects]
    keys = [key for key in numbers[0].rows if METRICS[key[0]].option]
    lines = [line for key in keys if (line := _line(numbers, [key] * len(numbers))) is not None]
    if not lines:
        raise RunError("nothing to compare: no two of them have a number at the same guidance and class")
    verdict = verdict_on(subjects)
    return ComparisonTable(
        tuple(_named(s) for s in subjects),
        tuple(lines),
        (*notes_of(subjects), *_without_replicates(subjects, numbers)),
        subjects[0].table.definition.extractor.is_fid,
        verdict=verdict,
        best=at_own(keys, verdict.guidances, partial(_line, numbers)),
    )


def verdict_on(subjects: Sequence[Subject]) -> Verdict:
    """The verdict on evaluations by one definition: `verdict.py`."""
    numbers = [_Numbers.of(subject) for subject in subjects]
    grid = common_grid(subject.table.guidances for subject in subjects)
    rule = criterion(subject.table for subject in subjects)
    guidances = [own_guidance(own.value, grid, rule) for own in numbers]  # None for existing images
    return judged([s.name for s in subjects], grid, guidances, partial(_line, numbers), rule)


@dataclass(frozen=True)
class _Numbers:
    """The rows and replicates of one evaluation."""

    rows: dict[Key, Row]
    replicates: dict[Key, Floats]

    @classmethod
    def of(cls, subject: Subject) -> Self:
        rows = subject.table.rows
        return cls({key_of(row): row for row in rows}, read_replicates(subject.folder, rows))

    def value(self, key: Key) -> float | None:
        row = self.rows.get(key)
        return row.value if row else None


def _line(numbers: Sequence[_Numbers], keys: Sequence[Key]) -> Line | None:
    """One number of each; None where fewer than two have it."""
    rows = [own.rows.get(key) for own, key in zip(numbers, keys, strict=True)]
    if sum(row is not None and row.value is not None for row in rows) < 2:
        return None
    first, *others = [own.replicates.get(key) for own, key in zip(numbers, keys, strict=True)]
    differences = [between(rows[0], row, (first, other)) for row, other in zip(rows[1:], others, strict=True)]
    cells = [Cell(row, difference=difference) for row, difference in zip(rows, [None, *differences], strict=True)]
    return Line(*keys[0], tuple(cells))


def _without_replicates(subjects: Sequence[Subject], numbers: Sequence[_Numbers]) -> Iterator[str]:
    missing = [subject for subject, own in zip(subjects, numbers, strict=True) if not own.replicates]
    bare = [subject.name for subject in missing if subject.table.definition.spec.intervals == "none"]
    if bare:
        yield (
            f"no intervals of differences for {', '.join(bare)}: evaluated with --intervals none. Evaluate again "
            "without it, which reuses images and features: taildiff evaluate"
        )
    if others := [subject.name for subject in missing if subject.name not in bare]:
        yield (
            f"no intervals of differences for {', '.join(others)}: evaluated by an older version, or without "
            "replicates. Evaluate again, which reuses images and features: taildiff evaluate"
        )


def notes_of(subjects: Sequence[Subject]) -> tuple[str, ...]:
    """Warnings about reading their numbers side by side."""
    notes = list(dict.fromkeys(note for subject in subjects for note in subject.table.notes))
    notes += [note for s in subjects if s.training is not None and (note := uneven(s.name, s.training))]
    if {subject.table.definition.source for subject in subjects} == {"images", "run"}:
        notes.append("the sampling of the existing images is not known: differences may be due to guidance")
    if len({_swept(subject) for subject in subjects}) > 1:
        notes.append("guidance was swept over different values: the verdict chooses from the common ones alone")
    return tuple(notes)


def _subjects(path: Path, name: str) -> list[Subject]:
    found = [Subject(name, folder, Table.read(folder)) for folder in _evaluated(path)]
    return [each for each in found if not superseded(each.table, (other.table for other in found))]


def _evaluated(path: Path) -> list[EvalDir]:
    if folders := found_at(path):
        return folders
    problem = f"has not been evaluated: taildiff evaluate {path}" if path.exists() else "does not exist"
    raise RunError(f"{path} {problem}")


def names_of(paths: Sequence[Path]) -> list[str]:
    """The shortest path endings that differ; `RunError` where a path occurs twice."""
    resolved = [path.resolve() for path in paths]
    if twice := [path for path in resolved if resolved.count(path) > 1]:
        raise RunError(f"{twice[0]} is given twice; give each path once")
    candidates = (["/".join(path.parts[-depth:]) for path in resolved] for depth in itertools.count(1))
    return next(names for names in candidates if len(set(names)) == len(names))


def _at_equal(paths: Sequence[Path], evaluated: Sequence[list[Subject]], at: At) -> list[list[Subject]]:
    """The evaluations of each run, ending with those nearest to the longest training that all have reached."""
    runs = [RunDir(path) for path in paths]
    for run, of_run in zip(runs, evaluated, strict=True):
        if not run.exists():
            raise RunError(f"--at {at} compares runs, and {of_run[0].name} is not a run")
    steps = [[subject.table.definition.step for subject in of_run] for of_run in evaluated]
    amounts = [[amount(run, step, at) for step in own] for run, own in zip(runs, steps, strict=True)]
    wanted = min(map(max, amounts))
    placed = [
        [
            replace(subject, training=Training(run, at, step, reached, wanted))
            for subject, step, reached in zip(*of_run, strict=True)
        ]
        for run, *of_run in zip(runs, evaluated, steps, amounts, strict=True)
    ]
    return [sorted(of_run, key=lambda s: s.training.apart if s.training else 0.0, reverse=True) for of_run in placed]


def _far(subject: Subject) -> bool:
    return subject.training is not None and subject.training.apart > CLOSE


def _swept(subject: Subject) -> tuple[float, ...]:
    return tuple(sorted(subject.table.guidances))


def _named(subject: Subject) -> str:
    return subject.name if subject.training is None else f"{subject.name} (step {subject.training.step})"


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:20]}…{value[-8:]}"
