"""From images to a table: features, numbers of every family and scope, means over seeds, notes.

Each family of metrics of each set of images is a part of its own (`parts.py`), kept as soon as it is done.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taildiff.errors import RunError
from taildiff.evaluation import checks
from taildiff.evaluation.cache import digest, kept_numbers
from taildiff.evaluation.classifier import ClassifierAccuracy
from taildiff.evaluation.images import Images
from taildiff.evaluation.reference import Yardstick
from taildiff.evaluation.replicates import write_replicates
from taildiff.evaluation.scopes import Scope, scopes
from taildiff.evaluation.scores import FAMILIES, Number, Sample, numbers, share
from taildiff.evaluation.table import Definition, Row, Table
from taildiff.evaluation.utility import shortfall
from taildiff.log import Progress, silent
from taildiff.metrics.intervals import percentiles
from taildiff.rng import seed_of
from taildiff.run.layout import EvalDir
from taildiff.spec import MetricName

VERSION = 1  # raise it with every change that changes numbers of the same features
REAL_KEY = 1
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Evaluations:
    """A folder of evaluations, one folder each, with what they share in `.cache`; a run's are in `evals/`."""

    root: Path

    @property
    def cache(self) -> Path:
        """Features and numbers by hash; may be deleted at any time."""
        return self.root / ".cache"

    def evaluation(self, name: str) -> EvalDir:
        """The folder of one definition."""
        return EvalDir(self.root / name)


@dataclass(frozen=True, eq=False)
class Drawn:
    """One set of generated images, made or read only when they are needed."""

    guidance: float | None
    """None where it is not known."""
    seed: int | None
    """None where it is not known."""
    labels: Labels
    key: str
    """Names the very images."""
    images: Callable[[], Images]

    @property
    def title(self) -> str:
        """For progress."""
        if self.guidance is None:
            return "of the images"
        return f"at guidance {self.guidance:g}" + (f", seed {self.seed}" if self.seed else "")

    @property
    def bootstrap_key(self) -> int:
        """Equal for images whose noise is the same, which are resampled alike."""
        if self.seed is None:
            return int(self.key[:15], 16)
        return seed_of(self.seed, "evaluation/generated")


def finished(folder: EvalDir, definition: Definition) -> bool:
    """Whether a table of just this definition, weights and all, is there; a damaged one does not count."""
    if not folder.table_json.is_file():
        return False
    try:
        return Table.read(folder).definition == definition
    except RunError:
        return False


def judge(
    home: Evaluations,
    definition: Definition,
    yard: Yardstick,
    drawn: Sequence[Drawn],
    notes: Sequence[str],
    progress: Progress = silent,
) -> Table:
    """Measure every set of images and write the table; sets of one guidance are seeds, whose values are averaged."""
    judged = [(row, None) for row in _judged(yard.judge.accuracy, definition)]
    rows: list[tuple[Row, NDArray[np.float64] | None]] = list(judged)
    by_seed: list[Row] = []
    found = list(scopes(definition.counts, definition.class_names))
    for guidance in dict.fromkeys(each.guidance for each in drawn):
        sets = [each for each in drawn if each.guidance == guidance]
        measured = [measure(home, definition, yard, each, found, progress) for each in sets]
        rows += _rows(definition, guidance, sets, found, [_mean(same) for same in zip(*measured, strict=True)])
        if len(sets) > 1:
            by_seed += [
                row
                for each, own in zip(sets, measured, strict=True)
                for row, _ in _rows(definition, guidance, [each], found, own)
            ]
    plain = tuple(row for row, _ in rows)
    dim, k = yard.extractor.dim, definition.spec.k
    said = (*checks.missing(plain, dim), *checks.few_images(plain, dim), *checks.neighbours(k, plain))
    if yard.lesson:
        own = [np.bincount(each.labels, minlength=len(definition.counts)).tolist() for each in drawn]
        said = (*said, *(note for have in own for note in shortfall(definition.counts, have, max(definition.counts))))
    table = Table(plain, definition, tuple(dict.fromkeys((*notes, *yard.notes, *said))), tuple(by_seed))
    folder = home.evaluation(definition.name)
    write_replicates(folder, plain, [values for _, values in rows])
    table.write(folder)
    return table


