"""Opening a run for training: new, or where it stopped."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from taildiff.data.batches import Batches
from taildiff.data.latents import LatentStore
from taildiff.data.longtail import Groups, Split, class_law_of
from taildiff.data.order import Order
from taildiff.data.store import Store
from taildiff.data.verify import verify
from taildiff.distributed import devices_and_nodes, launcher
from taildiff.engine import Engine, compile_in_place
from taildiff.errors import InputError, RunError
from taildiff.io.lock import locked
from taildiff.log import Progress, log, silent
from taildiff.models.codec import Codec, codec
from taildiff.run.layout import RunDir
from taildiff.spec import DataFacts, RunSpec, parse
from taildiff.training.checkpoint import Trainable, prune
from taildiff.training.ema import averaged
from taildiff.training.environment import describe
from taildiff.training.initialise import fresh
from taildiff.training.loop import Outcome, StopRule, Training, save_weights, train
from taildiff.training.resume import check_begun, record, resume
from taildiff.training.tracking import Tracker


def run_training(
    run: RunDir,
    spec: RunSpec,
    store: Store | LatentStore,
    stop: StopRule = StopRule(),  # noqa: B008 (frozen)
    start_from: Path | None = None,
    command: list[str] | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Train `run`, from the start or from its newest good checkpoint, and leave a checkpoint and weights behind.

    `start_from`: a weights file to begin with (fine-tuning).
    Under torchrun or SLURM, `devices` and `nodes` are theirs. Where several processes train, all call this.
    Raises RunError when the run exists and is another one, DataError for data that do not fit, NonFiniteError.
    """
    spec = fit_to_launcher(spec)
    engine = Engine(spec.devices, spec.nodes)
    if not engine.first:
        progress = silent
    with engine.one_voice():
        outcome = _run(run, spec, store, stop, start_from, command or [], engine, progress)
        engine.part()
    return replace(outcome, first=engine.first)


def fit_to_launcher(spec: RunSpec) -> RunSpec:
    """The spec with the launcher's devices and nodes; `SpecError` where it requests others (not 1)."""
    devices, nodes = devices_and_nodes(spec.devices, spec.nodes)
    if (started_by := launcher()) is None:
        return spec
    values = spec.model_dump() | {"devices": devices, "nodes": nodes}
    return parse(RunSpec, values, f"{started_by.name} started {started_by.processes} processes")


def _run(
    run: RunDir,
    spec: RunSpec,
    store: Store | LatentStore,
    stop: StopRule,
    start_from: Path | None,
    command: list[str],
    engine: Engine,
    progress: Progress,
) -> Outcome:
    """`run_training` in one of the processes, once they have met."""
    if not verify(store):
        log.info(f"{store.root} is too large to check at every start; to check it: taildiff data show PATH --verify")
    split = Split.cut(store, spec.data)
    check_begun(run, spec, store, split, start_from)  # a run that is refused is left as it is, without a lock
    with ExitStack() as held:
        engine.alone(lambda: held.enter_context(locked(run.lock, lambda holder: _busy(run, holder))))
        begun = check_begun(run, spec, store, split, start_from)
        start_from = start_from or (Path(begun.start_from) if begun and begun.start_from else None)
        training = open_training(run, spec, store, split, start_from, engine, progress)
        held.callback(training.tracker.close)
        info = describe(spec, store, split, command, engine)
        # only now: a run that cannot be built leaves nothing behind
        engine.alone(lambda: record(run, info, split, start_from, begun))
        if parts := compared_in_parts(spec):
            log.warning(parts)
        outcome = _train_on(training, stop)
        if str(training.skipped):
            log.info(f"skipped {training.skipped}, of {outcome.step} steps")
        return outcome


def _busy(run: RunDir, holder: str) -> RunError:
    return RunError(f"{run.root} is being trained by {holder}; wait until it ends, or choose another --out")


