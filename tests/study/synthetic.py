"""Synthetic studies: numbers with the spreads of real ones, through the same choice and the same tests.

Each run has a Fréchet distance, recall and accuracy by group and guidance: a curve over guidance, an effect of the
training seed that all methods share (runs of equal seed draw the same noise), an effect of the run, and noise of the
sampling seed. `effects` are added to a method's numbers, in standard deviations of a run.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from taildiff.comparison.table import Verdict
from taildiff.evaluation.replicates import Key
from taildiff.evaluation.table import Row
from taildiff.study.choose import best
from taildiff.study.statistics import Measured, judged

GUIDANCES = (1.0, 2.0, 3.0)
NUMBERS = {  # mean at the best guidance, loss per unit of guidance squared, spread of a run
    ("frechet", "all"): (0.9, 0.5, 0.10),
    ("frechet", "tail"): (2.4, 1.0, 0.45),
    ("recall", "tail"): (0.60, -0.05, 0.05),
    ("accuracy", "tail"): (0.93, -0.02, 0.02),
}
SHARED, SAMPLING = 0.7, 0.5
"""Spreads of the training seed and of a sampling seed, relative to that of a run."""


def study(
    random: np.random.Generator, methods: int = 9, seeds: int = 3, effects: Mapping[int, float] | None = None
) -> list[Measured]:
    """Every method at the guidance that was chosen on sampling seed A, with its numbers on seed B."""
    shared = random.normal(size=(seeds, len(NUMBERS)))
    return [_method(random, f"m{place}", shared, (effects or {}).get(place, 0.0)) for place in range(methods)]


def _method(random: np.random.Generator, name: str, shared: np.ndarray, effect: float) -> Measured:
    own = random.normal(size=shared.shape) + effect
    sampled = [[_rows(shared[seed], own[seed], random) for seed in range(len(shared))] for _ in ("A", "B")]
    frechet = [{g: rows["frechet", "all", "", g].value or 0.0 for g in GUIDANCES} for rows in sampled[0]]
    choice = best([frechet], "frechet")
    assert choice
    searched, reported = (dict(enumerate(rows)) for rows in sampled)
    return Measured(name, choice.guidance, reported, searched)


def _rows(shared: np.ndarray, own: np.ndarray, random: np.random.Generator) -> dict[Key, Row]:
    rows: dict[Key, Row] = {}
    for number, ((metric, group), (mean, loss, spread)) in enumerate(NUMBERS.items()):
        for guidance in GUIDANCES:
            noise = own[number] + SHARED * shared[number] + SAMPLING * random.normal()
            rows[metric, group, "", guidance] = row(
                metric, group, guidance, mean + loss * (guidance - 2) ** 2 + spread * noise
            )
    return rows


def row(metric: str, group: str, guidance: float, value: float) -> Row:
    return Row.model_construct(
        run="", step=1, metric=metric, group=group, class_name="", value=value, low=None, high=None, n_real=100,
        n_generated=100, sampler="heun", steps=10, guidance=guidance, ema=True, seed=1, definition="",
    )  # fmt: skip


def clear(verdict: Verdict) -> list[tuple[str, str, str]]:
    """Method, metric and group of each clear difference."""
    return [
        (name, line.metric, line.group)
        for line in verdict.lines
        for name, cell in zip(verdict.names, line.cells, strict=True)
        if cell.difference and cell.difference.clear
    ]


def share_with_any(studies: int, seed: int = 0, **options: int) -> float:
    """The share of studies of equal methods with any clear difference."""
    random = np.random.default_rng(seed)
    return float(np.mean([bool(clear(judged(study(random, **options)))) for _ in range(studies)]))


def measured(values: Mapping[str, Sequence[float]], number: tuple[str, str] = ("frechet", "all")) -> list[Measured]:
    """Methods with one number at guidance 1, by seed; the search has 0.1 more."""
    return [
        Measured(
            name,
            1.0,
            {place: {(*number, "", 1.0): row(*number, 1.0, value)} for place, value in enumerate(own)},
            {place: {(*number, "", 1.0): row(*number, 1.0, value + 0.1)} for place, value in enumerate(own)},
        )
        for name, own in values.items()
    ]
