"""Open a run for training: a new one, or an existing one to resume."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from taildiff import build
from taildiff.data.batches import Batches, Resident
from taildiff.data.latents import LatentStore
from taildiff.data.longtail import Groups, class_law_of
from taildiff.data.order import Order
from taildiff.data.store import Store
from taildiff.data.verify import verify
from taildiff.distributed import devices_and_nodes, launcher
from taildiff.engine import Engine, accelerator_for, compile_in_place, require_compiler
from taildiff.errors import InputError, RunError
from taildiff.io.lock import check_free, locked
from taildiff.log import Progress, log, silent
from taildiff.models.codec import Codec, codec
from taildiff.run.layout import RunDir
from taildiff.spec import DataFacts, RunSpec, parse
from taildiff.trackers.base import ExperimentTracker
from taildiff.trackers.feed import Feed
from taildiff.training.checkpoint import Trainable, prune
from taildiff.training.ema import MovingAverage
from taildiff.training.environment import describe
from taildiff.training.initialise import initialise
from taildiff.training.loop import Training, draw_grid, identity, save_weights, train
from taildiff.training.optimizers import check_optimizer, optimizer_of
from taildiff.training.request import Outcome, StopRule, TrainingRequest
from taildiff.training.resume import (
    check_restorable,
    check_resumable,
    for_existing_run,
    report_changed_term,
    report_threads,
    resume,
    write_run_info,
)
from taildiff.training.tracking import Tracker


def run_training(
    run: RunDir,
    spec: RunSpec,
    store: Store | LatentStore,
    stop: StopRule = StopRule(),  # noqa: B008 (frozen)
    start_from: Path | None = None,
    command: list[str] | None = None,
    progress: Progress = silent,
    device: str | None = None,
    trackers: Sequence[ExperimentTracker] = (),
) -> Outcome:
    """Train `run` from the start or from its newest intact checkpoint; leaves a checkpoint and weights.

    `start_from`: a weights file to start from (fine-tuning). `device`: by name; default: the best one. `trackers`: of
    rank zero.
    Under torchrun or SLURM, devices and nodes come from the launcher, and every process calls this. `taildiff.train`
    and the command line are built on it.
    Raises RunError for an existing run that differs, DataError for data that do not fit, NonFiniteError.
    """
    request = TrainingRequest(run, fit_to_launcher(spec), store, stop, start_from, tuple(command or ()))
    engine = Engine(request.spec.devices, request.spec.nodes, device)
    with engine.report_once():
        request = for_existing_run(request)
        request = replace(request, spec=engine.resolved(request.spec))
        feed = Feed(run, trackers if engine.is_rank_zero else ())
        outcome = _run(request, engine, progress if engine.is_rank_zero else silent, feed)
        engine.shutdown()
    return replace(outcome, is_rank_zero=engine.is_rank_zero)


def fit_to_launcher(spec: RunSpec) -> RunSpec:
    """The spec with the launcher's devices and nodes; `SpecError` where it requests others (not 1)."""
    devices, nodes = devices_and_nodes(spec.devices, spec.nodes)
    if (started_by := launcher()) is None:
        return spec
    values = spec.model_dump() | {"devices": devices, "nodes": nodes}
    return parse(RunSpec, values, f"{started_by.name} started {started_by.processes} processes")


def _run(request: TrainingRequest, engine: Engine, progress: Progress, feed: Feed) -> Outcome:
    """`run_training` in one process, once all are connected."""
    run, store = request.run, request.store
    if not verify(store):
        log.info(f"{store.root} is too large to check at every start; to check it: taildiff data show PATH --verify")
    check_resumable(request)  # a refused run is left untouched, without a lock
    with ExitStack() as stack:
        engine.on_rank_zero(lambda: stack.enter_context(locked(run.lock, lambda holder: _busy(run, holder))))
        existing = check_resumable(request)
        training = open_training(request, engine, progress, feed)
        stack.callback(training.tracker.close)
        info = describe(request, engine)
        # only now: a run that cannot be built leaves nothing behind
        engine.on_rank_zero(lambda: write_run_info(request, info, existing))
        training.home = identity(run) if engine.is_rank_zero else None
        if existing is not None:
            report_threads(existing, engine)
            report_changed_term(existing, info.get("custom_sha256"))
        for line in reduced_comparisons(request.spec):
            log.warning(line)
        stack.callback(feed.finish)
        feed.start(training.position.step)
        outcome = _continue(training)
        if str(training.skipped):
            log.info(f"of {outcome.step} steps, training skipped {training.skipped}")
        return outcome


