"""Opening a run for training: new, or where it stopped."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from taildiff import build
from taildiff.data.batches import Batches
from taildiff.data.latents import LatentStore
from taildiff.data.longtail import Groups, Split, class_law_of
from taildiff.data.order import Order
from taildiff.data.store import Store
from taildiff.data.verify import verify
from taildiff.errors import CheckpointError, InputError, RunError
from taildiff.launched import fitted
from taildiff.models.codec import Codec, codec
from taildiff.models.convert import load_foreign, read_foreign
from taildiff.objectives.objective import Learner
from taildiff.progress import Progress, silent
from taildiff.run_info import MAY_CHANGE, RunInfo, changed, seal_info
from taildiff.runs import RunDir, write_json
from taildiff.spec import DataFacts, ModelSpec, RunSpec, SiTSpec
from taildiff.streams import seed_of
from taildiff.training.checkpoint import Position, Trainable, load_checkpoint, newest, prune, set_aside, tidy
from taildiff.training.ema import averaged
from taildiff.training.engine import Engine, compile_in_place
from taildiff.training.lock import locked
from taildiff.training.loop import Outcome, Say, StopRule, Training, save_weights, train
from taildiff.training.provenance import describe
from taildiff.training.tracking import Tracker
from taildiff.weights import Tensors, is_own, read_weights


def run_training(
    run: RunDir,
    spec: RunSpec,
    store: Store | LatentStore,
    stop: StopRule = StopRule(),  # noqa: B008 (frozen)
    start_from: Path | None = None,
    command: list[str] | None = None,
    progress: Progress = silent,
    say: Say = lambda _: None,
) -> Outcome:
    """Train `run`, from the start or from its newest good checkpoint, and leave a checkpoint and weights behind.

    `start_from`: a weights file to begin with (fine-tuning).
    Under torchrun or SLURM, `devices` and `nodes` are theirs. Where several processes train, all call this.
    Raises RunError when the run exists and is another one, DataError for data that do not fit, NonFiniteError.
    """
    spec = fitted(spec)
    engine = Engine(spec.devices, spec.nodes)
    if not engine.first:
        progress, say = silent, lambda _: None
    with engine.one_voice():
        outcome = _run(run, spec, store, stop, start_from, command or [], engine, progress, say)
    return replace(outcome, first=engine.first)


def _run(
    run: RunDir,
    spec: RunSpec,
    store: Store | LatentStore,
    stop: StopRule,
    start_from: Path | None,
    command: list[str],
    engine: Engine,
    progress: Progress,
    say: Say,
) -> Outcome:
    """`run_training` in one of the processes, once they have met."""
    if not verify(store):
        say(f"{store.root} is too large to be checked at every start; to check it: taildiff data show PATH --verify")
    split = Split.cut(store, spec.data)
    check_begun(run, spec, store, split, start_from)  # a run that is refused is left as it is, without a lock
    with ExitStack() as held:
        engine.alone(lambda: held.enter_context(locked(run, say)))
        begun = check_begun(run, spec, store, split, start_from)
        start_from = start_from or (Path(begun.start_from) if begun and begun.start_from else None)
        training = open_training(run, spec, store, split, start_from, engine, progress, say)
        held.callback(training.tracker.close)
        info = describe(spec, store, split, command, engine)
        # only now: a run that cannot be built leaves nothing behind
        engine.alone(lambda: record(run, info, split, start_from, begun))
        if parts := compared_in_parts(spec):
            say(parts)
        outcome = _train_on(training, stop)
        if str(training.skipped):
            say(f"left out {training.skipped}, of {outcome.step} steps")
        return outcome


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
        lines.append(
            f"[yellow]{spec.processes} processes:[/] {_compare(alone, whole[False], spec.batch_size)} ({options}: all)"
        )
    if spec.accumulate > 1 and by_gather:
        found = [_compare(named, whole[key] // spec.accumulate, whole[key]) for key, named in by_gather.items()]
        lines.append(f"[yellow]--accumulate {spec.accumulate}:[/] {'; '.join(found)}")
    return "\n".join(lines)


def _compare(names: list[str], part: int, whole: int) -> str:
    return f"{' and '.join(names)} compare{'s' if len(names) == 1 else ''} {part} samples instead of {whole}"


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


def check_begun(
    run: RunDir, spec: RunSpec, store: Store | LatentStore, split: Split, start_from: Path | None
) -> RunInfo | None:
    """What run.json says of a run that has checkpoints, after making sure that it is this one; None for a new run."""
    steps = run.checkpoint_steps()
    if not steps:
        return None
    if not run.exists():
        raise RunError(f"{run.root} has checkpoints but no run.json, so they cannot be trusted: use another --out")
    old = run.info()
    check_same(run, old.spec, spec)
    latents = old.latents.hash if old.latents else None, store.info.hash if isinstance(store, LatentStore) else None
    if None in latents and latents != (None, None):
        was, now = ("images" if found is None else "latents" for found in latents)
        raise RunError(f"{run.root} was begun on {was}, and {store.root} holds {now}; name those, or use another --out")
    for what, was, now in [
        ("another store", old.store.hash, store.meta.hash),
        ("another split", old.split_hash, split.hash),
        ("other latents", *latents),
    ]:
        if was != now:
            raise RunError(f"{run.root} was begun with {what} (hash {was}, now {now}); use another --out")
    if start_from is not None and str(start_from) != old.start_from:
        raise RunError(f"{run.root} exists already; --from is for a new run: use another --out")
    if steps[-1] > spec.steps:
        raise RunError(f"{run.root} has {steps[-1]} steps behind it: --steps {spec.steps} would undo some; use more")
    return old


def record(run: RunDir, info: dict[str, Any], split: Split, start_from: Path | None, begun: RunInfo | None) -> None:
    """Write run.json and split.json; of a run that goes on, its beginning is kept."""
    info |= {"start_from": None if start_from is None else str(start_from)}
    if begun is not None:
        info |= {"created": begun.created, "command": list(begun.command)}
    run.root.mkdir(parents=True, exist_ok=True)
    split.save(run.split)
    write_json(run.spec, seal_info(info))


def check_same(run: RunDir, old: RunSpec, new: RunSpec) -> None:
    """`RunError` with one line a field when a run is continued with other settings."""
    free = [*MAY_CHANGE, *(["steps"] if new.optimizer.schedule == "constant" else [])]
    lines = [f"  {name}: {was!r} -> {now!r}" for name, was, now in changed(old, new, free)]
    if lines:
        hint = "" if "steps" in free else " (steps may change under a constant schedule only)"
        raise RunError(
            f"{run.root} is a run with other settings{hint}:\n"
            + "\n".join(lines)
            + "\nLeave these as they were to continue it, or use another --out"
        )


def open_training(
    run: RunDir,
    spec: RunSpec,
    store: Store | LatentStore,
    split: Split,
    start_from: Path | None,
    engine: Engine,
    progress: Progress,
    say: Say,
) -> Training:
    """Build everything and restore the newest checkpoint that is whole."""
    order = Order(store.labels[split.index], spec.seed, class_law_of(spec.data, split.counts))
    rows, gpu = engine.rows(spec.batch_size), engine.device.type == "cuda"
    batches = Batches(store, split, order, spec.batch_size, spec.data.flip, rows, pin=gpu)
    learner = _fresh(spec, store, split, None if run.checkpoint_steps() else start_from)
    objective = learner.objective
    ema = averaged(learner.denoiser, spec.ema.decay).requires_grad_(False).to(engine.device)
    if spec.compile:
        compile_in_place(learner.denoiser, engine.device)  # the objective's draws and tables stay outside
        say("the network is compiled in the first step, which takes a while")
    module = engine.setup(learner)
    o = spec.optimizer
    optimizer = torch.optim.AdamW(learner.parameters(), lr=o.lr, betas=o.betas, weight_decay=o.weight_decay)
    trainable = Trainable(learner, ema, optimizer)
    position = _resume(run, trainable, engine, say)
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
        say,
        _codec(spec, store.facts, engine, say),
    )


def _codec(spec: RunSpec, facts: DataFacts, engine: Engine, say: Say) -> Codec | None:
    """What shows samples during training; without the VAE of the latents there are none, and training goes on."""
    if not (spec.every.samples and engine.first):
        return None
    try:
        return codec(facts, device=engine.device)
    except InputError:
        assert facts.codec
        say(
            f"[yellow]no grids of samples during training:[/] the VAE {facts.codec.source} is not at hand, or another "
            "one by now (taildiff sample and evaluate need it: --vae PATH)"
        )
        return None


def _resume(run: RunDir, trainable: Trainable, engine: Engine, say: Say) -> Position:
    """Restore in every process; the first one cleans up before and sets damaged checkpoints aside after."""
    if engine.first:
        tidy(run)
    engine.barrier()
    position = restore(run, trainable, say)
    if engine.any(position.step != engine.largest(position.step)):
        raise RunError(
            f"the processes do not see the same checkpoints in {run.states} (this one: step {position.step}): "
            "--out must be on a file system that all nodes see"
        )
    engine.barrier()  # nobody sets a checkpoint aside while another still reads it
    if engine.first:
        for folder in newest(run):
            if folder > run.state(position.step):
                set_aside(folder)
    return position


def _fresh(spec: RunSpec, store: Store | LatentStore, split: Split, start_from: Path | None) -> Learner:
    """Network and objective with weights from the seed, or the network's from a file."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed_of(spec.seed, "weights"))
        learner = build.learner(spec, store.facts, split.counts)
    if start_from is not None:
        load_foreign(learner.denoiser, _start(start_from, spec, store.facts), f"--from {start_from}")
    return learner


