"""A study as a file: datasets x methods x seeds at equal compute. TOML, checked by pydantic; imports no torch.

The hash is over the file's values, without comments and the order of keys, so that it stays the same in later versions.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from taildiff.errors import SpecError, unknown
from taildiff.io.checksum import json_sha256
from taildiff.io.toml_files import read_toml
from taildiff.spec import EvalSpec, MetricName, SamplingSpec, Spec, flatten, parse
from taildiff.spec.base import Count, Positive, Weight
from taildiff.spec.metrics import METRICS

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=60)]
"""Of a dataset or method; it becomes the name of a folder."""
At = Literal["time", "steps"]
"""What methods are given equally."""
FEWEST_SEEDS = 3
"""Training seeds from which on there is a verdict."""
OWN = ("seed", "steps", "optimizer.schedule", "every.save", "every.keep")
"""Fields of a run that the study sets itself."""
Changes = dict[str, Any]
"""Fields of a run by name, nested or dotted, as `taildiff.train(changes=…)` takes them; "None" is None."""


class SeedsSpec(Spec):
    """The random seeds."""

    training: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    """One run per dataset, method and setting with each; fewer than three give no verdict."""
    choose: int = 0
    """Sampling seed A: guidance and setting are chosen on its images."""
    report: int = 1
    """Sampling seed B: the reported numbers are of its images."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.training)) < len(self.training):
            raise ValueError("training: each seed must be given once")
        if self.choose == self.report:
            raise ValueError("choose and report must differ: a number reported on the images that chose it is too good")
        return self


class DatasetSpec(Spec):
    """Images, and the recipe that trains on them."""

    name: Name
    recipe: str
    """Gives network, optimiser, batch size and long tail; its method is replaced."""
    data: Path | None = None
    """A store or latents; the mnist5k recipes need none."""
    changes: Changes = Field(default_factory=dict)
    """Other fields of the run, for all methods."""


class MethodSpec(Spec):
    """A method, and the settings among which one is chosen."""

    name: Name
    method: str = ""
    """One of `taildiff recipes`; default: the name."""
    changes: Changes = Field(default_factory=dict)
    """Other fields of the run, for all settings."""
    settings: Annotated[tuple[Changes, ...], Field(min_length=1)] = ({},)
    """Fields of the run by setting; the best one is chosen. Every method has the same number."""
    seeds: tuple[int, ...] = ()
    """Other training seeds than those of the study, as many; they are paired by position."""

    @property
    def base(self) -> str:
        """The name of its objective."""
        return self.method or self.name


class BudgetSpec(Spec):
    """What every run may cost."""

    seconds: Positive | None = None
    """Training time on the machine that starts the study; becomes steps once, from step times measured in turns."""
    steps: Count | None = None
    """Instead: the steps of the first method; the others get those that fit into the same time."""
    equal: Annotated[tuple[At, ...], Field(min_length=1)] = ("time", "steps")
    """What the methods are given equally. The first decides the verdict, the second is description."""
    rounds: Annotated[int, Field(ge=1, le=1000)] = 12
    """In which the step times are measured."""

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.seconds is None) == (self.steps is None):
            raise ValueError("give either seconds or steps")
        if len(set(self.equal)) < len(self.equal):
            raise ValueError("equal: name time and steps at most once")
        return self


class SelectionSpec(Spec):
    """By which number, the mean over training seeds on sampling seed A, guidance and setting are chosen."""

    metric: MetricName = "frechet"
    group: Literal["all", "head", "body", "tail", "class"] = "all"
    """`class`: the mean over the classes that have a value, for data whose real images are a long tail themselves."""

    @field_validator("metric")
    @classmethod
    def _has_a_direction(cls, value: str) -> str:
        if METRICS[value].better == "none":
            raise ValueError(f"{value} has no better direction")
        return value


Ratio = Annotated[float, Field(ge=1, le=1e30)]


class MarginSpec(Spec):
    """When a method may take the place of a more expensive one: how much its means over training seeds may be worse."""

    reference: Name
    """The method whose place it may take."""
    group: Literal["all", "head", "body", "tail"] = "tail"
    """The classes whose numbers count."""
    difference: dict[MetricName, Weight] = Field(default_factory=lambda: {"recall": 0.05, "accuracy": 0.05})
    """By metric, how much worse the mean may be."""
    ratio: dict[MetricName, Ratio] = Field(default_factory=lambda: {"frechet": 1.1})
    """By metric of which lower is better, how many times the reference's mean it may be."""

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """All metrics of the margin."""
        return (*self.difference, *self.ratio)

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        if not self.metrics:
            raise ValueError("give a difference or a ratio of at least one metric")
        if both := [metric for metric in self.difference if metric in self.ratio]:
            raise ValueError(f"{both[0]}: give either a difference or a ratio")
        if neither := [metric for metric in self.metrics if METRICS[metric].better == "none"]:
            raise ValueError(f"{neither[0]} has no better direction")
        if higher := [metric for metric in self.ratio if METRICS[metric].better == "higher"]:
            raise ValueError(f"ratio: higher {higher[0]} is better; give a difference")
        return self


