"""From images to a table: features, numbers of every family and scope, means over sampling seeds, notes.

Each family of metrics of each set of images is cached on its own as soon as it is computed (`cache.py`).
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import mean  # exact: the mean of equal ends is that end

import numpy as np
from numpy.typing import NDArray

from taildiff.data.longtail import FEWEST_REAL
from taildiff.errors import RunError
from taildiff.evaluation import checks
from taildiff.evaluation.cache import cache_key, cached_numbers, images_key
from taildiff.evaluation.classifier import ClassifierAccuracy
from taildiff.evaluation.images import ImageSequence
from taildiff.evaluation.reference import Reference
from taildiff.evaluation.replicates import write_replicates
from taildiff.evaluation.sample import Number, Sample
from taildiff.evaluation.scopes import Scope, scopes
from taildiff.evaluation.scores import DENSITY_K, bootstrapped, numbers, share
from taildiff.evaluation.table import Definition, Row, Table
from taildiff.evaluation.utility import shortfall
from taildiff.io.atomic import remove_temporary
from taildiff.io.staging import one_writer
from taildiff.log import Progress, silent
from taildiff.metrics.intervals import Resampling
from taildiff.metrics.points import Floats
from taildiff.rng import seed_of
from taildiff.run.layout import EvalDir
from taildiff.spec.metrics import METRICS, families, needed

VERSION = 4  # raise it with every change that changes numbers of the same features
REAL_KEY = 1
Labels = NDArray[np.int64]
_Measured = tuple[Row, Number]


@dataclass(frozen=True)
class EvaluationsDir:
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
class GeneratedSet:
    """Generated images of one guidance and seed, sampled or read only when they are needed."""

    guidance: float | None
    """None where it is not known."""
    seed: int | None
    """None where it is not known."""
    labels: Labels
    key: str
    """Identifies the settings that give these images."""
    images: Callable[[], ImageSequence]

    @property
    def title(self) -> str:
        """For progress."""
        if self.guidance is None:
            return "of the images"
        return f"at guidance {self.guidance:g}" + (f", seed {self.seed}" if self.seed else "")

    @property
    def bootstrap_key(self) -> int:
        """Equal for images sampled from the same noise, which are resampled alike."""
        if self.seed is None:
            return int(self.key[:15], 16)
        return seed_of(self.seed, "evaluation/generated")


@contextmanager
def one_evaluation(home: EvaluationsDir, definition: Definition) -> Iterator[EvalDir]:
    """Hold the folder of a definition, once no other process evaluates it, without what killed ones left there."""
    folder = home.evaluation(definition.name)
    with one_writer(folder.root):
        for place in (folder.root, home.cache):
            remove_temporary(place)
        yield folder
        for left in (*folder.root.glob(".*.partial"), *folder.root.glob(".*.lock")):  # nobody else writes here
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def finished(folder: EvalDir, definition: Definition) -> bool:
    """Whether the folder has an undamaged table of exactly this definition, weights included."""
    try:
        return Table.read(folder).definition == definition
    except RunError:
        return False


def measure_and_write(
    home: EvaluationsDir,
    definition: Definition,
    reference: Reference,
    sets: Sequence[GeneratedSet],
    notes: Sequence[str],
    progress: Progress = silent,
) -> Table:
    """Measure every set of images and write the table; sets of equal guidance differ in the seed and are averaged."""
    measured: list[_Measured] = list(_of_classifier(reference.classifier.accuracy, definition))
    by_seed: list[_Measured] = []
    resampling = Resampling()
    for guidance in dict.fromkeys(each.guidance for each in sets):
        same = [each for each in sets if each.guidance == guidance]
        found = [_Measurement(home, definition, reference, each, resampling, progress).numbers() for each in same]
        measured += _rows(definition, guidance, same, [mean_over_seeds(s) for s in zip(*found, strict=True)])
        if len(same) > 1:
            for each, own in zip(same, found, strict=True):
                by_seed += _rows(definition, guidance, [each], own)
    rows = tuple(row for row, _ in measured)
    warnings = _warnings(definition, reference, sets, rows)
    table = Table(
        rows,
        definition,
        tuple(dict.fromkeys((*notes, *reference.notes, *warnings))),
        tuple(row for row, _ in by_seed),
    )
    folder = home.evaluation(definition.name)
    write_replicates(folder, rows, [number.replicates for _, number in measured])
    table.write(folder)
    return table


def _warnings(
    definition: Definition, reference: Reference, sets: Sequence[GeneratedSet], rows: Sequence[Row]
) -> Iterator[str]:
    dim, k, counts = reference.extractor.dim, definition.spec.k, definition.counts
    yield from checks.without_intervals(definition.spec.intervals)
    yield from checks.missing(rows, dim)
    yield from checks.few_images(rows, dim)
    yield from checks.neighbours(k, rows)
    real = np.bincount(reference.real.labels, minlength=len(definition.class_names)).tolist()
    for each in sets:
        yield from checks.copies(rows, real, np.bincount(each.labels, minlength=len(real)).tolist())
    for each in sets if reference.utility else ():
        yield from shortfall(counts, np.bincount(each.labels, minlength=len(counts)).tolist(), max(counts))


@dataclass(frozen=True, eq=False)
class _Measurement:
    """The numbers of one set of images."""

    home: EvaluationsDir
    definition: Definition
    reference: Reference
    generated: GeneratedSet
    resampling: Resampling
    progress: Progress

    @cached_property
    def scopes(self) -> list[Scope]:
        return list(scopes(self.definition.counts, self.definition.class_names))

    @cached_property
    def families(self) -> dict[str, tuple[str, ...]]:
        wanted = set(self.definition.spec.metrics)
        return {family: members for family, members in families().items() if wanted.intersection(members)}

    @cached_property
    def images(self) -> ImageSequence:
        return self.generated.images()

    @cached_property
    def content(self) -> str:
        """Identifies exactly these images."""
        return images_key(self.images, self.generated.labels)

    @cached_property
    def sample(self) -> Sample:
        generated, reference = self.generated, self.reference
        stage = f"features {generated.title}"
        pool = reference.pool(self.home.cache, self.images, generated.labels, self.content, self.progress, stage)
        probabilities = None
        if "class probabilities" in needed(self.definition.spec.metrics):
            probabilities = reference.extractor.probabilities(pool.features)
        sample = Sample(
            real=reference.real,
            generated=pool,
            behind_copies=reference.copies and reference.copies.rule.real,
            probabilities=probabilities,
            real_key=REAL_KEY,
            generated_key=generated.bootstrap_key,
            intervals=self.definition.spec.intervals == "all",
            resampling=self.resampling,
        )
        ks = {"neighbours": self.definition.spec.k, "balls": DENSITY_K}
        wanted = tuple(sorted({k for family, k in ks.items() if family in self.families}))
        return sample.sharing([scope.labels for scope in self.scopes], wanted, reference.keep)

    def numbers(self) -> list[Number]:
        """Family after family and within each scope after scope; cached numbers are not computed again."""
        measured: list[Number] = []
        for place, (family, members) in enumerate(self.families.items()):
            k = self.definition.spec.k if "k" in needed(members) else 0
            measured += self._cached(partial(self._family, place, family, k), members, k)
        measured = [number for number in measured if number.metric in self.definition.spec.metrics]
        if utility := self.reference.utility:
            labels = self.generated.labels
            measured += self._cached(
                lambda: list(utility.numbers(self.images, labels, self.scopes, self.progress)), "utility"
            )
        return measured if self.definition.spec.intervals == "all" else [number.bare for number in measured]

    def _cached(self, compute: Callable[[], list[Number]], *what: object) -> list[Number]:
        if self.definition.spec.intervals == "none":
            what = (*what, "without intervals")
        where = [[scope.group, *scope.labels] for scope in self.scopes]
        of = (self.generated.key, self.content, self.reference.key)  # the first decides what is resampled alike
        return cached_numbers(self.home.cache, cache_key(VERSION, *of, *what, where), compute)

    def _family(self, place: int, family: str, k: int) -> list[Number]:
        measured: list[Number] = []
        sample, total = replace(self.sample, k=k), len(self.families) * len(self.scopes)
        for done, scope in enumerate(self.scopes, start=place * len(self.scopes) + 1):
            measured += numbers(sample.of(scope.labels), family)
            self.progress(f"metrics {self.generated.title}", done, total)
        return measured


def mean_over_seeds(same: Sequence[Number]) -> Number:
    """One number over several sampling seeds: the mean and its interval, without a value where one seed has none.

    The interval is that of the mean's bootstrap replicates, within the metric's bounds. Where some seed has none, or
    resampling changes nothing (all right or all wrong), its ends are the means of the seeds' ends: at least as wide as
    it has to be however the seeds correlate, since the deviation of a mean is at most the mean of the deviations. So
    they are with few real images, whose part in the interval has no replicates.
    """
    first, values = same[0], [number.value for number in same if number.value is not None]
    if len(same) == 1:
        return first
    if len(values) < len(same):
        return Number(first.metric, None, first.n_real, first.n_generated)
    value = float(np.mean(values))
    averaged = _averaged([number.replicates for number in same])
    real_side = _averaged([number.real_side for number in same])
    spread = [side for side in (averaged, real_side) if side is not None and np.ptp(side) > 0]
    few_real = METRICS[first.metric].few_real and first.n_real < FEWEST_REAL
    if averaged is not None and spread and not few_real:
        return bootstrapped(first.metric, value, first.n_real, first.n_generated, averaged, real_side)
    ends = [(number.low, number.high) for number in same if number.low is not None and number.high is not None]
    low, high = map(mean, zip(*ends, strict=True)) if len(ends) == len(same) else (None, None)
    return Number(first.metric, value, first.n_real, first.n_generated, low, high, averaged, real_side)


def _averaged(replicates: Sequence[Floats | None]) -> Floats | None:
    known = [each for each in replicates if each is not None]
    return np.mean(known, axis=0) if len(known) == len(replicates) else None


def _rows(
    definition: Definition, guidance: float | None, sets: Sequence[GeneratedSet], measured: Sequence[Number]
) -> list[_Measured]:
    """Scope after scope, in each the metrics in their order."""
    seed = sets[0].seed if len(sets) == 1 else None
    by_metric: dict[str, list[Number]] = {}
    for number in measured:
        by_metric.setdefault(number.metric, []).append(number)
    return [
        (to_row(definition, guidance, seed, scope, own[place]), own[place])
        for place, scope in enumerate(scopes(definition.counts, definition.class_names))
        for own in by_metric.values()
    ]


def _of_classifier(accuracy: ClassifierAccuracy, definition: Definition) -> Iterator[_Measured]:
    for scope in scopes(definition.counts, definition.class_names):
        right = sum(accuracy.correct[label] for label in scope.labels)
        total = sum(accuracy.total[label] for label in scope.labels)
        none = Number("classifier_accuracy", None, total, 0)
        number = share("classifier_accuracy", right / total, total, total, 0) if total else none
        number = number if definition.spec.intervals == "all" else number.bare
        yield to_row(definition, None, definition.spec.sampling.seed, scope, number), number


def to_row(definition: Definition, guidance: float | None, seed: int | None, scope: Scope, number: Number) -> Row:
    """A number with everything that it depends on."""
    sampling, sampled = definition.spec.sampling, definition.source == "run"
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
        sampler=sampling.sampler if sampled else "",
        steps=sampling.steps if sampled else 0,
        guidance=guidance,
        ema=sampled and sampling.weights == "ema",
        seed=seed,
        definition=definition.name,
    )