def _start(path: Path, spec: RunSpec, facts: DataFacts) -> Tensors:
    """Weights to begin with: of another run, or an official checkpoint."""
    if path.suffix != ".safetensors" or not is_own(path):
        return read_foreign(path)
    tensors, meta = read_weights(path)
    same_kind = meta.facts.shape == facts.shape and bool(meta.facts.codec) == bool(facts.codec)
    if not same_kind or _layout(meta.spec) != _layout(spec):
        raise CheckpointError(
            f"--from {path} does not fit this network and data: it holds {_shape(meta.spec, meta.facts)}, "
            f"and this run is {_shape(spec, facts)}"
        )
    return tensors


def _layout(spec: RunSpec) -> ModelSpec:
    """The network without what weights do not depend on."""
    return spec.model.model_copy(update={"checkpointing": False} if isinstance(spec.model, SiTSpec) else {})


def _shape(spec: RunSpec, facts: DataFacts) -> str:
    size = "x".join(map(str, (*facts.shape[1:], facts.shape[0])))
    what = "latents" if facts.codec else "images"
    return f"{spec.model.model_dump_json()} for {facts.classes} classes of {size} {what}"


def restore(run: RunDir, trainable: Trainable, say: Say) -> Position:
    """The newest checkpoint that is whole; damaged ones are named and passed over."""
    damaged = 0
    for folder in newest(run):
        try:
            position = load_checkpoint(folder, trainable)
        except CheckpointError as error:
            say(f"[yellow]passed over a checkpoint:[/] {error}")
            damaged += 1
            continue
        if (run.metrics.stat().st_size if run.metrics.is_file() else 0) < position.metrics_bytes:
            say(f"[yellow]{run.metrics} is shorter than at the checkpoint; its lost lines stay lost[/]")
        left_out = f"; left out so far: {position.skipped}" if str(position.skipped) else ""
        say(f"continuing {run.root} after step {position.step}{left_out}")
        return position
    if damaged:
        raise CheckpointError(
            f"none of the {damaged} checkpoints in {run.states} is whole; "
            "restore one from a backup, or remove the folder to begin again"
        )
    return Position()
