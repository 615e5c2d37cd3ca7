"""From a bare folder of photographs to a filled one: prepare, train, evaluate, fill, all in OUT-work, all resumable."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from taildiff.api.data import find_source, prepare
from taildiff.api.evaluation import evaluate
from taildiff.api.training import Run, starting_spec, train, with_changes
from taildiff.data.holdout import USUAL, HoldOut
from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.errors import InputError
from taildiff.filling.request import Amounts, check_few
from taildiff.io.staging import keep_apart
from taildiff.log import Progress, log, prefixed
from taildiff.run.layout import RunDir
from taildiff.spec import DataFacts, EvalSpec, RunSpec

if TYPE_CHECKING:
    from taildiff.data.source import Found

SIZE = 32
"""Pixels per side, if none are given."""
_RECIPE = "auto-ccua"
_TIMED = 3  # steps


@dataclass(frozen=True, eq=False)
class Way:
    """What will be done with a folder, found without opening its images."""

    photos: Path
    out: Path
    found: "Found"
    size: int
    hold_out: float | None
    """None where the folder holds out a part itself."""
    facts: DataFacts
    """Of the store to be, but for broken images and copies."""
    asked: tuple[int, ...]
    spec: RunSpec

    @property
    def work(self) -> Path:
        """OUT-work."""
        return self.out.with_name(f"{self.out.name}-work")

    @property
    def store(self) -> Path:
        """The store."""
        return self.work / "store"

    @property
    def run(self) -> Path:
        """The run."""
        return self.work / "run"


def way(photos: Path, out: Path, amounts: Amounts, size: int | None, force: bool, steps: int | None = None) -> Way:
    """The way of a folder, checked before anything is done; `InputError` or `DataError` where it cannot be gone."""
    size = size or SIZE
    keep_apart(out, [photos])
    found = find_source("folder", photos, size)
    source = found.read()
    classes = len(source.class_names)
    hold_out = None if source.test.any() else USUAL
    uncut = np.bincount(source.labels[~source.test], minlength=classes)
    have = tuple((uncut - (np.array(HoldOut(hold_out).wanted(uncut.tolist())) if hold_out else 0)).tolist())
    asked = amounts.asked(have, source.class_names)
    check_few(asked, have, source.class_names, force)
    channels = 3 if source.channels is None else source.channels
    facts = DataFacts(
        height=size, width=size, channels=channels, class_names=source.class_names, counts=have, name=found.name
    )
    spec = starting_spec(_RECIPE, facts)
    return Way(photos, out, found, size, hold_out, facts, asked, with_changes(spec, {"steps": steps} if steps else {}))


def prediction(plan: Way, device: str, max_time: float | None) -> Iterator[str]:
    """The steps with their predicted hours, a line each; measured on random images of the same shape."""
    step, image = _measured(plan, device)
    training = plan.spec.steps * step
    limit = f", at most {_duration(max_time)} (--max-time)" if max_time is not None and max_time < training else ""
    drawn = EvalSpec().per_class * plan.facts.classes * len(EvalSpec().guidance)
    held = ", a fifth held out" if plan.hold_out else ""
    images = f"{sum(plan.facts.counts):,} training images of {plan.facts.classes} classes"
    yield f"1. prepare: {images} at {plan.size}×{plan.size} pixels{held}, in {plan.store}"
    yield f"2. train: {_RECIPE}, {plan.spec.steps:,} steps: about {_duration(training)}{limit}"
    yield f"3. evaluate: {drawn:,} images, to choose the guidance: about {_duration(drawn * image)}"
    yield f"4. fill: {sum(plan.asked):,} images or more: about {_duration(sum(plan.asked) * image)}"


def _measured(plan: Way, device: str) -> tuple[float, float]:
    """Seconds per training step and per sampled image."""
    from taildiff.sampling.generate import generate, load_model
    from taildiff.spec import SamplingSpec

    facts, rng = plan.facts, np.random.default_rng(0)
    labels = np.repeat(np.arange(facts.classes), 2)
    with tempfile.TemporaryDirectory(prefix="taildiff-") as place:
        shape = (facts.height, facts.width, facts.channels)
        with StoreWriter(Path(place) / "store", "timing", facts.class_names, shape, SourceMeta(source="")) as writer:
            images = rng.integers(0, 256, (len(labels), *shape), dtype=np.uint8)
            writer.append(images, labels, np.zeros(len(labels), np.bool_))
            store = writer.close()
        changes = {"steps": _TIMED + 1, "every": {"log": 1, "samples": 0, "save": 0}}
        run = train(plan.spec, out=Path(place) / "run", data=store, changes=changes, device=device)
        seconds = [line["seconds"] for line in run.metrics]
        model = load_model(RunDir(run.path), "ema", device)
        few, start = SamplingSpec(steps=2), time.perf_counter()
        generate(model, np.zeros(16, np.int64), few, 1.5)
        image = (time.perf_counter() - start) / 16 / 2 * SamplingSpec().steps
    return (seconds[-1] - seconds[0]) / (len(seconds) - 1), image


def train_and_evaluate(
    plan: Way,
    device: str,
    progress: Progress,
    max_time: float | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Prepare, train and evaluate, as far as that was not done before; the run to fill from."""
    first, second, third = (prefixed(progress, f"{number}/4") for number in (1, 2, 3))
    store = prepare("folder", plan.photos, out=plan.store, size=plan.size, hold_out=plan.hold_out, progress=first)
    run = _trained(plan, store, device, second, max_time, command)
    evaluate(run, device=device, progress=third)
    return run


def _trained(
    plan: Way, store: Store, device: str, progress: Progress, max_time: float | None, command: Sequence[str]
) -> Run:
    before = Run(plan.run)
    spec = with_changes(starting_spec(_RECIPE, store.facts), {"steps": plan.spec.steps})
    spent = before.metrics[-1]["seconds"] if before.metrics else 0.0
    if max_time is not None and before.steps and spent >= max_time:
        log.info(f"trained for {_duration(spent)} already (--max-time); to train longer, give more")
        return before
    left = None if max_time is None else max_time - spent
    run = train(spec, out=plan.run, data=store, max_time=left, device=device, progress=progress, command=command)
    if not run.steps:
        raise InputError(f"{plan.run} has no weights after --max-time {max_time:g}s; give more time")
    return run


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{max(1, round(seconds / 60))} min"
