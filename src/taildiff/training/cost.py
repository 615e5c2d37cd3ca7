"""What a training step costs: seconds, measured in turns, and floating-point operations.

Runs take turns step by step, so that a drift of the machine's speed affects all of them: compare them within a round.
Operations are counted in those of a real step, forward and backward: a multiplication and an addition per element of a
matrix product, including attention, nothing else and nothing recomputed.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from taildiff import build
from taildiff.data.batches import Batch
from taildiff.data.latents import LatentStore
from taildiff.data.store import Store
from taildiff.engine import Engine
from taildiff.log import Progress, silent
from taildiff.objectives.objective import Streams
from taildiff.run.layout import RunDir
from taildiff.spec import DataFacts, RunSpec
from taildiff.training.loop import Training, advance
from taildiff.training.request import TrainingRequest
from taildiff.training.session import open_training


def in_turns(
    specs: Mapping[str, RunSpec],
    store: Store | LatentStore,
    rounds: int,
    progress: Progress = silent,
    device: str | None = None,
) -> list[dict[str, float]]:
    """Seconds per training step of each run, by round, on one device.

    Reading a batch does not count, as training reads it while it computes.
    """
    engine = Engine(device=device)
    with TemporaryDirectory(prefix="taildiff-") as folder, ExitStack() as stack:
        trainings = dict[str, Training]()
        for place, (name, spec) in enumerate(specs.items()):
            request = TrainingRequest(RunDir(Path(folder) / str(place)), engine.resolved(spec), store)
            trainings[name] = open_training(request, engine)
            stack.callback(trainings[name].tracker.close)
            _timed(trainings[name], 0)  # the first step also allocates
        measured: list[dict[str, float]] = []
        for step in range(1, rounds + 1):
            measured.append({name: _timed(training, step) for name, training in trainings.items()})
            progress("measuring step times", step, rounds)
    return measured


def _timed(t: Training, step: int) -> float:
    batch = t.batches.read(step)
    _wait(t)
    start = time.perf_counter()
    advance(t, batch, step)
    _wait(t)
    return time.perf_counter() - start


def _wait(t: Training) -> None:
    if t.engine.device.type == "cuda":
        torch.cuda.synchronize(t.engine.device)


def counted(spec: RunSpec, facts: DataFacts, batch_size: int, device: torch.device | str = "cpu") -> int:
    """Operations of one step at a batch size, without those of the optimiser."""
    with torch.random.fork_rng(devices=[]):
        learner = build.learner(spec.model_copy(update={"precision": "32-true"}), facts, facts.counts).to(device)
    batch = Batch(torch.zeros(batch_size, *facts.shape), torch.arange(batch_size) % facts.classes)
    batch = Batch(*(tensor.to(device) for tensor in batch))
    draws = learner.objective.draw(batch_size, facts.shape, Streams(0, 0, device))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # fused attention recomputes
        learner(batch, draws).total.backward()
    return counter.get_total_flops()
