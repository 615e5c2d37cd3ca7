"""The catalogue of metrics: one record for every number that an evaluation can report. Nothing is computed here.

Everything that must know a metric reads its record: which names `--metrics` takes, what is measured, the bounds of
intervals, which value is best, and how numbers are titled and printed in tables, files and reports. A new metric per
class is a record in `_RECORDS` and a function in `evaluation/scores.py`; neither can be forgotten without an error.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf
from typing import Annotated, Literal

from pydantic import AfterValidator

from taildiff.errors import unknown

Better = Literal["lower", "higher", "none"]
Need = Literal["training images", "class probabilities", "k"]

_ARROWS: dict[Better, str] = {"lower": " ↓", "higher": " ↑", "none": ""}
_RENAMED = {"judge_accuracy": "classifier_accuracy"}  # names in older tables


@dataclass(frozen=True)
class Metric:
    """The fixed facts about a metric."""

    name: str
    title: str
    family: str
    """Metrics of one family are computed together, by one function."""
    better: Better
    bounds: tuple[float, float]
    """The lowest and highest possible value."""
    description: str
    """One sentence; shown under charts and in the help."""
    short: str = ""
    """The title of a narrow column (default: `title`)."""
    unit: Literal["", "share"] = ""
    """A share is printed in per cent."""
    digits: int | None = 2
    """Decimals in an overview, none in per cent; None: three significant digits."""
    needs: tuple[Need, ...] = ()
    """Inputs that are loaded only for metrics that need them; `k` is the number of neighbours."""
    few_real: bool = False
    """Given for classes with few real images too (`FEWEST_REAL`): it is no distance between distributions."""
    cheap: bool = False
    """Measured by default."""
    overview: bool = True
    """Printed in the terminal if the default metrics are measured; files hold all."""
    verdict: bool = False
    """Belongs to the family of comparisons that may be called clear (`comparison/verdict.py`)."""
    option: Literal["metrics", "utility", ""] = "metrics"
    """The option that requests it; empty for numbers of the classifier, which are always measured."""
    fid_title: str = ""
    """The title with features of the FID network."""

    @property
    def heading(self) -> str:
        """The title with an arrow towards better values."""
        return self.title + _ARROWS[self.better]

    @property
    def short_heading(self) -> str:
        """The short title with an arrow towards better values."""
        return (self.short or self.title) + _ARROWS[self.better]

    def on(self, is_fid: bool) -> "Metric":
        """The record under its name in the literature (FID, KID) where the features are those of the FID network."""
        return replace(self, title=self.fid_title, short=self.fid_title) if is_fid and self.fid_title else self

    def clamp(self, value: float) -> float:
        """The nearest possible value."""
        low, high = self.bounds
        return min(max(value, low), high)

    def best(self, values: Iterable[float]) -> float | None:
        """The best of the values; None without any, and for a metric without a better direction."""
        if self.better == "none":
            return None
        return (min if self.better == "lower" else max)(values, default=None)

    def rounded(self, value: float) -> str:
        """A value for an overview: '93%', '1.3', '0.52'."""
        if self.unit == "share":
            return f"{value:.0%}"
        if self.digits is None:
            return f"{value:.3g}"
        return f"{value:.{self.digits if self.digits < 2 or abs(value) < 10 else 0}f}"

    def text(self, value: float, sign: bool = False) -> str:
        """A value with three significant digits, or one decimal of a per cent; `sign` shows a plus."""
        plus = "+" if sign else ""
        if self.unit == "share":
            return f"{100 * value:{plus}.1f} %"
        return f"{value:{plus}.3g}" if abs(value) < 100 else f"{value:{plus}.0f}"


# fmt: off
_RECORDS = (
    Metric("classifier_accuracy", "classifier accuracy", short="classifier", family="classifier", better="higher",
           bounds=(0.0, 1.0), unit="share", option="",
           description="Share of real images not used in its training that the classifier recognises."),
    Metric("accuracy", "accuracy", family="accuracy", better="higher", bounds=(0.0, 1.0), unit="share", cheap=True,
           few_real=True, verdict=True,
           description="Samples that a classifier trained on real images takes for the class they were made for."),
    Metric("frechet", "Fréchet distance", short="Fréchet", fid_title="FID", family="frechet", better="lower",
           bounds=(0.0, inf), digits=1, cheap=True, verdict=True,
           description="Distance between the distributions of generated and balanced real images."),
    Metric("kernel_distance", "kernel distance", short="kernel", fid_title="KID", family="kernel_distance",
           better="lower", bounds=(-inf, inf), digits=None, cheap=True, overview=False, verdict=True,
           description="Unbiased distance between the distributions (MMD² with a cubic kernel); may fall below 0."),
    Metric("precision", "precision", family="neighbours", better="higher", bounds=(0.0, 1.0), unit="share",
           needs=("k",), cheap=True,
           description="Share of the generated images inside the balls around real ones."),
    Metric("recall", "recall", family="neighbours", better="higher", bounds=(0.0, 1.0), unit="share", needs=("k",),
           cheap=True, verdict=True,
           description="Part of the real images' variety that the samples cover. Wrong-class samples raise it "
           "too: read it beside the accuracy."),
    Metric("density", "density", family="balls", better="higher", bounds=(0.0, inf), cheap=True, overview=False,
           description="Balls around real images that a generated image lies in, over the 5 neighbours; may exceed 1."),
    Metric("coverage", "coverage", family="balls", better="higher", bounds=(0.0, 1.0), unit="share", cheap=True,
           overview=False,
           description="Share of the balls around real images (5 neighbours) that hold a generated one."),
    Metric("prd_f8", "F8", family="prd", better="higher", bounds=(0.0, 1.0),
           description="F score of clustered histograms with β = 8, which favours recall."),
    Metric("prd_f1_8", "F1/8", family="prd", better="higher", bounds=(0.0, 1.0),
           description="F score of clustered histograms with β = 1/8, which favours precision."),
    Metric("diversity", "diversity", family="diversity", better="none", bounds=(0.0, inf), few_real=True,
           description="Mean distance between generated images of one class."),
    Metric("vendi", "Vendi score", short="Vendi", family="diversity", better="none", bounds=(1.0, inf),
           few_real=True,
           description="Effective number of different images among the generated ones of a class."),
    Metric("memorized", "memorised", family="memorized", better="lower", bounds=(0.0, 1.0), unit="share",
           needs=("training images",), few_real=True,
           description="Share of generated images that are copies: nearer to a training image than any real one."),
    Metric("inception_score", "Inception score", short="IS", family="inception_score", better="higher",
           bounds=(1.0, inf), needs=("class probabilities",), few_real=True,
           description="How sure the extractor is of each image's class and how evenly the classes occur."),
    Metric("utility_real", "utility: real", family="utility", better="higher", bounds=(0.0, 1.0), unit="share",
           needs=("training images",), option="utility",
           description="Accuracy on held-out real images of a classifier trained on the run's real images."),
    Metric("utility_completed", "utility: completed", short="completed", family="utility", better="higher",
           bounds=(0.0, 1.0), unit="share", needs=("training images",), option="utility",
           description="Accuracy on held-out real images of a classifier trained on the completed images."),
    Metric("utility_generated", "utility: generated", short="generated", family="utility", better="higher",
           bounds=(0.0, 1.0), unit="share", needs=("training images",), option="utility",
           description="Accuracy on held-out real images of a classifier trained on generated images alone."),
    Metric("utility_gain", "utility: gain", short="gain", family="utility", better="higher", bounds=(-1.0, 1.0),
           unit="share", needs=("training images",), option="utility",
           description="Accuracy that completing the rare classes adds to training on real images."),
)
# fmt: on
METRICS: dict[str, Metric] = {record.name: record for record in _RECORDS}
"""Every record by name, in the order of tables."""
CHEAP = tuple(record.name for record in _RECORDS if record.cheap)
"""The default of `--metrics`."""


VERDICT_GROUPS: tuple[Literal["all", "head", "body", "tail"], ...] = ("all", "head", "body", "tail")
"""Classes over which the metrics of the verdict are compared."""


def verdict_metrics() -> tuple[str, ...]:
    """Metrics of the verdict, in the catalogue's order."""
    return tuple(record.name for record in METRICS.values() if record.verdict)


