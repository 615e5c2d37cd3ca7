"""The runs of a report, read once; a damaged file raises `RunError` with its name, a missing one is None."""

import json
import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from taildiff.comparison.compare import names_of
from taildiff.comparison.verdict import common_grid
from taildiff.data.longtail import Groups, Split, rank
from taildiff.errors import DataError, RunError
from taildiff.evaluation.best_guidance import OVERALL, Criterion, criterion
from taildiff.evaluation.table import Group, Row, Table, superseded
from taildiff.io.npz import NpzError, map_array, read_arrays
from taildiff.io.paths import reason
from taildiff.reporting.pictures import Uint8s
from taildiff.run.info import RunInfo
from taildiff.run.layout import EvalDir, RunDir
from taildiff.spec import DataFacts
from taildiff.spec.base import CountOrZero
from taildiff.spec.metrics import METRICS, Metric


class LogLine(BaseModel):
    """A line of metrics.jsonl: means over the logged steps; None without samples."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: CountOrZero
    images: CountOrZero = 0
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    loss: float | None = None
    terms: dict[str, float | None] = {}
    by_noise: dict[str, tuple[float | None, ...]] = {}
    by_group: dict[str, dict[str, float | None]] = {}

    @field_validator("loss", "terms", "by_noise", "by_group", mode="before")
    @classmethod
    def _finite(cls, value: Any) -> Any:
        return _without_nan(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation with its folder, which also contains the images."""

    folder: EvalDir
    table: Table
    grid: tuple[float, ...] = ()
    """The guidance values that all evaluations of the report were swept over; empty: all of its own."""
    criterion: Criterion = OVERALL
    """What is lowest at the best guidance, by what all evaluations of the report have that are comparable."""

    @property
    def method(self) -> str:
        """Equal for evaluations whose numbers are comparable: the definition without the model."""
        return repr(sorted(self.table.definition.method.items()))

    def find(self, metric: str, group: Group, guidance: float) -> Row | None:
        """The row of one group at one guidance."""
        return next(iter(self.table.select(metric, group, guidance)), None)

    def over_guidance(self, metric: str, group: Group) -> tuple[Row, ...]:
        """The rows of one group that have a value, by ascending guidance."""
        rows = [row for row in self.table.select(metric, group) if row.value is not None and row.guidance is not None]
        return tuple(sorted(rows, key=lambda row: row.guidance or 0.0))

    def by_class(self, metric: str, guidance: float) -> tuple[Row, ...]:
        """The rows of single classes that have a value."""
        return tuple(row for row in self.table.select(metric, "class", guidance) if row.value is not None)


@dataclass(frozen=True)
class RunData:
    """One run as a report sees it."""

    name: str
    """Unique among the runs of the report."""
    run: RunDir
    info: RunInfo
    split: Split | None
    log: tuple[LogLine, ...]
    evaluation: Evaluation | None
    members: tuple["RunData", ...] = ()
    """The runs behind means over training seeds (`settings.py`); empty for a single run."""
    made: tuple[Uint8s, np.ndarray] | None = None
    """The images and labels, where they are existing images from any source (`foreign.py`)."""

    @property
    def is_foreign(self) -> bool:
        """Whether these are existing images, whose training and sampling are not known."""
        return self.evaluation is not None and self.evaluation.table.definition.source == "images"

    @property
    def counts(self) -> tuple[int, ...]:
        """Training images of each class after the cut (before it, when there is no split.json)."""
        return tuple(int(count) for count in self.split.counts) if self.split else self.info.facts.counts

    @property
    def ranked(self) -> list[int]:
        """Class indices from commonest to rarest."""
        return [int(label) for label in rank(self.counts)]

    @property
    def groups(self) -> tuple[str, ...]:
        """head, body or tail for each class."""
        groups = Groups.thirds(self.counts)
        return tuple(groups.of(label) for label in range(len(self.counts)))

    @property
    def seconds(self) -> float | None:
        """Training seconds so far, without evaluation and saving; of several seeds their mean."""
        if known := [member.seconds for member in self.members if member.seconds is not None]:
            return mean(known)
        return self.log[-1].seconds if self.log else None

    def images(self, guidance: float) -> tuple[Uint8s, Uint8s] | None:
        """Generated images (N, H, W, C) and labels (N,) of the evaluation; None if they were not kept."""
        if self.is_foreign:
            return self.made
        path = self.evaluation.folder.images(guidance) if self.evaluation else None
        if path is None or not path.is_file():
            return None
        try:
            images, (labels,) = map_array(path, "images"), read_arrays(path, ("labels",))
            _check_images(images, labels, self.info.facts)
        except (OSError, NpzError) as error:
            raise RunError(f"{path} is damaged ({error}). Delete it and run taildiff evaluate again") from None
        return images, labels


