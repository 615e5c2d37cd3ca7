"""The table of an evaluation: one row per number, with everything that the number depends on.

Written as `table.csv` for people and spreadsheets and as `table.json`, which is read back. Imports no torch, so that
reports can be made anywhere.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from taildiff.errors import RunError, SpecError
from taildiff.io.atomic import write_atomic, write_json
from taildiff.io.checksum import CHECKSUM, checksum_matches, with_checksum
from taildiff.io.json_files import read_json
from taildiff.run.layout import EvalDir, next_order
from taildiff.spec import EvalSpec, MetricName, Spec, flatten, parse
from taildiff.spec.sampling import LATER
from taildiff.text import spreadsheet_cell

Group = Literal["all", "head", "body", "tail", "many", "medium", "few", "class"]


class Row(Spec):
    """One number."""

    model_config = ConfigDict(populate_by_name=True)

    run: str
    """Name of the run's folder."""
    step: int
    """Of the weights."""
    metric: MetricName
    """One of the catalogue (`spec/metrics.py`)."""
    group: Group
    """`head`, `body`, `tail` are thirds of the classes by training count; `many`, `medium`, `few` go by shots."""
    class_name: str = Field(default="", validation_alias="class", serialization_alias="class")
    """Only where `group` is `class`."""
    value: float | None
    """None where it could not be computed (too few images)."""
    low: float | None = None
    """95 % interval, where there is one."""
    high: float | None = None
    n_real: int
    """Real images behind this number."""
    n_generated: int
    """Generated images behind this number."""
    sampler: str
    steps: int
    """Of the sampler; 0 where the sampling is not known."""
    guidance: float | None
    """None for numbers of real images alone, and where it is not known."""
    ema: bool
    """Whether the weights are the averaged ones."""
    seed: int | None
    """Of the sampling; None for a mean over several."""
    definition: str
    """Name of the evaluation; numbers of different definitions are not comparable."""


class ExtractorInfo(Spec):
    """The features behind the numbers."""

    name: str
    dim: int
    hash: str
    is_fid: bool = False
    """Its Fréchet distance is what the literature calls FID."""


class Definition(Spec):
    """Everything that the numbers of one evaluation depend on."""

    name: str
    """Readable, with a hash of spec, store and features at its end. Run, weights and classes are not in it, so that
    runs can be compared by it; `weights_hash` tells whether the weights are the same."""
    run: str
    step: int
    spec: EvalSpec
    weights_hash: str
    store_hash: str
    extractor: ExtractorInfo
    class_names: tuple[str, ...]
    counts: tuple[int, ...]
    """Training images per class of this run, after any tail was cut; decides the groups. Empty where unknown."""
    source: Literal["run", "images"] = "run"
    """Sampled from a run's weights, or existing images; `weights_hash` is then that of the images."""
    drawn: tuple[int, ...] = ()
    """Images per class, where they are existing images."""

    @model_validator(mode="before")
    @classmethod
    def _of_older_versions(cls, values: Any) -> Any:
        """Evaluations written before there was a choice of spacing sampled at uniform noise levels."""
        match values:
            case {"spec": {"sampling": {"sampler": _} as sampling} as spec} if "spacing" not in sampling:
                return values | {"spec": spec | {"sampling": sampling | {"spacing": "uniform"}}}
        return values

    @property
    def method(self) -> dict[str, str]:
        """The settings that must agree before two evaluations are compared, by name; the model is not among them."""
        left_out = dict.fromkeys(("guidance", "metrics", "seeds", "per_class", "utility", "intervals"), True)
        spec = flatten(self.spec.model_dump(mode="json", exclude=left_out | {"sampling": {"seed"}}))
        spec |= {f"sampling.{name}": getattr(self.spec.sampling, name) for name in LATER}
        seeds = {"seeds": self.spec.all_seeds} if self.source == "run" else {}
        n = self.drawn or (self.spec.per_class,) * len(self.class_names)
        data = {"real images": self.store_hash, "extractor": self.extractor.hash, "images per class": n}
        values = spec | seeds | data | {"classes": self.class_names}
        if self.source == "images":  # the sampling is not known
            values = {name: value for name, value in values.items() if not name.startswith("sampling.")}
        return {name: str(value) for name, value in values.items()}


