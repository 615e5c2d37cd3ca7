"""Where a training step goes: CPU time of its parts, and of torch's operators.

    python benchmarks/step_profile.py mnist5k-plain --batch-size 64
    python benchmarks/step_profile.py cifar10lt-plain --batch-size 4 --operators 20
    python benchmarks/step_profile.py imagenetlt256-sit-s2 --method plain --batch-size 4
    python benchmarks/step_profile.py mnist5k-sit-ccua --batch-size 64 --optimizer muon

Medians over steps of CPU seconds of all threads, which other work on the machine hardly changes. On a GPU use torch's
own profiler: kernels run behind the calls that start them.
"""

import argparse
import statistics
import time
from collections import defaultdict

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from taildiff import build
from taildiff.api.training import starting_spec, with_changes
from taildiff.data.batches import Batch
from taildiff.memory import keep_freed_memory
from taildiff.objectives.objective import Streams
from taildiff.spec import CodecFacts, DataFacts
from taildiff.training.ema import MovingAverage
from taildiff.training.optimizers import optimizer_of

LATENTS = CodecFacts(source="", kind="AutoencoderKL", hash="", channels=4, height=32, width=32, scaling=0.18215)


class Step:
    """One training step, part by part."""

    def __init__(self, name: str, method: str | None, batch_size: int, optimizer: str):
        spec = with_changes(starting_spec(name, method=method), {"optimizer.name": optimizer})
        size, channels = (28, 1) if name.startswith("mnist") else (32, 3)
        codec = LATENTS if "256" in name else None
        side = 256 if codec else size
        names = tuple(str(k) for k in range(10))
        facts = DataFacts(height=side, width=side, channels=channels, class_names=names, counts=(9,) * 10, codec=codec)
        torch.manual_seed(0)
        self.learner = build.learner(spec, facts, facts.counts).train()
        self.batch = Batch(torch.randn(batch_size, *facts.shape), torch.arange(batch_size) % 10)
        self.optimizer = optimizer_of(spec.optimizer, self.learner)
        self.average = MovingAverage(self.learner.denoiser, spec.ema.decay).requires_grad_(False)
        self.times = defaultdict[str, list[float]](list)

    def __call__(self, number: int) -> None:
        """Take the step."""
        parameters, start = list(self.learner.parameters()), time.process_time()

        def done(part: str) -> None:
            nonlocal start
            now = time.process_time()
            self.times[part].append(now - start)
            start = now

        shape = self.batch.x.shape
        draws = self.learner.objective.draw(len(self.batch.y), shape[1:], Streams(0, number))
        done("random numbers")
        loss = self.learner(self.batch, draws).total
        done("forward")
        loss.backward()
        done("backward")
        nn.utils.clip_grad_norm_(parameters, 1.0)
        done("clipping")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        done("optimiser")
        self.average.update_parameters(self.learner.denoiser)
        done("average")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--method")
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--operators", type=int, default=0, help="how many operators to list")
    options = parser.parse_args()
    keep_freed_memory()
    step = Step(options.recipe, options.method, options.batch_size, options.optimizer)
    for number in range(options.steps + 1):
        step(number)
        if not number:
            step.times.clear()
    medians = {part: statistics.median(times) for part, times in step.times.items()}
    whole = sum(medians.values())
    count = build.parameters(step.learner) / 1e6
    print(f"{options.recipe}, {count:.2f} M parameters, batch {options.batch_size}, {torch.get_num_threads()} threads")
    for part, seconds in medians.items():
        print(f"{part:16} {1000 * seconds:8.1f} ms {seconds / whole:7.1%}")
    if options.operators:
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            step(options.steps + 1)
        rows = profiled.key_averages()
        print(rows.table(sort_by="self_cpu_time_total", row_limit=options.operators, max_name_column_width=45))


if __name__ == "__main__":
    main()
