"""How much the images of a class can be trusted, before any is drawn."""

from dataclasses import dataclass

from taildiff.evaluation.classifier import ClassifierAccuracy
from taildiff.filling.request import FEWEST_TRUSTED
from taildiff.metrics.intervals import wilson

GOOD, SOME = 0.8, 0.5
"""Accuracy on real images from which on the classifier's word on a class is worth much, or something."""


@dataclass(frozen=True)
class Trust:
    """What is known of a class."""

    name: str
    images: int
    """Training images of the run."""
    correct: int
    total: int
    """Real images of the class that the classifier has not learnt, and those it recognises."""

    @property
    def line(self) -> str:
        """One line for people."""
        images = f"{self.images} training image{'s' * (self.images != 1)}"
        return f"{self.name}: {images}; {self._classifier}. {self._verdict}"

    @property
    def _classifier(self) -> str:
        if not self.total:
            return "no real image to test the classifier on"
        ends = wilson(self.correct / self.total, self.total)
        return f"classifier right on {self.correct} of {self.total} real ones ({ends.low:.0%} to {ends.high:.0%})"

    @property
    def _verdict(self) -> str:
        share = self.correct / self.total if self.total else 0.0
        if self.images < FEWEST_TRUSTED:
            return "Not to be trusted: nothing can be learnt from so few"
        if self.images < 20:
            few = "Expect little variety and images near the photographs"
            return few if share >= SOME else f"{few}; the class filter is nearly blind here"
        if share >= GOOD:
            return "Trustworthy"
        return "The class filter misses some" if share >= SOME else "The class filter is nearly blind here"


def trust(name: str, label: int, images: int, accuracy: ClassifierAccuracy) -> Trust:
    """The trust in one class."""
    return Trust(name, images, accuracy.correct[label], accuracy.total[label])
