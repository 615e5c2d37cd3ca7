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
from taildiff.api.sampling import chosen_guidance
from taildiff.api.source import RunSource
from taildiff.api.training import Run, starting_spec, train, with_changes
from taildiff.data.holdout import FEWEST, USUAL, HoldOut
from taildiff.data.store import SourceMeta, Store, StoreWriter, is_store
from taildiff.errors import DataError, InputError
from taildiff.filling.request import Amounts, FillRequest, check_few
from taildiff.io.paths import check_folder
from taildiff.io.staging import keep_apart
from taildiff.log import Progress, log, prefixed
from taildiff.run.layout import RunDir
from taildiff.spec import DataFacts, EvalSpec, RunSpec, SamplingSpec

if TYPE_CHECKING:
    from taildiff.data.source import Found
    from taildiff.filling.filters import Counts

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
    holds_out: bool
    """Whether there will be held-out images."""
    facts: DataFacts
    """Of the store to be, but for broken images and copies."""
    asked: tuple[int, ...]
    spec: RunSpec

    @property
    def counts(self) -> dict[str, "Counts"]:
        """What is asked for, by class, before anything is done."""
        from taildiff.filling.filters import Counts

        rows = zip(self.facts.class_names, self.asked, self.facts.counts, strict=True)
        return {name: Counts.of((), asked, have) for name, asked, have in rows if asked}

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
    size = SIZE if size is None else size
    if steps is not None and steps < 1:
        raise InputError(f"--steps-of-training {steps} must be at least 1")
    keep_apart(out, [photos])
    found = find_source("folder", photos, size)
    source = found.read()
    classes = len(source.class_names)
    hold_out = None if source.test.any() else USUAL
    uncut = np.bincount(source.labels[~source.test], minlength=classes)
    held_out = np.array(HoldOut(hold_out).wanted(uncut.tolist())) if hold_out else np.zeros_like(uncut)
    have = tuple((uncut - held_out).tolist())
    asked = amounts.asked(have, source.class_names)
    check_few(asked, have, source.class_names, force)
    channels = 3 if source.channels is None else source.channels
    facts = DataFacts(
        height=size, width=size, channels=channels, class_names=source.class_names, counts=have, name=found.name
    )
    spec = starting_spec(_RECIPE, facts)
    spec = with_changes(spec, {"steps": steps} if steps else {})
    return Way(photos, out, found, size, hold_out, bool(source.test.any() or held_out.any()), facts, asked, spec)


def check_way(
    plan: Way, request: FillRequest, guidance: float | None, check: bool, device: str, max_time: float | None
) -> tuple[str, ...]:
    """Raise what one of the later stages would refuse; writes nothing.

    Returns the steps with their predicted hours, or nothing where the run is trained already.
    """
    from taildiff.filling.fill import check_out
    from taildiff.filling.manifest import finished_key

    check_out(plan.out)
    if finished_key(plan.out) is None:
        check_folder(plan.out)
    check_folder(plan.work, in_place=True)
    if check and not plan.holds_out:
        raise InputError(
            f"--check needs photographs to hold out, and no class of {plan.photos} has {FEWEST}; leave out --check"
        )
    if max_time is not None and not max_time > 0:
        raise InputError(f"--max-time {max_time:g}s must be above 0")
    before = RunDir(plan.run)
    if request.sampling.autoguide:
        chosen_guidance(RunSource(before), guidance, request.sampling)  # without --guidance there is none
    _check_before(plan, device)
    left = _left(plan, max_time)
    if not left:
        _check_sampling(before, request.sampling, guidance, device)
        return ()
    return tuple(_prediction(plan, left, _measured(plan, request.sampling, guidance, device), max_time))


def _left(plan: Way, max_time: float | None) -> int:
    """Steps of training to do; 0 also where --max-time is used up and there are weights."""
    run = Run(plan.run)
    spent = _spent(run)
    return 0 if run.steps and max_time is not None and spent >= max_time else plan.spec.steps - max([0, *run.steps])


