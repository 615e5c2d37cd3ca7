"""Choices on the embedded digits, each over training seeds: how the U-Net starts, and CCUA's weights.

    python benchmarks/digits.py start   --out runs/digits     # plain; today's network and three others
    python benchmarks/digits.py weights --out runs/digits     # CCUA with alpha = gamma

trains every setting with every seed, 800 steps each under the recipe's schedule, then evaluates each run, 100 images
per class, and prints tables of means over the seeds with the range of the seeds in brackets. Runs and evaluations that
exist are not repeated, so the same command resumes; --results also writes the numbers as JSON. Seeds are 0 to 2; with
--first-seed 3, 3 to 5. Comparisons of methods at equal time are studies: `taildiff study run examples/studies/…`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import taildiff
from taildiff.api.training import starting_spec

BEFORE = {"model.zero_init": False}
"""The start up to version 0.1.0: torch's default, and one channel per group at width 16."""
GROUPS = {"model.group_channels": 4}
GRIDS: Mapping[str, tuple[str, Mapping[str, Mapping[str, Any]]]] = {
    "start": (
        "mnist5k-plain",
        {
            "as before": BEFORE,
            "near zero": {},
            "groups of 4": {**BEFORE, **GROUPS},
            "both": GROUPS,
        },
    ),
    "weights": (
        "mnist5k-ccua",
        {f"{w:g}": {"objective.ucl.weight": w, "objective.al.weight": w} for w in (0.05, 0.1, 0.02, 0.2)},
    ),
}
COLUMNS = [
    ("frechet", "all"),
    ("frechet", "head"),
    ("frechet", "body"),
    ("frechet", "tail"),
    ("recall", "all"),
    ("recall", "tail"),
    ("accuracy", "all"),
    ("accuracy", "tail"),
]
Values = dict[str, float]


def run_of(out: Path, setting: str, seed: int, steps: int | None) -> Path:
    """The folder of one run; `steps` if they are not the recipe's."""
    return out / f"{setting.replace(' ', '-')}{'' if steps is None else f'-{steps}steps'}-seed{seed}"


def numbers(run: Path, guidance: Sequence[float], steps: int) -> dict[str, Values]:
    """By guidance, the value of each column, named `metric group`."""
    metrics = ("frechet", "recall", "accuracy")
    rows = taildiff.evaluate(run, guidance=tuple(guidance), per_class=100, steps=steps, metrics=metrics).rows
    return {
        f"{g:g}": {
            f"{metric} {group}": next(
                row.value
                for row in rows
                if row.guidance == g and (row.metric, row.group) == (metric, group) and not row.class_name
            )
            for metric, group in COLUMNS
        }
        for g in guidance
    }


def show(guidance: str, measured: Mapping[str, Sequence[Mapping[str, Values]]]) -> None:
    """A table of one guidance."""
    names = [f"{metric} {group}" for metric, group in COLUMNS]
    print(f"\nguidance {guidance}\n| setting | " + " | ".join(names) + " |\n|---|" + "--:|" * len(names))
    for setting, seeds in measured.items():
        cells = []
        for name in names:
            values = [seed[guidance][name] for seed in seeds]
            cells.append(f"{sum(values) / len(values):.2f} [{min(values):.2f}, {max(values):.2f}]")
        print(f"| {setting} | " + " | ".join(cells) + " |")


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", choices=GRIDS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--train-steps", type=int, help="instead of the recipe's")
    parser.add_argument("--settings", nargs="*", default=[])
    parser.add_argument("--guidance", type=float, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=10, help="of sampling")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--results", type=Path)
    o = parser.parse_args()
    recipe, grid = GRIDS[o.grid]
    out, settings, seeds = o.out / o.grid, o.settings or list(grid), range(o.first_seed, o.first_seed + o.seeds)
    usual = starting_spec(recipe).steps
    steps = o.train_steps or usual
    runs = {s: [run_of(out, s, seed, steps if steps != usual else None) for seed in seeds] for s in settings}
    for place, seed in enumerate(seeds):
        for setting in settings:
            run = runs[setting][place]
            trained = taildiff.train(recipe, out=run, seed=seed, steps=steps, changes=grid[setting])
            print(f"{run}: step {trained.steps[-1]}, {trained.metrics[-1]['seconds']:.0f} s", flush=True)
    if o.train_only:
        return
    measured = {s: [numbers(run, o.guidance, o.steps) for run in runs[s]] for s in settings}
    for guidance in o.guidance:
        show(f"{guidance:g}", measured)
    if o.results:
        o.results.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
