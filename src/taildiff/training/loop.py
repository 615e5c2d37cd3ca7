"""The training loop."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType

import numpy as np
import torch
from torch import nn

from taildiff.data.batches import Batch, Batches
from taildiff.device import wide
from taildiff.engine import Engine
from taildiff.errors import NonFiniteError, RunError
from taildiff.io.png import grid, write_png
from taildiff.log import Progress, Stage, log
from taildiff.models.codec import Codec
from taildiff.objectives.objective import Draws, Objective, StepLoss, Streams
from taildiff.rng import seed_of
from taildiff.run.layout import RunDir
from taildiff.run.null_label import has_null
from taildiff.run.weights import WeightsMeta, nonfinite, write_weights
from taildiff.sampling.generate import TrainedModel, generate
from taildiff.spec import DDPMSpec, SamplingSpec
from taildiff.trackers.feed import Feed
from taildiff.training.checkpoint import Position, Trainable, prune, save_checkpoint
from taildiff.training.request import Outcome, TrainingRequest
from taildiff.training.schedule import learning_rate
from taildiff.training.skip_steps import Skipped
from taildiff.training.tracking import Tracker, nonfinite_term


class Interrupts:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a flag that the loop reads; another one ends the process at once.

    Except SIGHUP: shell and system both send one when a terminal is closed.
    """

    def __init__(self) -> None:
        self.caught: int | None = None

    @contextmanager
    def watching(self) -> Iterator["Interrupts"]:
        """Watch signals in the main thread; other threads (of notebooks, say) may not set handlers and watch none."""
        kinds = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
            kinds.append(signal.SIGHUP)
        try:
            previous = [(kind, signal.signal(kind, self._catch)) for kind in kinds]
        except ValueError:
            previous = []
        try:
            yield self
        finally:
            for kind, handler in previous:
                signal.signal(kind, handler or signal.SIG_DFL)  # None for a handler that Python did not install

    def _catch(self, number: int, _frame: FrameType | None) -> None:
        self.caught = number
        signal.signal(number, signal.SIG_IGN if number == getattr(signal, "SIGHUP", None) else signal.SIG_DFL)


@dataclass
class Training:
    """Everything the loop works with; made by `session.open_training`."""

    request: TrainingRequest
    engine: Engine
    module: nn.Module
    """The learner, wrapped by the engine."""
    objective: Objective
    trainable: Trainable
    batches: Batches
    tracker: Tracker
    position: Position
    skipped: Skipped
    """Steps skipped so far; updated by the loop."""
    progress: Progress
    codec: Codec | None
    """For sample grids; None where none are drawn."""
    feed: Feed
    """Experiment trackers; none on other ranks than zero."""
    home: tuple[int, int] | None = None
    """Device and inode of the run's folder where this process writes it."""


def train(t: Training) -> Outcome:
    """Train from t.position to the last step, or until the stop rule or a signal ends it."""
    spec, steps = t.request.spec, t.request.spec.steps
    last = min(steps, t.request.stop.step or steps)
    started = time.monotonic()
    step, seconds, outcome = t.position.step, t.position.seconds, None
    tick = time.perf_counter()
    with Interrupts().watching() as interrupts, t.batches.ahead(step, last) as batches:
        for batch in batches:
            # one step
            waited = time.perf_counter() - tick
            lr = advance(t, batch, step)
            spent = time.perf_counter() - tick
            step, seconds = step + 1, seconds + spent
            t.tracker.add_time(spent, waited)
            t.progress(Stage(f"training {spec.recipe}", t.tracker.note), step, steps)

            # logging, stopping, saving, sample grids
            if step < steps:
                outcome = _interrupted(t, step, interrupts, time.monotonic() - started)
            saving = outcome or step == last or (spec.every.save and step % spec.every.save == 0)
            if saving or step % spec.every.log == 0:
                t.feed.line(t.tracker.write(step, step * spec.batch_size, seconds, lr, t.skipped))
            if saving:
                save(t, step, seconds)
            if outcome:
                return outcome
            if spec.every.samples and step % spec.every.samples == 0:
                t.engine.on_rank_zero(partial(draw_grid, t, step))
            tick = time.perf_counter()
    return Outcome(step, "finished" if step == steps else "stop-at")


