"""Choices on the embedded digits, each over training seeds: how the U-Net starts, CCUA's weights, its null rows.

    python benchmarks/digits.py start   --out runs/digits     # plain; today's network and three others
    python benchmarks/digits.py weights --out runs/digits     # CCUA with alpha = gamma
    python benchmarks/digits.py price   --out runs/digits     # CCUA on fewer null rows, and plain; equal steps
    python benchmarks/digits.py price   --out runs/digits --equal time

trains every setting with every seed, 800 steps each, then evaluates each run, 100 images per class, and prints tables
of means over the seeds with the range of the seeds in brackets. Runs and evaluations that exist are not repeated, so
the same command resumes; --results also writes the numbers as JSON. Seeds are 0 to 2; with --first-seed 3, 3 to 5.

With --equal time each setting trains as long as the grid's first one takes for its 800 steps. Step times are measured
in turns at the start and kept in steps.json beside the runs, so that the next call takes the same steps.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import taildiff
from taildiff.api.training import data_of, starting_spec, with_changes
from taildiff.training.cost import in_turns

BEFORE = {"model.zero_init": False}
"""The start up to version 0.1.0: torch's default, and one channel per group at width 16."""
NULL_ROWS: Mapping[str, Mapping[str, Any]] = {
    "full": {},
    "plain": {"objective.ucl.weight": 0, "objective.al.weight": 0},
    "null rows 0.25": {"objective.null_fraction": 0.25},
    **{f"shared {f:g}": {"objective.shared_null": f} for f in (0.1, 0.15, 0.25)},
    **{
        f"shared {f:g} uniform": {"objective.shared_null": f, "objective.shared_uniform": 1.0}
        for f in (0.1, 0.15, 0.25)
    },
}
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
    "price": ("mnist5k-ccua", NULL_ROWS),
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


def equal_time(grid: str, steps: int, kept: Path, rounds: int = 12) -> dict[str, int]:
    """The steps that each setting of a grid makes in the time of the first one's `steps`, measured once and kept."""
    name, settings = GRIDS[grid]
    if not kept.exists():
        recipe = starting_spec(name)
        specs = {s: with_changes(recipe, changes) for s, changes in settings.items()}
        times, first = in_turns(specs, data_of(recipe, None, kept.parent), rounds), next(iter(settings))
        record = {
            "milliseconds": {s: round(1000 * statistics.median(t[s] for t in times), 1) for s in settings},
            "per step of the first": {s: statistics.median(t[first] / t[s] for t in times) for s in settings},
        }
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    record = json.loads(kept.read_text(encoding="utf-8"))
    return {s: round(steps * ratio) for s, ratio in record["per step of the first"].items()}


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


def compare_with_first(measured: Mapping[str, Sequence[Mapping[str, Values]]]) -> None:
    """Each setting at the guidance of its smallest mean distance, and whether its tail is near the first setting's."""

    def mean(setting: str, guidance: str, name: str) -> float:
        return statistics.fmean(seed[guidance][name] for seed in measured[setting])

    first = next(iter(measured))
    names, least = ("recall tail", "accuracy tail", "frechet tail"), {}
    for setting, seeds in measured.items():
        best = min(seeds[0], key=lambda g: mean(setting, g, "frechet all"))
        least[setting] = {"guidance": float(best)} | {name: mean(setting, best, name) for name in names}
    print(
        f"\nat the best guidance; near {first}: tail recall and accuracy at most .05 below, distance at most 10 % above"
    )
    print("| setting | guidance | " + " | ".join(names) + f" | near {first} |\n|---|" + "--:|" * 5)
    for setting, own in least.items():
        recall, accuracy, distance = (own[name] - least[first][name] for name in names)
        near = recall >= -0.05 and accuracy >= -0.05 and distance <= 0.1 * least[first]["frechet tail"]
        cells = [f"{own['guidance']:g}", *(f"{own[name]:.2f}" for name in names), "yes" if near else "no"]
        print(f"| {setting} | " + " | ".join(cells) + " |")


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", choices=GRIDS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--equal", choices=("steps", "time"), default="steps")
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
    first = o.train_steps or usual
    steps = equal_time(o.grid, first, out / "steps.json") if o.equal == "time" else dict.fromkeys(grid, first)
    runs = {s: [run_of(out, s, seed, steps[s] if steps[s] != usual else None) for seed in seeds] for s in settings}
    for place, seed in enumerate(seeds):
        for setting in settings:
            run = runs[setting][place]
            trained = taildiff.train(recipe, out=run, seed=seed, steps=steps[setting], changes=grid[setting])
            print(f"{run}: step {trained.steps[-1]}, {trained.metrics[-1]['seconds']:.0f} s", flush=True)
    if o.train_only:
        return
    measured = {s: [numbers(run, o.guidance, o.steps) for run in runs[s]] for s in settings}
    for guidance in o.guidance:
        show(f"{guidance:g}", measured)
    if o.grid == "price":
        compare_with_first(measured)
    if o.results:
        o.results.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
