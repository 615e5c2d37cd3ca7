"""The section of a report on copies: which share of each class copies training images, and the nearest pairs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from taildiff.metrics.copies import Copies
from taildiff.metrics.intervals import Interval, wilson
from taildiff.reporting.load import RunData
from taildiff.reporting.pictures import Uint8s, picture_uri

PAIRS = 10
"""Nearest pairs that are shown of each run."""
LARGEST = 96
"""Pixels per side of their pictures."""


@dataclass(frozen=True, eq=False)
class FoundCopies:
    """What was found about the generated images of one run at one guidance."""

    run: str
    copies: Copies
    images: Uint8s
    """(M, H, W, C)."""
    labels: NDArray[np.int64]
    """(M,)."""
    real: Uint8s
    """(N, H, W, C), the store's images, which `copies.nearest` counts."""
    threshold: float
    known_from: str
    """Which real images the threshold is from."""


@dataclass(frozen=True)
class Pair:
    """A generated image and the training image nearest to it."""

    made: str
    """Address of the picture, as `real`."""
    real: str
    class_name: str
    ratio: float
    copied: bool


@dataclass(frozen=True)
class Share:
    """How many images of a class, or of all, are copies."""

    name: str
    copied: int
    images: int

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the share."""
        return wilson(self.copied / self.images, self.images)


@dataclass(frozen=True)
class RunCopies:
    """The part of the section about one run."""

    run: str
    overall: Share
    classes: tuple[Share, ...]
    """From the commonest to the rarest."""
    pairs: tuple[Pair, ...] = field(repr=False)
    threshold: float = 0.0
    known_from: str = ""

    @property
    def limit(self) -> str:
        """The threshold as text."""
        return f"{self.threshold:.2f}"

    @property
    def rows(self) -> tuple[Share, ...]:
        """All classes together, then each."""
        return (self.overall, *self.classes)

    @property
    def sentence(self) -> str:
        """What was found, with the classes that have copies, after the run's name."""
        n, share = self.overall.images, self.overall
        if not share.copied:
            return f"has no copy of a training image among {n} images (at most {100 * share.interval.high:.1f} %)."
        worst = sorted((each for each in self.classes if each.copied), key=lambda each: -each.copied / each.images)
        named = ", ".join(f"{each.name} {100 * each.copied / each.images:.0f} %" for each in worst[:5])
        more = f" and {len(worst) - 5} more classes" if len(worst) > 5 else ""
        percent = 100 * share.copied / n
        return f"copies training images in {share.copied} of {n} images ({percent:.2g} %): {named}{more}."


def run_copies(found: Sequence[FoundCopies], runs: Sequence[RunData]) -> tuple[RunCopies, ...]:
    """The section, in the order of the runs; those about which nothing was found are left out."""
    by_name = {each.run: each for each in found}
    return tuple(_of_run(by_name[run.name], run) for run in runs if run.name in by_name)


def _of_run(found: FoundCopies, run: RunData) -> RunCopies:
    names, copies = run.info.facts.class_names, found.copies
    classes = [
        Share(names[label], int(copies.copied[own].sum()), int(own.sum()))
        for label in run.ranked
        if (own := found.labels == label).any()
    ]
    nearest = np.argsort(copies.ratio, kind="stable")[:PAIRS].tolist()
    pairs = (
        Pair(
            picture_uri(np.asarray(found.images[k]), LARGEST),
            picture_uri(np.asarray(found.real[copies.nearest[k]]), LARGEST),
            names[found.labels[k]],
            float(copies.ratio[k]),
            bool(copies.copied[k]),
        )
        for k in nearest
    )
    overall = Share("all classes", int(copies.copied.sum()), len(found.labels))
    return RunCopies(found.run, overall, tuple(classes), tuple(pairs), found.threshold, found.known_from)