def _check_images(images: np.ndarray, labels: np.ndarray, facts: DataFacts) -> None:
    """Raise `NpzError` unless these can be images of this run's classes."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        raise NpzError(f"its images are {images.dtype} {images.shape}, not uint8 (n, height, width, 1 or 3)")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise NpzError(f"its labels are {labels.dtype} {labels.shape}, for {len(images)} images")
    if not (labels.min() >= 0 and labels.max() < facts.classes):
        raise NpzError(f"its labels are {labels.min()}..{labels.max()}, the classes 0..{facts.classes - 1}")


@dataclass(frozen=True)
class Comparison:
    """The runs of one report; `warnings` name what limits a comparison of their numbers."""

    runs: tuple[RunData, ...]
    warnings: tuple[str, ...]


def record_of(metric: str, runs: Sequence[RunData]) -> Metric:
    """The metric's record, titled FID or KID on features of the FID network."""
    evaluations = [run.evaluation for run in runs if run.evaluation]
    is_fid = bool(evaluations) and all(e.table.definition.extractor.is_fid for e in evaluations)
    return METRICS[metric].on(is_fid)


def load(runs: Sequence[RunDir]) -> Comparison:
    """All runs, with evaluations of the same definition if they share one."""
    if not runs:
        raise RunError("no run to report on; name one or more run directories: taildiff report RUN [RUN …]")
    chosen, warnings = _choose([_evaluations(run) for run in runs])
    chosen = _with_criterion(chosen)
    names = names_of([run.root for run in runs])
    data = [_load(run, name, evaluation) for run, name, evaluation in zip(runs, names, chosen, strict=True)]
    if len({run.info.store.hash for run in data}) > 1:
        warnings.append("The runs were trained on different stores: their numbers are not comparable.")
    elif len({run.info.split_hash for run in data}) > 1:
        warnings.append("The runs were trained on different cuts of the data: compare with care.")
    return Comparison(tuple(data), tuple(warnings))


def _evaluations(run: RunDir) -> list[Evaluation]:
    """Oldest first, but for those without intervals that another one has."""
    found = [Evaluation(folder, Table.read(folder)) for folder in run.evaluations()]
    return [each for each in found if not superseded(each.table, (other.table for other in found))]


def _choose(evaluations: list[list[Evaluation]]) -> tuple[list[Evaluation | None], list[str]]:
    """For each run its newest evaluation by a method that all evaluated runs share, else its newest."""
    evaluated = [of_run for of_run in evaluations if of_run]
    newest: list[Evaluation | None] = [of_run[-1] if of_run else None for of_run in evaluations]
    if len(evaluated) < 2:
        return newest, []
    shared = set.intersection(*({e.method for e in of_run} for of_run in evaluated))
    if not shared:
        return newest, ["The runs were evaluated in different ways: their numbers are not comparable."]
    method = next(e.method for e in reversed(evaluated[0]) if e.method in shared)
    chosen = [next((e for e in reversed(of_run) if e.method == method), None) for of_run in evaluations]
    sweeps = {e.table.guidances for e in chosen if e}
    if len(sweeps) < 2:
        return chosen, []
    grid, warning = common_grid(sweeps), "The runs were evaluated at different guidance values: "
    if not grid:
        return chosen, [warning + "they have none in common, so there is no verdict, and more values favour the best."]
    warning += f"each has its best of the common ones ({', '.join(f'{value:g}' for value in grid)})."
    return [e and replace(e, grid=grid) for e in chosen], [warning]


def _with_criterion(chosen: Sequence[Evaluation | None]) -> list[Evaluation | None]:
    evaluations = [each for each in chosen if each]
    rules = {
        method: criterion(each.table for each in evaluations if each.method == method)
        for method in {each.method for each in evaluations}
    }
    return [each and replace(each, criterion=rules[each.method]) for each in chosen]


def _load(run: RunDir, name: str, evaluation: Evaluation | None) -> RunData:
    info = run.info()
    data = RunData(name, run, info, _split(run), _log(run.metrics), evaluation)
    if len(data.counts) != info.facts.classes:
        raise RunError(f"{run.split} has {len(data.counts)} classes, {run.spec} has {info.facts.classes}")
    return data


def _split(run: RunDir) -> Split | None:
    if not run.split.is_file():
        return None
    try:
        return Split.load(run.split)
    except DataError as error:
        raise RunError(str(error)) from None


def _log(path: Path) -> tuple[LogLine, ...]:
    """All complete lines; a last line without a newline is still being written, or was cut off by a crash."""
    if not path.is_file():
        return ()
    try:
        *complete, _ = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    lines: list[LogLine] = []
    for number, line in enumerate(complete, start=1):
        try:
            lines.append(LogLine.model_validate(json.loads(_checked(line))))
        except (ValueError, RecursionError) as error:  # pydantic's are ValueErrors
            raise RunError(f"{path}, line {number} is damaged: {reason(error)}") from None
    return tuple(lines)


def _checked(line: bytes) -> bytes:
    """The line, if its `crc` matches or it has none."""
    text, mark, crc = line.rpartition(b', "crc": ')
    if mark and crc != b"%d}" % zlib.crc32(text + b"}"):
        raise ValueError("its checksum does not match its content")
    return line


def common_parent(runs: Sequence[RunDir]) -> Path:
    """The nearest folder that contains all runs (a single run itself); relative if possible."""
    parent = Path(os.path.commonpath([run.root.absolute() for run in runs]))
    return parent.relative_to(Path.cwd()) if parent.is_relative_to(Path.cwd()) else parent