def _interrupted(t: Training, step: int, interrupts: Interrupts, elapsed: float) -> Outcome | None:
    """The outcome if any process received a signal or the time is up, else None."""
    if t.engine.any(interrupts.caught is not None):
        return Outcome(step, "signal", interrupts.caught)
    limit = t.request.stop.seconds
    if limit is not None and t.engine.any(elapsed >= limit):
        return Outcome(step, "max-time")
    return None


def advance(t: Training, batch: Batch, step: int) -> float:
    """One step of training on a batch: the update, and the average of the weights; returns the learning rate."""
    lr = learning_rate(t.request.spec.optimizer, step, t.request.spec.steps)
    if _step(t, batch, step, lr):
        t.trainable.ema.update_parameters(t.trainable.learner.get_submodule("denoiser"))
    return lr


def _step(t: Training, batch: Batch, step: int, lr: float) -> bool:
    """Forward, backward and update; False where the step was skipped, which all processes do alike."""
    spec, optimizer, engine = t.request.spec, t.trainable.optimizer, t.engine
    for group in optimizer.param_groups:
        group["lr"] = lr
    batch = Batch(*(tensor.to(engine.device, non_blocking=True) for tensor in batch))
    draws = t.objective.draw(spec.batch_size, batch.x.shape[1:], Streams(spec.seed, step, engine.device))
    draws = draws.rows(*engine.rows(spec.batch_size, spec.accumulate))
    with torch.random.fork_rng(devices=[engine.device] if engine.device.type == "cuda" else []):
        torch.random.manual_seed(seed_of(spec.seed, "dropout", step, engine.rank))
        loss = _backward(t, batch, draws)
    limit = float("inf") if spec.optimizer.clip is None else spec.optimizer.clip
    length = nn.utils.clip_grad_norm_(t.trainable.learner.parameters(), limit)
    norm, total = torch.stack([wide(length), wide(loss.total)]).tolist()  # waits for the GPU once
    norm = engine.max(norm if math.isfinite(total) and norm < math.inf else math.inf)
    decision, t.skipped = t.skipped.decide(spec, norm)
    if decision == "train":
        optimizer.step()
        t.tracker.add(loss.per_sample.T, draws.s, batch.y, norm, total)
    else:
        nonfinite = decision == "nonfinite"
        cause = nonfinite_term(t.objective.names, loss, draws) if nonfinite else f"gradient norm {norm:.3g}"
        _skip(t, step, cause)
    optimizer.zero_grad(set_to_none=True)
    return decision == "train"


def _backward(t: Training, batch: Batch, draws: Draws) -> StepLoss:
    """Gradients of the mean loss over this rank's rows, by micro-batches; the last one averages over the processes."""
    parts, size = t.request.spec.accumulate, len(batch.y) // t.request.spec.accumulate
    losses: list[StepLoss] = []
    for part in range(parts):
        rows = slice(part * size, (part + 1) * size)
        with t.engine.no_sync(t.module, part + 1 < parts):
            loss: StepLoss = t.module(Batch(batch.x[rows], batch.y[rows]), draws.rows(rows))
            t.engine.backward(loss.total / parts)
        losses.append(StepLoss(loss.total.detach() / parts, loss.per_sample))
    return StepLoss(torch.stack([loss.total for loss in losses]).sum(), torch.cat([x.per_sample for x in losses], 1))


def _skip(t: Training, step: int, cause: str) -> None:
    """Log a skipped step; `NonFiniteError` where there were too many."""
    if t.skipped.nonfinite > t.request.spec.skip_nonfinite:
        raise NonFiniteError(_nonfinite_message(t, step, cause))
    t.tracker.add_skipped()
    log.warning(f"skipped step {step + 1}: {cause}; skipped so far: {t.skipped}")