class StudySpec(Spec):
    """Everything that a study's numbers depend on, besides the data and the machine."""

    title: str = ""
    seeds: SeedsSpec = SeedsSpec()
    datasets: Annotated[tuple[DatasetSpec, ...], Field(min_length=1)]
    methods: Annotated[tuple[MethodSpec, ...], Field(min_length=2)]
    """The first is the one that all others are compared with."""
    budget: BudgetSpec
    selection: SelectionSpec = SelectionSpec()
    margin: MarginSpec | None = None
    """The rule by which the report names the methods that come close enough to one, and the cheapest of them."""
    evaluation: EvalSpec = EvalSpec(guidance=(1.0, 2.0, 3.0), sampling=SamplingSpec(sampler="dpm2m", steps=10))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for what, entries in (("datasets", self.datasets), ("methods", self.methods)):
            names = [entry.name for entry in entries]
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"{what}: the name {twice[0]} is given twice")
            for entry in entries:
                _check_changes(f"{what} {entry.name}", entry)
        numbers = {method.name: len(method.settings) for method in self.methods}
        if len(set(numbers.values())) > 1:
            counted = ", ".join(f"{name} {count}" for name, count in numbers.items())
            raise ValueError(f"every method must have the same number of settings to be tuned equally ({counted})")
        for method in self.methods:
            if method.seeds and len(set(method.seeds)) != len(self.seeds.training):
                raise ValueError(f"methods {method.name}: give {len(self.seeds.training)} different seeds, or none")
        if self.evaluation.seeds or self.evaluation.sampling.seed:
            raise ValueError("evaluation: the sampling seeds are seeds.choose and seeds.report")
        if not self.evaluation.guidance:
            raise ValueError("evaluation: give at least one guidance")
        if (metric := self.selection.metric) not in self.evaluation.metrics:
            raise ValueError(f"evaluation: add {metric} to the metrics, as it decides the selection")
        self._check_margin()
        return self

    def _check_margin(self) -> None:
        if self.margin is None:
            return
        names = [method.name for method in self.methods]
        if self.margin.reference not in names:
            raise ValueError(f"margin: {unknown('reference', self.margin.reference, names)}")
        if missing := [metric for metric in self.margin.metrics if metric not in self.evaluation.metrics]:
            raise ValueError(f"evaluation: add {missing[0]} to the metrics, as it decides the margin")


def _check_changes(where: str, entry: DatasetSpec | MethodSpec) -> None:
    settings = entry.settings if isinstance(entry, MethodSpec) else ()
    for changes in (entry.changes, *settings):
        for name in flatten(changes):
            if name in OWN:
                raise ValueError(f"{where}: {name} is set by the study; remove it")
    if len({json.dumps(flatten(setting), sort_keys=True, default=str) for setting in settings}) < len(settings):
        raise ValueError(f"{where}: two settings are equal")


@dataclass(frozen=True)
class Study:
    """A study as read from its file."""

    path: Path
    text: str
    values: dict[str, Any]
    spec: StudySpec

    @classmethod
    def read(cls, path: Path) -> Self:
        """The study in a TOML file; `SpecError` says what is wrong where."""
        try:
            values, text = read_toml(path, "study")
        except FileNotFoundError:
            raise SpecError(f"{path} does not exist; taildiff study new {path} writes one") from None
        if dated := next(_dates(values), None):
            raise SpecError(f"{path}: {dated} is a date; no field of a study is one. Put it in quotes")
        return cls(path, text, values, parse(StudySpec, values, str(path)))

    @cached_property
    def hash(self) -> str:
        """sha256 of the file's values, hexadecimal."""
        return json_sha256(self.values)

    @property
    def short_hash(self) -> str:
        """The first digits of the hash, which stand on every table."""
        return self.hash[:10]

    @property
    def title(self) -> str:
        """The title, or the file's name."""
        return self.spec.title or self.path.stem

    @property
    def folder(self) -> Path:
        """Where its runs and results are by default: beside the file, so that a changed file has another folder."""
        return self.path.with_name(f"{self.path.stem}-{self.short_hash}")


def _dates(values: Any) -> Iterator[date | time]:
    if isinstance(values, date | time):
        yield values
    elif isinstance(values, dict | list):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _dates(value)