class _File(Spec):
    definition: Definition
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    by_seed: tuple[Row, ...] = ()
    order: int = 0
    """Place among the evaluations beside it, in the order in which they were finished; 0 in those of older versions."""
    sha256: str = ""
    """Checksum of all other fields."""


@dataclass(frozen=True)
class Table:
    """All numbers of one evaluation."""

    rows: tuple[Row, ...]
    definition: Definition
    notes: tuple[str, ...] = ()
    """Warnings for the reader."""
    by_seed: tuple[Row, ...] = ()
    """The rows of each seed, where `rows` are means over sampling seeds."""

    def write(self, folder: EvalDir) -> None:
        """Write table.csv, then table.json, whose presence means that the evaluation is finished."""
        write_atomic(folder.table_csv, to_csv((*self.rows, *self.by_seed)).encode())
        file = _File(
            definition=self.definition,
            notes=self.notes,
            rows=self.rows,
            by_seed=self.by_seed,
            order=next_order(folder),
        )
        write_json(folder.table_json, with_checksum(file.model_dump(mode="json", by_alias=True, exclude={CHECKSUM})))

    @classmethod
    def read(cls, folder: EvalDir) -> "Table":
        """A finished evaluation; `RunError` when it is not finished or its file is damaged."""
        try:
            values = read_json(folder.table_json)
            file = parse(_File, values, source=str(folder.table_json))
            if not checksum_matches(values):
                raise SpecError(
                    f"{folder.table_json} was changed or is damaged: its checksum does not match its content"
                )
        except SpecError as error:
            raise RunError(f"{error}. Evaluate again: taildiff evaluate RUN") from None
        return cls(file.rows, file.definition, file.notes, file.by_seed)

    def select(
        self,
        metric: MetricName | None = None,
        group: Group | None = None,
        guidance: float | None = None,
        class_name: str | None = None,
    ) -> tuple[Row, ...]:
        """Rows that match every argument, in the table's order."""
        return tuple(
            row
            for row in self.rows
            if (metric is None or row.metric == metric)
            and (group is None or row.group == group)
            and (guidance is None or row.guidance == guidance)
            and (class_name is None or row.class_name == class_name)
        )

    def value(
        self, metric: MetricName, group: Group, guidance: float | None = None, class_name: str = ""
    ) -> float | None:
        """One number; None if it is missing or could not be computed."""
        rows = self.select(metric, group, guidance, class_name)
        return rows[0].value if rows else None

    @property
    def guidances(self) -> tuple[float, ...]:
        """Swept values in their order; none for existing images."""
        return self.definition.spec.guidance

    def measured_classes(self, metric: MetricName) -> tuple[str, ...]:
        """The classes that have a value of a metric at every guidance, in the table's order."""
        rows = self.select(metric, "class")
        missing = {row.class_name for row in rows if row.value is None}
        return tuple(dict.fromkeys(row.class_name for row in rows if row.class_name not in missing))

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """Metrics that have rows, in the table's order."""
        return tuple(dict.fromkeys(row.metric for row in self.rows))

    @property
    def groups(self) -> tuple[Group, ...]:
        """Groups that have rows, in the table's order; without `class`."""
        return tuple(dict.fromkeys(row.group for row in self.rows if row.group != "class"))


def superseded(table: Table, others: Iterable[Table]) -> bool:
    """Whether an evaluation without intervals repeats another one that has them."""
    own = table.definition
    return own.spec.intervals == "none" and any(
        (other.definition.weights_hash, other.definition.method) == (own.weights_hash, own.method)
        and set(table.guidances) <= set(other.guidances)
        for other in others
        if other.definition.spec.intervals == "all"
    )


def columns() -> tuple[str, ...]:
    """Names of the columns, in order."""
    return tuple(str(info.serialization_alias or name) for name, info in Row.model_fields.items())


def to_csv(rows: Iterable[Row]) -> str:
    """Comma-separated text with a header; None is empty, and names are no formulas (`text.spreadsheet_cell`)."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values: dict[str, Any] = row.model_dump(by_alias=True)
        writer.writerow(
            {
                n: str(value).lower() if isinstance(value, bool) else spreadsheet_cell(value)
                for n, value in values.items()
            }
        )
    return text.getvalue()