def measure(
    home: Evaluations,
    definition: Definition,
    yard: Yardstick,
    drawn: Drawn,
    found: Sequence[Scope],
    progress: Progress,
) -> list[Number]:
    """Numbers of one set of images, scope after scope of each family; what is kept is not worked out again."""
    families = [family for family in FAMILIES if set(family) & set(definition.spec.metrics)]
    images = drawn.images()  # also where all numbers are kept: people look at them
    sample: list[Sample] = []  # made when the first part is not there yet

    def whole() -> Sample:
        if not sample:
            sample.append(_sample(home, yard, drawn, images, progress))
        return sample[0]

    def part(number: int, family: tuple[MetricName, ...]) -> list[Number]:
        own: list[Number] = []
        for place, scope in enumerate(found, start=number * len(found) + 1):
            own += numbers(whole().of(scope.labels), family, definition.spec.k)
            progress(f"metrics {drawn.title}", place, len(families) * len(found))
        return own

    measured: list[Number] = []
    where = [[scope.group, *scope.labels] for scope in found]
    for number, family in enumerate(families):
        k = definition.spec.k if family == ("precision", "recall") else 0
        key = digest(VERSION, drawn.key, yard.key, family, k, where)
        measured += kept_numbers(home.cache, key, lambda number=number, family=family: part(number, family))
    measured = [number for number in measured if number.metric in definition.spec.metrics]
    if taught := yard.lesson:
        key = digest(VERSION, drawn.key, yard.key, "utility", where)
        measured += kept_numbers(home.cache, key, lambda: list(taught.numbers(images, drawn.labels, found, progress)))
    return measured


def _sample(home: Evaluations, yard: Yardstick, drawn: Drawn, images: Images, progress: Progress) -> Sample:
    stage = f"features {drawn.title}"
    generated = yard.of(home.cache, images, drawn.labels, drawn.key, progress, stage)
    probabilities = yard.extractor.probabilities(generated.features)
    return Sample(yard.real, generated, yard.train, yard.holdout, probabilities, REAL_KEY, drawn.bootstrap_key)


def _mean(same: Sequence[Number]) -> Number:
    """One number over several seeds: the mean, where all have a value, and the interval of the mean."""
    first, values = same[0], [number.value for number in same if number.value is not None]
    if len(same) == 1 or len(values) < len(same):
        return first if len(same) == 1 else Number(first.metric, None, first.n_real, first.n_generated)
    value = float(np.mean(values))
    known = [number.replicates for number in same if number.replicates is not None]
    low, high, replicates = first.low, first.high, None
    if len(known) == len(same):
        replicates = np.mean(known, axis=0)
        if np.ptp(replicates) > 0:  # all right or all wrong: nothing to resample, and Wilson's interval stays
            interval = percentiles(replicates)
            low, high = interval.low, interval.high
    if low is not None and first.metric != "kernel_distance":
        low = max(0.0, low)
    return Number(first.metric, value, first.n_real, first.n_generated, low, high, replicates)


def _rows(
    definition: Definition,
    guidance: float | None,
    sets: Sequence[Drawn],
    found: Sequence[Scope],
    measured: Sequence[Number],
) -> list[tuple[Row, NDArray[np.float64] | None]]:
    seed = sets[0].seed if len(sets) == 1 else None
    metrics = list(dict.fromkeys(number.metric for number in measured))
    rows: list[tuple[Row, NDArray[np.float64] | None]] = []
    for place, scope in enumerate(found):
        for metric in metrics:
            number = [each for each in measured if each.metric == metric][place]
            rows.append((to_row(definition, guidance, seed, scope, number), number.replicates))
    return rows


def _judged(hits: ClassifierAccuracy, definition: Definition) -> Iterator[Row]:
    for scope in scopes(definition.counts, definition.class_names):
        right = sum(hits.correct[label] for label in scope.labels)
        total = sum(hits.total[label] for label in scope.labels)
        none = Number("classifier_accuracy", None, total, 0)
        number = share("classifier_accuracy", right / total, total, total, 0) if total else none
        yield to_row(definition, None, definition.spec.sampling.seed, scope, number)


def to_row(definition: Definition, guidance: float | None, seed: int | None, scope: Scope, number: Number) -> Row:
    """A number with everything that it depends on."""
    sampling, made = definition.spec.sampling, definition.source == "run"
    return Row(
        run=definition.run,
        step=definition.step,
        metric=number.metric,
        group=scope.group,
        class_name=scope.class_name,
        value=number.value,
        low=number.low,
        high=number.high,
        n_real=number.n_real,
        n_generated=number.n_generated,
        sampler=sampling.sampler if made else "",
        steps=sampling.steps if made else 0,
        guidance=guidance,
        ema=made and sampling.weights == "ema",
        seed=seed,
        definition=definition.name,
    )