def _nonfinite_message(t: Training, step: int, cause: str) -> str:
    limit = t.request.spec.skip_nonfinite
    before = f", after {limit} skipped steps" if limit else ""
    return (
        f"{_diverged_message(t, step + 1, cause + before)}; or resume this one with "
        f"--skip-nonfinite {max(10, 2 * limit)}, which skips up to that many such steps"
    )


def _diverged_message(t: Training, step: int, cause: str) -> str:
    run = t.request.run
    saved = run.checkpoint_steps()
    good = f"the last good checkpoint is {run.state(saved[-1])}" if saved else "there is no checkpoint yet"
    return (
        f"training stopped in step {step}: {cause}; {good}. "
        "Lower --optimizer.lr or check the images, and start a new run (--out)"
    )


def save(t: Training, step: int, seconds: float) -> None:
    """Save a checkpoint and the weights to sample from, then remove older ones."""
    run, spec = t.request.run, t.request.spec

    def write() -> None:
        check_home(t, step)
        if bad := nonfinite(t.trainable.learner.state_dict()) or nonfinite(t.trainable.ema.state_dict()):
            raise NonFiniteError(_diverged_message(t, step, f"weights are NaN or infinite ({bad})"))
        images, length = step * spec.batch_size, t.tracker.sync()
        position = Position(step=step, images=images, seconds=seconds, metrics_bytes=length, skipped=t.skipped)
        save_checkpoint(run, position, t.trainable)
        save_weights(t, step)
        prune(run, step, spec.every.keep)

    t.engine.on_rank_zero(write)


def check_home(t: Training, step: int) -> None:
    """`RunError` where the run's folder has been removed or replaced, so that no half of it is written again."""
    if t.home is not None and t.home != identity(t.request.run):
        raise RunError(
            f"{t.request.run.root} was removed, moved or replaced while it was trained; training stopped after step "
            f"{step}, and nothing was written. Put the folder back, then rerun the same command to resume"
        )


def identity(run: RunDir) -> tuple[int, int] | None:
    """Device and inode of a run's folder; None where there is no run."""
    try:
        status = run.root.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if run.exists() else None


def save_weights(t: Training, step: int) -> None:
    """Write the averaged and the raw weights, for sampling."""
    request = t.request
    denoisers = {"ema": t.trainable.ema.module, "raw": t.trainable.learner.get_submodule("denoiser")}
    for kind, denoiser in denoisers.items():
        meta = WeightsMeta(kind=kind, step=step, spec=request.spec, facts=request.store.facts)
        write_weights(request.run.weights(step, kind), denoiser.state_dict(), meta)


def draw_grid(t: Training, step: int) -> None:
    """Draw eight images per class with the averaged weights, for at most ten classes, one row each."""
    if t.codec is None:
        return
    check_home(t, step)
    spec, facts = t.request.spec, t.request.store.facts
    shown = np.linspace(0, facts.classes - 1, min(10, facts.classes)).round().astype(np.int64)
    denoiser = t.trainable.ema.module.eval()
    model = TrainedModel(denoiser, t.objective.process, facts, spec, step, "", t.codec)  # pyright: ignore[reportArgumentType]
    most = spec.path.timesteps if isinstance(spec.path, DDPMSpec) else SamplingSpec().steps
    sampling, guidance = SamplingSpec(steps=min(SamplingSpec().steps, most)), 1.5 if has_null(t.request.run) else 1.0
    try:
        images = generate(model, np.repeat(shown, 8), sampling, guidance)
    except RunError as error:  # a network that cannot be sampled from yet may still recover
        log.warning(f"no sample grid at step {step}: {error}")
        return
    write_png(t.request.run.sample_grid(step), grid(images, columns=8))
    t.feed.grid(step)
