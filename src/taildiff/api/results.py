"""`taildiff.compare` and `taildiff.report`."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from taildiff.api.evaluation_images import evaluations_of
from taildiff.api.evaluation_request import is_images
from taildiff.api.output import PAGE, output_file
from taildiff.comparison.compare import choose
from taildiff.comparison.compare import compare as compare_subjects
from taildiff.comparison.equal_training import At
from taildiff.comparison.formats import TEXTS
from taildiff.comparison.seeds import compare_seeds
from taildiff.comparison.select import Guidance, Selection, select
from taildiff.comparison.table import ComparisonTable
from taildiff.errors import RunError
from taildiff.io.atomic import write_atomic
from taildiff.run.layout import RunDir

if TYPE_CHECKING:
    from taildiff.reporting.load import Comparison

AnyPath = str | os.PathLike[str]
SUFFIXES = (*TEXTS, ".svg")
"""Of the files that `compare` writes."""


def compare(
    *evaluated: AnyPath,
    at: At | None = None,
    over_seeds: bool = False,
    metrics: Sequence[str] = (),
    groups: Sequence[str] = (),
    guidance: Guidance | None = None,
    out: AnyPath | None = None,
) -> ComparisonTable:
    """Evaluations of the same definition side by side; differences are to the first one.

    Args:
        *evaluated: two or more runs, folders or npz files that have been evaluated, or folders of evaluations.
        at: compare runs at equal training `time`, `steps` or `images` instead of their newest evaluations: of each run
            the evaluation nearest to the longest training that all have reached, with a note beyond 10 %.
        over_seeds: one column for runs that differ only in the seed: mean ± Student's 95 % interval. Where their steps
            differ, as after `max_time`, all runs are compared at equal training time.
        metrics: only these metrics.
        groups: only these groups of classes: all, head, body, tail, many, medium, few, class.
        guidance: only this guidance, or `best`: each at its own, as in the verdict. A value leaves the verdict out.
        out: write the table here: .csv, .md or .tex, or a figure: .svg; an existing file of that kind is replaced. A
            .tex file is for a paper: without a choice it has few numbers.

    Raises:
        TaildiffError: where something is not evaluated, or not by the same definition, or `out` may not be written.
    """
    if len(evaluated) < 2:
        raise RunError("give at least two runs to compare: taildiff compare A B")
    selection = Selection.of(metrics, groups, guidance)
    target = output_file(out, SUFFIXES) if out else None
    paths = [Path(path) for path in evaluated]
    table = compare_seeds(paths, at) if over_seeds else compare_subjects(choose(paths, at))
    if target:
        write_atomic(target, as_file(table, selection, target.suffix.lower()).encode())
    return select(table, selection)


def as_file(table: ComparisonTable, selection: Selection, suffix: str) -> str:
    """The chosen part of a comparison as the content of a file; in LaTeX and as a figure few numbers by default."""
    if suffix == ".svg":
        from taildiff.reporting.comparison_figure import comparison_svg  # matplotlib

        return comparison_svg(table, selection)
    return TEXTS[suffix](select(table, selection.of_paper if suffix == ".tex" else selection))


def report_on(paths: Sequence[Path]) -> "Comparison":
    """The runs, or the one folder or npz of images, that a report is about; `RunError` for both together."""
    from taildiff.reporting.foreign import load_images
    from taildiff.reporting.load import load

    images = [path for path in paths if is_images(path)]
    if not images:
        return load([RunDir(path) for path in paths])
    if len(paths) > 1:
        command = shlex.join(["taildiff", "compare", *map(str, paths)])
        raise RunError(
            f"{images[0]} has images from elsewhere, whose report is about them alone; to compare: {command}"
        )
    own = any(images[0].glob("*/table.json"))  # the folder of evaluations itself
    return load_images(images[0], images[0] if own else evaluations_of(images[0]))


def report_place(paths: Sequence[Path]) -> Path:
    """Where a report goes by default: in the run, in the folder of all runs, or beside images."""
    from taildiff.reporting.load import common_parent

    if any(map(is_images, paths)):
        return paths[0].with_name(f"{paths[0].resolve().stem}-report.html")
    return common_parent([RunDir(path) for path in paths]) / "report.html"


def report(*runs: AnyPath, out: AnyPath | None = None, title: str | None = None, metrics: Sequence[str] = ()) -> Path:
    """Write one self-contained HTML page about one run, comparing several, or about existing images; returns its path.

    Args:
        *runs: the runs' folders; or one folder or npz of images from any source that has been evaluated.
        out: the page, an .html file, which is replaced if it exists; default: report.html in the run, or in the
            folder that holds all runs; beside a folder of images, with -report.html at the end of its name.
        title: heading of the page; default: the runs and the dataset.
        metrics: further measured metrics to show; `["all"]` shows every measured one.

    Raises:
        TaildiffError: for a run that does not exist or has a damaged file, or a metric that was not measured,
            or an `out` that may not be written.
    """
    from taildiff.api.copies_of_runs import copies_of_runs
    from taildiff.reporting.report import write_page
    from taildiff.reporting.settings import settings_of

    paths = [Path(run) for run in runs]
    comparison = report_on(paths)
    place = output_file(out or report_place(paths), PAGE)
    return write_page(comparison, place, title, metrics, copies_of_runs(settings_of(comparison.runs)))
