"""The training loop."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType

import torch
from torch import nn

from taildiff.data.batches import Batch, Batches
from taildiff.engine import Engine
from taildiff.errors import NonFiniteError
from taildiff.io.png import grid, write_png
from taildiff.log import Progress, log
from taildiff.models.codec import Codec
from taildiff.objectives.objective import Draws, Objective, StepLoss, Streams
from taildiff.rng import seed_of
from taildiff.run.layout import RunDir
from taildiff.run.weights import WeightsMeta, write_weights
from taildiff.sampling.generate import Model, generate
from taildiff.spec import DataFacts, DDPMSpec, RunSpec, SamplingSpec
from taildiff.training.checkpoint import Position, Trainable, prune, save_checkpoint
from taildiff.training.schedule import learning_rate
from taildiff.training.skip_steps import Skipped
from taildiff.training.tracking import Tracker, guilty


@dataclass(frozen=True)
class StopRule:
    """When to stop before the last step; the run is saved and can go on."""

    step: int | None = None
    seconds: float | None = None
    """Of this call, saving included."""


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended."""

    step: int
    reason: str
    """`finished`, `stop-at`, `max-time` or `signal`."""
    signal: int | None = None
    first: bool = True
    """Whether this is the process that speaks to the user."""


class Interrupts:
    """Turns the first Ctrl-C or SIGTERM into a flag that the loop reads; a second one acts at once."""

    def __init__(self) -> None:
        self.caught: int | None = None

    @contextmanager
    def watching(self) -> Iterator["Interrupts"]:
        """Only the main thread may set handlers; elsewhere (tests, notebooks' threads) nothing is watched."""
        kinds = (signal.SIGINT, signal.SIGTERM)
        try:
            before = [(kind, signal.signal(kind, self._catch)) for kind in kinds]
        except ValueError:
            before = []
        try:
            yield self
        finally:
            for kind, handler in before:
                signal.signal(kind, handler)

    def _catch(self, number: int, _frame: FrameType | None) -> None:
        self.caught = number
        signal.signal(number, signal.SIG_DFL)


@dataclass
class Training:
    """Everything that the loop works with; made by `session.open_training`."""

    run: RunDir
    spec: RunSpec
    facts: DataFacts
    engine: Engine
    module: nn.Module
    """The learner as the engine wrapped it."""
    objective: Objective
    trainable: Trainable
    batches: Batches
    tracker: Tracker
    position: Position
    skipped: Skipped
    """Steps left out; changes as training goes."""
    progress: Progress
    codec: Codec | None
    """For grids of samples; None where the VAE of the latents is not at hand."""


def train(t: Training, stop: StopRule) -> Outcome:
    """Train from t.position to the last step, or to where `stop` or a signal ends it."""
    spec, steps = t.spec, t.spec.steps
    last = min(steps, stop.step or steps)
    started = time.monotonic()
    step, seconds, outcome = t.position.step, t.position.seconds, None
    tick = time.perf_counter()
    with Interrupts().watching() as interrupts, t.batches.ahead(step, last) as batches:
        for batch in batches:
            # one step
            lr = learning_rate(spec.optimizer, step, steps)
            if _step(t, batch, step, lr):
                t.trainable.ema.update_parameters(t.trainable.learner.get_submodule("denoiser"))
            step, seconds = step + 1, seconds + time.perf_counter() - tick  # with the wait for the batch
            t.progress(f"training {spec.recipe}", step, steps)

            # what happens now and then
            if step % spec.every.log == 0 or step == last:
                t.tracker.write(step, step * spec.batch_size, seconds, lr, t.skipped)
            if step < steps:
                outcome = _interrupted(t, step, interrupts, stop, time.monotonic() - started)
            if outcome or step == last or (spec.every.save and step % spec.every.save == 0):
                t.tracker.write(step, step * spec.batch_size, seconds, lr, t.skipped)
                save(t, step, seconds)
            if outcome:
                return outcome
            if spec.every.samples and step % spec.every.samples == 0:
                t.engine.alone(partial(draw_grid, t, step))
            tick = time.perf_counter()
    return Outcome(step, "finished" if step == steps else "stop-at")


def _interrupted(t: Training, step: int, interrupts: Interrupts, stop: StopRule, elapsed: float) -> Outcome | None:
    """Whether any process was told to stop, or time is up."""
    if t.engine.any(interrupts.caught is not None):
        return Outcome(step, "signal", interrupts.caught)
    if stop.seconds is not None and t.engine.any(elapsed >= stop.seconds):
        return Outcome(step, "max-time")
    return None


