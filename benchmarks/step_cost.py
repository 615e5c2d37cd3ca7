"""The cost of one training step of each method, relative to plain denoising: same network, batch and process.

    python benchmarks/step_cost.py --out benchmarks/results/step_cost.json

Methods take turns in rounds, so that a drift of the machine's speed affects all of them; the ratio is the median over
rounds of (the method's seconds)/(plain's seconds in the same round).
"""

import argparse
import json
import platform
import statistics
from pathlib import Path

import torch
from loops import random_store, tail

from taildiff.recipes import recipe
from taildiff.spec import (
    ALSpec,
    CBDMSpec,
    CORALSpec,
    DataSpec,
    DiffROPSpec,
    DispersiveSpec,
    ObjectiveSpec,
    TransferSpec,
    UCLSpec,
)
from taildiff.training.cost import in_turns

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="mnist5k-plain", help="network and batch size")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    spec = recipe(options.recipe)
    n, shape = options.batch_size or spec.batch_size, (1, 28, 28) if options.recipe.startswith("mnist") else (3, 32, 32)
    spec = spec.model_copy(update={"batch_size": n, "data": DataSpec(resample=0.1)})
    specs = {name: spec.model_copy(update={"objective": objective}) for name, objective in METHODS.items()}
    rounds = in_turns(specs, random_store(shape, tail(988)), options.rounds)
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