def _spent(run: Run) -> float:
    """Seconds of training."""
    return run.metrics[-1]["seconds"] if run.metrics else 0.0


def _check_before(plan: Way, device: str) -> None:
    """Raise what `prepare` and `train` would refuse: a store or a run of other photographs or settings."""
    from taildiff.data.prepare import plan as plan_store

    hold_out = HoldOut(plan.hold_out) if plan.hold_out else None
    try:
        store = plan_store(plan.found, plan.store, plan.size, hold_out=hold_out)
    except DataError as error:
        if not is_store(plan.store):
            raise
        reason = str(error).partition(";")[0]  # what follows names options of `prepare`
        raise InputError(f"{reason}. To start again, remove {plan.work}; to keep it, choose another --out") from None
    if isinstance(store, Store) and RunDir(plan.run).exists():
        from taildiff.training.session import check_training

        check_training(RunDir(plan.run), _spec(plan, store), store, None, device)


def _check_sampling(run: RunDir, sampling: SamplingSpec, guidance: float | None, device: str) -> None:
    """`SpecError` for settings that the run's model cannot be sampled with; worse weights may not exist yet."""
    from taildiff.sampling.generate import load_model
    from taildiff.sampling.predicting import check_sampling

    now = sampling.model_copy(update={"autoguide": None, "compile": False})
    check_sampling(load_model(run, "ema", device), now, [1.0 if guidance is None else guidance])


def _prediction(plan: Way, left: int, measured: tuple[float, float], max_time: float | None) -> Iterator[str]:
    """The steps, a line each; of training so many steps are left."""
    step, image = measured
    training = left * step
    allowed = training if max_time is None else max_time - _spent(Run(plan.run))
    limit = f", at most {_duration(allowed)} (--max-time)" if allowed < training else ""
    rest = f" ({left:,} of them left)" if left < plan.spec.steps else ""
    drawn = EvalSpec().per_class * plan.facts.classes * len(EvalSpec().guidance)
    held = ", a fifth held out" if plan.hold_out else ""
    images = f"{sum(plan.facts.counts):,} training images of {plan.facts.classes} classes"
    yield f"1. prepare: {images} at {plan.size}×{plan.size} pixels{held}, in {plan.store}"
    yield f"2. train: {_RECIPE}, {plan.spec.steps:,} steps{rest}: about {_duration(training)}{limit}"
    yield f"3. evaluate: {drawn:,} images, to choose the guidance: about {_duration(drawn * image)}"
    yield f"4. fill: {sum(plan.asked):,} images or more: about {_duration(sum(plan.asked) * image)}"


def _measured(plan: Way, sampling: SamplingSpec, guidance: float | None, device: str) -> tuple[float, float]:
    """Seconds per training step and per sampled image, on random images of the same shape; checks the sampling."""
    from taildiff.sampling.generate import generate, load_model

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
        _check_sampling(RunDir(run.path), sampling, guidance, device)
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
    for remark in store.meta.remarks:
        log.warning(remark)
    run = _trained(plan, store, device, second, max_time, command)
    evaluate(run, device=device, progress=third)
    return run


def _trained(
    plan: Way, store: Store, device: str, progress: Progress, max_time: float | None, command: Sequence[str]
) -> Run:
    before = Run(plan.run)
    spent = _spent(before)
    if before.steps and max_time is not None and spent >= max_time:
        log.info(f"trained for {_duration(spent)} already (--max-time); to train longer, give more")
        return before
    left = None if max_time is None else max_time - spent
    spec = _spec(plan, store)
    run = train(spec, out=plan.run, data=store, max_time=left, device=device, progress=progress, command=command)
    if not run.steps:
        raise InputError(f"{plan.run} has no weights after --max-time {max_time:g}s; give more time")
    return run


def _spec(plan: Way, store: Store) -> RunSpec:
    """Of the run, with what the store turned out to be."""
    return with_changes(starting_spec(_RECIPE, store.facts), {"steps": plan.spec.steps})


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{max(1, round(seconds / 60))} min"
