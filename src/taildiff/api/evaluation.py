"""`taildiff.evaluate` and the evaluation that it returns."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from taildiff.api.evaluation_request import request
from taildiff.api.fields import EvaluationFields
from taildiff.api.progress import reporting
from taildiff.errors import InputError, unknown
from taildiff.evaluation.overview import classifier_line, overview
from taildiff.evaluation.table import Row, Table
from taildiff.log import Progress
from taildiff.run.layout import EvalDir
from taildiff.spec import METRICS, EvalSpec

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation; `print` says what it is of and its best distance, a notebook shows its table."""

    folder: Path
    table: Table = field(repr=False)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "Evaluation":
        """The evaluation in a folder; `RunError` when it is not finished or damaged."""
        return cls(Path(folder), Table.read(EvalDir(Path(folder))))

    @property
    def rows(self) -> list[Row]:
        """One row per number, with everything that the number depends on."""
        return list(self.table.rows)

    def to_pandas(self) -> "pandas.DataFrame":
        """The rows as a DataFrame; needs pandas."""
        try:
            import pandas
        except ImportError:
            raise InputError("to_pandas needs pandas: pip install pandas") from None
        return pandas.DataFrame([row.model_dump(by_alias=True) for row in self.table.rows])

    def plot(self, metric: str = "accuracy") -> "Figure":
        """The metric by guidance, one line per group with its 95 % interval; without a sweep, one point per group."""
        if metric not in self.table.metrics:
            raise InputError(unknown("metric of this evaluation", metric, self.table.metrics))
        from taildiff.api.figure import metric_figure  # matplotlib

        return metric_figure(self.table, metric)

    def __repr__(self) -> str:
        definition, swept = self.table.definition, self.table.definition.source == "run"
        parts = [f"{definition.run}, step {definition.step}" if swept else definition.run]
        if swept:
            parts.append(f"guidance {', '.join(f'{value:g}' for value in self.table.guidances)}")
        for metric in ("frechet", "accuracy"):
            rows = [row for row in self.table.select(metric, "all") if row.value is not None]
            if rows:
                record = METRICS[metric].on(definition.extractor.is_fid)
                value = record.best(row.value for row in rows if row.value is not None)
                parts.append(f"{'best ' if len(rows) > 1 else ''}{record.title} {record.rounded(value or 0.0)}")
        return f"Evaluation({'; '.join(parts)})"

    def _repr_html_(self) -> str:
        shown = overview(self.table)
        head = "".join(f"<th>{escape(name)}</th>" for name in shown.columns)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in shown.rows)
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.table.notes)
        caption = f"<caption>{escape(' · '.join(filter(None, (shown.title, classifier_line(self.table)))))}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><ul>{notes}</ul>"


@overload
def evaluate(
    source: str | os.PathLike[str],
    *,
    spec: EvalSpec | None = None,
    data: str | os.PathLike[str] | None = None,
    step: int | None = None,
    trained_on: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    vae: str | None = None,
    model: Mapping[str, Any] | None = None,
    device: str | None = None,
    devices: int = 1,
    dry_run: Literal[False] = False,
    progress: bool | Progress = False,
    **fields: Unpack[EvaluationFields],
) -> Evaluation: ...


@overload
def evaluate(
    source: str | os.PathLike[str],
    *,
    spec: EvalSpec | None = None,
    data: str | os.PathLike[str] | None = None,
    step: int | None = None,
    trained_on: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    vae: str | None = None,
    model: Mapping[str, Any] | None = None,
    device: str | None = None,
    devices: int = 1,
    dry_run: Literal[True],
    progress: bool | Progress = False,
    **fields: Unpack[EvaluationFields],
) -> EvalSpec: ...


def evaluate(
    source: str | os.PathLike[str],
    *,
    spec: EvalSpec | None = None,
    data: str | os.PathLike[str] | None = None,
    step: int | None = None,
    trained_on: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    vae: str | None = None,
    model: Mapping[str, Any] | None = None,
    device: str | None = None,
    devices: int = 1,
    dry_run: bool = False,
    progress: bool | Progress = False,
    **fields: Unpack[EvaluationFields],
) -> Evaluation | EvalSpec:
    """Compare generated images with real ones, over all classes, by group and by class.

    Args:
        source: a run, which is sampled equally often per class at each guidance; or images: a folder with one
            sub-folder per class, or an npz with `images` and `labels`; or a model from elsewhere, as in `load`, which
            is written as a run to `out` (default: NAME-run beside it) and evaluated like one.
        spec: the whole evaluation, which `fields` change; default: `EvalSpec()`.
        data: the real images: a store, a folder of images by class, an npz of them or of statistics (mu, sigma);
            default: the store of the run.
        step: the weights of this step instead of the newest.
        trained_on: for images: the run, store or folder that their model was trained on; decides head, body and tail.
        out: for images: where the evaluation goes; default: beside them.
        vae: where the VAE of a run on latents is now, if it moved.
        model: what a file of parameters does not tell, as in `load`.
        device: `cpu`, `cuda` or `mps`; default: `cuda` where there is one, else `cpu`.
        devices: for a run: GPUs, or processes on a CPU, that sample together; the images are those of one.
        dry_run: raise what would be refused, measure and write nothing, and return what would be measured, in full.
        progress: True draws a progress bar, a callback gets (stage, done, total).
        **fields: fields of `EvalSpec` and of its `SamplingSpec`: guidance, metrics, features, per_class, seeds, …

    Raises:
        TaildiffError: for a run without weights, data that do not fit, or an option that does not apply.
    """
    places = {"data": data, "step": step, "trained_on": trained_on, "out": out, "vae": vae}
    wanted = request(source, fields, spec=spec, hints=model, **places)
    if dry_run:
        wanted.check(device, devices)
        return wanted.spec
    with reporting(progress) as report:
        return Evaluation.read(wanted.run(report, device, devices).root)