def check_training(
    run: RunDir,
    spec: RunSpec,
    store: Store | LatentStore,
    start_from: Path | None = None,
    device: str | None = None,
) -> None:
    """Raise what `run_training` would raise before its first step; writes nothing and starts no process.

    Without `start_from` the network is built without its parameters, so that a large one takes no memory.
    """
    spec = fit_to_launcher(spec)
    chosen = torch.device(accelerator_for(spec.devices, spec.nodes, device))
    verify(store)
    check_free(run.lock, lambda holder: _busy(run, holder))
    request = for_existing_run(TrainingRequest(run, spec, store, start_from=start_from))
    check_resumable(request)
    check_restorable(run)
    order(request)
    check_optimizer(spec.optimizer)
    if spec.compile:
        require_compiler(chosen)
    if start_from is None or run.checkpoint_steps():
        with torch.device("meta"):
            build.learner(request.spec, store.facts, request.split.counts)
    else:
        initialise(request.spec, store.facts, request.split.counts, start_from)


def order(request: TrainingRequest) -> Order:
    """The order of the images; `DataError` for a law that the data do not allow."""
    spec, split = request.spec, request.split
    return Order(request.store.labels[split.index], spec.seed, class_law_of(spec.data, split.counts))


def _busy(run: RunDir, holder: str) -> RunError:
    return RunError(f"{run.root} is being trained by {holder}; wait until it ends, or choose another --out")


def _continue(training: Training) -> Outcome:
    """Continue training, first finishing any work interrupted after the last checkpoint."""
    run, spec, step = training.request.run, training.request.spec, training.position.step
    done = step >= min(spec.steps, training.request.stop.step or spec.steps)

    def finish_saving() -> None:
        if step and not all(step in run.weight_steps(kind) for kind in ("ema", "raw")):
            save_weights(training, step)
        due = step and spec.every.samples and step % spec.every.samples == 0
        if due and not run.sample_grid(step).exists():
            draw_grid(training, step)
        if done:  # otherwise the next checkpoint prunes
            prune(run, step, spec.every.keep)

    training.engine.on_rank_zero(finish_saving)
    return Outcome(step, "finished" if step >= spec.steps else "stop-at") if done else train(training)


def open_training(
    request: TrainingRequest, engine: Engine, progress: Progress = silent, feed: Feed | None = None
) -> Training:
    """Build everything and restore the newest intact checkpoint."""
    run, spec, store, split = request.run, request.spec, request.store, request.split
    rows, gpu = np.r_[engine.rows(spec.batch_size, spec.accumulate)], engine.device.type == "cuda"
    resident = Resident.of(store, split, engine.device, engine.free_memory // 4) if gpu else None
    batches = Batches(store, split, order(request), spec.batch_size, spec.data.flip, rows, gpu, resident)
    learner = initialise(spec, store.facts, split.counts, None if run.checkpoint_steps() else request.start_from)
    objective = learner.objective
    ema = MovingAverage(learner.denoiser, spec.ema.decay, spec.ema.every).requires_grad_(False).to(engine.device)
    if spec.compile:
        compile_in_place(learner.denoiser, engine.device)  # the objective's draws and tables stay outside
        log.info("compiling the network in the first step, which takes a while")
    module = engine.setup(learner)
    trainable = Trainable(learner, ema, optimizer_of(spec.optimizer, learner))
    position = resume(run, trainable, engine)
    groups = Groups.thirds(split.counts)
    return Training(
        request,
        engine,
        module,
        objective,
        trainable,
        batches,
        Tracker(run.metrics, objective.names, objective.weights, groups, position.metrics_bytes, engine),
        position,
        position.skipped,
        progress,
        _codec(spec, store.facts, engine),
        feed or Feed(run),
    )


def _codec(spec: RunSpec, facts: DataFacts, engine: Engine) -> Codec | None:
    """The decoder of sample grids; None where none are drawn, or the latents' VAE was not found."""
    if not (spec.every.samples and engine.is_rank_zero):
        return None
    try:
        return codec(facts, device=engine.device)
    except InputError:
        assert facts.codec
        log.warning(
            f"no sample grids during training: the VAE {facts.codec.source} was not found or has changed "
            "(taildiff sample and evaluate need it: --vae PATH)"
        )
        return None


def reduced_comparisons(spec: RunSpec) -> list[str]:
    """Warnings about terms that compare fewer samples than a batch: by processes without `gather`, by accumulation."""
    by_gather, warnings = dict[bool, list[str]](), list[str]()
    for name, gather in spec.objective.gathers.items():
        by_gather.setdefault(gather, []).append(name if name == "transfer" else name.upper())
    available = {gather: spec.batch_size // (1 if gather else spec.processes) for gather in by_gather}
    if spec.processes > 1 and (names := by_gather.get(False)):
        options = " ".join(f"--objective.{name.lower()}.gather" for name in names)
        compared = _compare(names, available[False], spec.batch_size)
        warnings.append(f"{spec.processes} processes: {compared} (to compare all: {options})")
    if spec.accumulate > 1 and by_gather:
        parts = [_compare(names, available[key] // spec.accumulate, available[key]) for key, names in by_gather.items()]
        warnings.append(f"--accumulate {spec.accumulate}: {'; '.join(parts)}")
    return warnings


def _compare(names: list[str], compared: int, available: int) -> str:
    return f"{' and '.join(names)} compare{'s' if len(names) == 1 else ''} {compared} samples instead of {available}"