def _train_on(training: Training, stop: StopRule) -> Outcome:
    """Train on; what the last call had no time for after its checkpoint is made good before."""
    run, spec, step = training.run, training.spec, training.position.step
    done = step >= min(spec.steps, stop.step or spec.steps)

    def make_good() -> None:
        if step and not all(step in run.weight_steps(kind) for kind in ("ema", "raw")):
            save_weights(training, step)
        if done:  # else the next checkpoint does it
            prune(run, step, spec.every.keep)

    training.engine.alone(make_good)
    return Outcome(step, "finished" if step >= spec.steps else "stop-at") if done else train(training, stop)


def open_training(
    run: RunDir,
    spec: RunSpec,
    store: Store | LatentStore,
    split: Split,
    start_from: Path | None,
    engine: Engine,
    progress: Progress,
) -> Training:
    """Build everything and restore the newest checkpoint that is whole."""
    order = Order(store.labels[split.index], spec.seed, class_law_of(spec.data, split.counts))
    rows, gpu = engine.rows(spec.batch_size), engine.device.type == "cuda"
    batches = Batches(store, split, order, spec.batch_size, spec.data.flip, rows, pin=gpu)
    learner = fresh(spec, store.facts, split.counts, None if run.checkpoint_steps() else start_from)
    objective = learner.objective
    ema = averaged(learner.denoiser, spec.ema.decay).requires_grad_(False).to(engine.device)
    if spec.compile:
        compile_in_place(learner.denoiser, engine.device)  # the objective's draws and tables stay outside
        log.info("compiling the network in the first step, which takes a while")
    module = engine.setup(learner)
    o = spec.optimizer
    optimizer = torch.optim.AdamW(learner.parameters(), lr=o.lr, betas=o.betas, weight_decay=o.weight_decay)
    trainable = Trainable(learner, ema, optimizer)
    position = resume(run, trainable, engine)
    tracker = Tracker(
        run.metrics if engine.first else None,
        objective.names,
        objective.weights,
        Groups.thirds(split.counts),
        position.metrics_bytes,
        engine.gather,
        engine.alone,
    )
    return Training(
        run,
        spec,
        store.facts,
        engine,
        module,
        objective,
        trainable,
        batches,
        tracker,
        position,
        position.skipped,
        progress,
        _codec(spec, store.facts, engine),
    )


def _codec(spec: RunSpec, facts: DataFacts, engine: Engine) -> Codec | None:
    """What shows samples during training; without the VAE of the latents there are none, and training goes on."""
    if not (spec.every.samples and engine.first):
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


def compared_in_parts(spec: RunSpec) -> str:
    """What processes without `gather`, and accumulation, take from terms that compare the samples of a batch.

    A line for each of the two; empty where nothing.
    """
    o, by_gather, lines = spec.objective, dict[bool, list[str]](), list[str]()
    blocks = [(name.upper(), getattr(o, name).gather) for name in o.compares_samples]
    blocks += [("transfer", o.transfer.gather)] if o.transfer.mode != "none" or o.transfer.power else []
    for name, gather in blocks:
        by_gather.setdefault(gather, []).append(name)
    whole = {gather: spec.batch_size // (1 if gather else spec.processes) for gather in by_gather}
    if spec.processes > 1 and (alone := by_gather.get(False)):
        options = " ".join(f"--objective.{name.lower()}.gather" for name in alone)
        lines.append(f"{spec.processes} processes: {_compare(alone, whole[False], spec.batch_size)} ({options}: all)")
    if spec.accumulate > 1 and by_gather:
        found = [_compare(named, whole[key] // spec.accumulate, whole[key]) for key, named in by_gather.items()]
        lines.append(f"--accumulate {spec.accumulate}: {'; '.join(found)}")
    return "\n".join(lines)


def _compare(names: list[str], part: int, whole: int) -> str:
    return f"{' and '.join(names)} compare{'s' if len(names) == 1 else ''} {part} samples instead of {whole}"