def _step(t: Training, batch: Batch, step: int, lr: float) -> bool:
    """Forward, backward and update; False where the step was left out, in all processes alike."""
    spec, optimizer, engine = t.spec, t.trainable.optimizer, t.engine
    for group in optimizer.param_groups:
        group["lr"] = lr
    batch = Batch(*(tensor.to(engine.device, non_blocking=True) for tensor in batch))
    draws = t.objective.draw(spec.batch_size, batch.x.shape[1:], Streams(spec.seed, step, engine.device))
    draws = draws.rows(engine.rows(spec.batch_size))
    with torch.random.fork_rng(devices=_cuda(engine)):
        torch.random.manual_seed(seed_of(spec.seed, "dropout", step, engine.rank))
        loss = _backward(t, batch, draws)
    limit = float("inf") if spec.optimizer.clip is None else spec.optimizer.clip
    length = nn.utils.clip_grad_norm_(t.trainable.learner.parameters(), limit)
    norm, total = torch.stack([length.double(), loss.total.double()]).tolist()  # a GPU is waited for once
    norm = engine.largest(norm if math.isfinite(total) and norm < math.inf else math.inf)
    verdict, t.skipped = t.skipped.judged(spec, norm)
    if verdict == "train":
        optimizer.step()
        t.tracker.record(loss.per_sample.T, draws.s, batch.y, norm)
    else:
        why = guilty(t.objective.names, loss, draws) if verdict == "nonfinite" else f"gradient norm {norm:.3g}"
        _leave_out(t, step, why)
    optimizer.zero_grad(set_to_none=True)
    return verdict == "train"


def _backward(t: Training, batch: Batch, draws: Draws) -> StepLoss:
    """Gradients of the mean loss of the own rows, a part after the other; processes exchange them in the last one."""
    parts, size = t.spec.accumulate, len(batch.y) // t.spec.accumulate
    losses: list[StepLoss] = []
    for part in range(parts):
        rows = slice(part * size, (part + 1) * size)
        with t.engine.apart(t.module, part + 1 < parts):
            loss: StepLoss = t.module(Batch(batch.x[rows], batch.y[rows]), draws.rows(rows))
            t.engine.backward(loss.total / parts)
        losses.append(StepLoss(loss.total.detach() / parts, loss.per_sample))
    return StepLoss(torch.stack([loss.total for loss in losses]).sum(), torch.cat([x.per_sample for x in losses], 1))


def _leave_out(t: Training, step: int, why: str) -> None:
    """Tell of a step that is skipped, or stop training where there were too many."""
    if t.skipped.nonfinite > t.spec.skip_nonfinite:
        raise NonFiniteError(_what_broke(t, step, why))
    t.tracker.leave_out()
    log.warning(f"skipped step {step + 1}: {why}; skipped so far: {t.skipped}")


def _cuda(engine: Engine) -> list[torch.device]:
    return [engine.device] if engine.device.type == "cuda" else []


def _what_broke(t: Training, step: int, cause: str) -> str:
    saved = t.run.checkpoint_steps()
    good = f"the last good checkpoint is {t.run.state(saved[-1])}" if saved else "there is no checkpoint yet"
    before = f", after {t.spec.skip_nonfinite} that were left out" if t.spec.skip_nonfinite else ""
    return (
        f"training stopped in step {step + 1}: {cause}{before}; {good}. "
        "Lower --optimizer.lr, or check the images, and start a new run (--out); or continue this one "
        f"with --skip-nonfinite {max(10, 2 * t.spec.skip_nonfinite)}, which leaves out that many such steps"
    )


def save(t: Training, step: int, seconds: float) -> None:
    """A checkpoint and the weights to sample from; then older ones go."""

    def write() -> None:
        position = Position(
            step=step,
            images=step * t.spec.batch_size,
            seconds=seconds,
            metrics_bytes=t.tracker.sync(),
            skipped=t.skipped,
        )
        save_checkpoint(t.run, position, t.trainable)
        save_weights(t, step)
        prune(t.run, step, t.spec.every.keep)

    t.engine.alone(write)


def save_weights(t: Training, step: int) -> None:
    """Write the weights to sample from."""
    denoisers = {"ema": t.trainable.ema.module, "raw": t.trainable.learner.get_submodule("denoiser")}
    for kind, denoiser in denoisers.items():
        meta = WeightsMeta(kind=kind, step=step, spec=t.spec, facts=t.facts)
        write_weights(t.run.weights(step, kind), denoiser.state_dict(), meta)


def draw_grid(t: Training, step: int) -> None:
    """Eight images of each class (of at most ten classes), a class a row, by the averaged weights."""
    if t.codec is None:
        return
    classes = t.facts.classes
    shown = sorted({round(i * (classes - 1) / min(9, classes - 1)) for i in range(min(10, classes))})
    labels = torch.tensor(shown).repeat_interleave(8).numpy()
    denoiser = t.trainable.ema.module.eval()
    model = Model(denoiser, t.objective.process, t.facts, t.spec, step, "", t.codec)  # pyright: ignore[reportArgumentType]
    most = t.spec.path.timesteps if isinstance(t.spec.path, DDPMSpec) else SamplingSpec().steps
    images = generate(model, labels, SamplingSpec(steps=min(SamplingSpec().steps, most)), guidance=1.5)
    write_png(t.run.sample_grid(step), grid(images, columns=8))