def requestable() -> tuple[str, ...]:
    """Names that `--metrics` takes."""
    return tuple(record.name for record in METRICS.values() if record.option == "metrics")


def requested(names: Iterable[str]) -> tuple[str, ...]:
    """The metrics that names, `cheap` and `all` stand for, in the catalogue's order; `ValueError` for unknown ones."""
    wanted, known = set(names) or {"cheap"}, requestable()
    for name in sorted(wanted - {*known, "cheap", "all"}):
        raise ValueError(_refusal(name) if name in METRICS else unknown("metric", name, (*known, "cheap", "all")))
    wanted.update(known if "all" in wanted else CHEAP if "cheap" in wanted else ())
    return tuple(name for name in known if name in wanted)


def families() -> dict[str, tuple[str, ...]]:
    """The metrics of each family, in the catalogue's order."""
    names = dict.fromkeys(record.family for record in METRICS.values())
    return {family: tuple(r.name for r in METRICS.values() if r.family == family) for family in names}


def needed(names: Iterable[str]) -> frozenset[Need]:
    """What these metrics need together."""
    return frozenset(need for name in names for need in METRICS[name].needs)


def _any(name: str) -> str:
    name = _RENAMED.get(name, name)
    if name not in METRICS:
        raise ValueError(unknown("metric", name, METRICS))
    return name


def _requestable(name: str) -> str:
    if _any(name) not in requestable():
        raise ValueError(_refusal(name))
    return name


def _refusal(name: str) -> str:
    option = METRICS[name].option
    return f"{name} is measured {f'with --{option}' if option else 'always'}; remove it from the metrics"


MetricName = Annotated[str, AfterValidator(_any)]
"""The name of a record."""
RequestedMetric = Annotated[str, AfterValidator(_requestable)]
"""The name of a metric that `--metrics` takes."""
