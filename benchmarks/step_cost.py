"""The cost of one training step of each method, relative to plain denoising: same network, batch and process.

    python benchmarks/step_cost.py --out benchmarks/results/step_cost.json

Methods take turns in rounds, so that a drift of the machine's speed affects all of them; the ratio is the median over
rounds of (the method's seconds)/(plain's seconds in the same round).
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from taildiff import build
from taildiff.data.batches import Batch
from taildiff.memory import keep_freed_memory
from taildiff.objectives.objective import Learner, Streams
from taildiff.recipes import recipe
from taildiff.spec import (
    ALSpec,
    CBDMSpec,
    CORALSpec,
    DataFacts,
    DiffROPSpec,
    DispersiveSpec,
    ObjectiveSpec,
    RunSpec,
    TransferSpec,
    UCLSpec,
)

UCL, AL = UCLSpec(weight=0.2), ALSpec(weight=0.2)
METHODS = {
    "plain": ObjectiveSpec(),
    "CCUA, full": ObjectiveSpec(ucl=UCL, al=AL),
    "CCUA, null rows 0.5": ObjectiveSpec(ucl=UCL, al=AL, null_fraction=0.5),
    "CCUA, null rows 0.25": ObjectiveSpec(ucl=UCL, al=AL, null_fraction=0.25),
    "CCUA, shared null rows 0.25": ObjectiveSpec(ucl=UCL, al=AL, shared_null=0.25),
    "CCUA, shared null rows 0.1": ObjectiveSpec(ucl=UCL, al=AL, shared_null=0.1),
    "UCL alone": ObjectiveSpec(ucl=UCL),
    "UCL alone, null rows 0.25": ObjectiveSpec(ucl=UCL, null_fraction=0.25),
    "AL alone": ObjectiveSpec(al=AL),
    "CBDM": ObjectiveSpec(cbdm=CBDMSpec(weight=1)),
    "T2H": ObjectiveSpec(transfer=TransferSpec(mode="t2h")),
    "Dispersive": ObjectiveSpec(dispersive=DispersiveSpec(weight=0.25)),
    "DiffROP, pairs": ObjectiveSpec(diffrop=DiffROPSpec(weight=0.1)),
    "DiffROP, permuted": ObjectiveSpec(diffrop=DiffROPSpec(weight=0.1, form="permuted")),
    "CORAL": ObjectiveSpec(coral=CORALSpec(weight=0.5)),
}


class Runner:
    """One method with its own network and optimiser."""

    def __init__(self, objective: ObjectiveSpec, spec: RunSpec, facts: DataFacts, device: str):
        torch.manual_seed(0)
        spec = spec.model_copy(update={"objective": objective})
        self.learner: Learner = build.learner(spec, facts, facts.counts).to(device)
        self.optimizer = torch.optim.AdamW(self.learner.parameters(), lr=1e-4)
        self.device = device

    def step(self, number: int, batch: Batch) -> float:
        """Seconds of forward, backward and update."""
        draws = self.learner.objective.draw(len(batch.y), batch.x.shape[1:], Streams(0, number, self.device))
        self.wait()
        start = time.perf_counter()
        self.learner(batch, draws).total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        """Wait until the device has finished."""
        if self.device == "cuda":
            torch.cuda.synchronize()


def in_turns(
    objectives: Mapping[str, ObjectiveSpec],
    spec: RunSpec,
    shape: tuple[int, int, int],
    rounds: int,
    device: str = "cpu",
) -> list[dict[str, float]]:
    """Seconds per step of each objective, by round, on random images (C, H, W) of ten classes."""
    if device == "cpu":
        keep_freed_memory()  # as training does
    channels, height, width = shape
    counts = tuple(int(400 * 0.01 ** (k / 9)) for k in range(10))
    facts = DataFacts(height=height, width=width, channels=channels, class_names=tuple("0123456789"), counts=counts)
    n = spec.batch_size
    batch = Batch(torch.randn(n, *shape, device=device), (torch.arange(n) % 10).to(device))
    runners = {name: Runner(objective, spec, facts, device) for name, objective in objectives.items()}
    for runner in runners.values():
        runner.step(0, batch)
    return [{name: r.step(i + 1, batch) for name, r in runners.items()} for i in range(rounds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="mnist5k-plain", help="network and batch size")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    spec = recipe(options.recipe)
    spec = spec.model_copy(update={"batch_size": n}) if (n := options.batch_size) else spec
    n, shape = spec.batch_size, (1, 28, 28) if options.recipe.startswith("mnist") else (3, 32, 32)
    rounds = in_turns(METHODS, spec, shape, options.rounds, device)
    ratios = {name: statistics.median(r[name] / r["plain"] for r in rounds) for name in METHODS}
    plain = statistics.median(r["plain"] for r in rounds)
    hardware = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{options.recipe}, batch {n}, {hardware}: plain {1000 * plain:.0f} ms per step")
    for name, ratio in ratios.items():
        print(f"  {name:28s} {ratio:5.2f} x plain")
    if options.out:
        record = {
            "recipe": options.recipe,
            "batch": n,
            "hardware": hardware,
            "machine": platform.machine(),
            "torch": torch.__version__,
            "rounds": options.rounds,
            "plain_ms": round(1000 * plain, 1),
            "ratio": {name: round(ratio, 3) for name, ratio in ratios.items()},
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
