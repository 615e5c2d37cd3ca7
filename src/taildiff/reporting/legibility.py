"""Whether samples are legible: what the classifier makes of them, relative to what it makes of real images.

It must recognise at least 85 % of the share of real images that it recognises, over all classes, and at least 50 % of
that share in every class. Real images are those that it was not trained on; the overall share is the mean over classes,
as all classes have equally many samples. Of a class with fewer than 20 real images its share is hardly known, so there
the overall one counts.
"""

from statistics import mean

from taildiff.data.longtail import FEWEST_REAL
from taildiff.evaluation.table import Row
from taildiff.reporting.load import Evaluation

LEGIBLE_ALL, LEGIBLE_CLASS = 0.85, 0.50


def real_accuracy(evaluation: Evaluation) -> float:
    """The classifier's accuracy on real images, classes alike as in the samples; 1 where it was not measured."""
    rows = [row for row in evaluation.table.select("classifier_accuracy") if row.value is not None]
    own = [row for row in rows if row.group == "class"] or [row for row in rows if row.group == "all"]
    return mean(row.value or 0.0 for row in own) if own else 1.0


def furthest(evaluation: Evaluation, guidance: float, real: float) -> tuple[Row | None, float]:
    """The class furthest below the classifier's accuracy on its real images, and that accuracy."""
    rows = evaluation.table.select("classifier_accuracy", "class")
    known = {row.class_name: row.value for row in rows if row.value and row.n_real >= FEWEST_REAL}
    classes = [(row, known.get(row.class_name, real)) for row in evaluation.by_class("accuracy", guidance)]
    return min(classes, key=lambda each: (each[0].value or 0.0) / (each[1] or 1.0), default=(None, 1.0))
