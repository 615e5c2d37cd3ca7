"""Time to quality: the seconds of training until generated digits reach three thresholds, with one lever at a time.

    python benchmarks/time_to_quality.py --out runs/quality          # all levers of mnist5k-ccua, three seeds
    python benchmarks/time_to_quality.py --out runs/quality --levers lr-2e-3 batch-32 --seeds 0 1 2 3 4
    python benchmarks/time_to_quality.py --out runs/quality --lever narrow "model.channels=[8, 16, 32]"    # your own
    python benchmarks/time_to_quality.py --out runs/quality --table  # the results so far
    python benchmarks/time_to_quality.py --out runs/quality-sit --recipe mnist5k-sit-ccua --levers muon \
        --first 500 --every 500 --most 5000

For the recipe (`base`) and each lever, one run per seed trains with a constant learning rate. From --first steps on,
it stops every --every steps, and its averaged weights draw images with the seed of the training. It ends when the
Fréchet distance over all classes and recall and accuracy of the tail reach their thresholds at the guidance with the
lowest Fréchet distance, or at --most steps. Seconds are those of the training steps (metrics.jsonl): saving, sampling
and evaluation do not count. Levers take turns, seed by seed, so that a drift of the machine's speed affects all.

Each evaluation is appended to OUT/quality.jsonl, and the same command resumes; several processes may share OUT if
each has its own --seeds. A lever deserves to be kept only if all seeds agree. A weight w(s) of the denoising loss is
no lever of its own: drawing noise levels with a density proportional to w has the same expectation.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

import taildiff
from taildiff.api.training import starting_spec, with_changes
from taildiff.errors import NonFiniteError
from taildiff.evaluation.table import Group
from taildiff.run.layout import RunDir, seconds_at
from taildiff.spec import MetricName, RunSpec
from taildiff.training.environment import machine

ANY: Mapping[str, Mapping[str, Any]] = {
    "logit-normal": {"path.times": "logit-normal"},
    "lr-5e-4": {"optimizer.lr": 5e-4},
    "lr-2e-3": {"optimizer.lr": 2e-3},
    "beta2-0.99": {"optimizer.betas": (0.9, 0.99)},
    "warmup-0": {"optimizer.warmup": 0},
    "warmup-200": {"optimizer.warmup": 200},
    "batch-32": {"batch_size": 32},
    "batch-128": {"batch_size": 128},
    "ema-0.97": {"ema.decay": 0.97},
    "ema-0.995": {"ema.decay": 0.995},
}
LEVERS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "unet": {"default-start": {"model.zero_init": False}, "groups-of-4": {"model.group_channels": 4}, **ANY},
    "sit": {"muon": {"optimizer.name": "muon"}, **ANY},
}
"""By kind of network, changes of the recipe."""
QUICK = {"batch_size": 8, "optimizer.warmup": 0}
NUMBERS: tuple[tuple[MetricName, Group], ...] = (("frechet", "all"), ("recall", "tail"), ("accuracy", "tail"))
DIVERGED = {"none": [math.inf, 0.0, 0.0]}
Found = dict[str, Any]
"""A line of quality.jsonl: lever, seed, step, seconds, and by guidance the three numbers."""


def levers_of(options: argparse.Namespace, spec: RunSpec) -> dict[str, dict[str, Any]]:
    """The base and the chosen levers, with their changes; `SystemExit` for an unknown name."""
    known = {name: dict(changes) for name, changes in LEVERS[spec.model.kind].items()}
    own = {name: dict(map(_change, changes)) for name, *changes in options.lever}
    chosen = options.levers if options.levers is not None else [] if own else list(known)
    if unknown := [name for name in chosen if name not in known]:
        raise SystemExit(f"unknown lever {unknown[0]} for this network; there are {', '.join(known)}")
    return {"base": {}} | {name: known[name] for name in chosen} | own


def _change(text: str) -> tuple[str, Any]:
    field, equals, value = text.partition("=")
    if not equals:
        raise SystemExit(f"--lever: write FIELD=VALUE instead of {text}")
    try:
        return field, json.loads(value)
    except ValueError:
        return field, value


class Record:
    """quality.jsonl; its first line says what all numbers have in common."""

    def __init__(self, path: Path, common: Mapping[str, Any]) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            self._append(common)
        was, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if differing := [name for name in common if was.get(name) != json.loads(json.dumps(common[name]))]:
            name = differing[0]
            raise SystemExit(f"{path} has {name} {was.get(name)}, not {common[name]}: give another --out")
        self.lines: list[Found] = [line for line in lines if "lever" in line]

    def add(self, found: Found) -> None:
        """Append one evaluation."""
        self._append(found)
        self.lines.append(found)

    def _append(self, values: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def of(self, lever: str, seed: int) -> list[Found]:
        """The evaluations of one run by step."""
        own = {line["step"]: line for line in self.lines if (line["lever"], line["seed"]) == (lever, seed)}
        return [own[step] for step in sorted(own)]


def best_of(found: Found) -> list[float]:
    """`NUMBERS` at the guidance with the lowest Fréchet distance, which comes first."""
    return min(found["at"].values())


def holds(found: Found, options: argparse.Namespace) -> bool:
    """Whether the thresholds are reached at the guidance with the lowest Fréchet distance."""
    frechet, recall, accuracy = best_of(found)
    return frechet <= options.frechet and recall >= options.recall and accuracy >= options.accuracy


def reached(record: Record, lever: str, seed: int, options: argparse.Namespace) -> Found | None:
    """The first evaluation of a run at which the thresholds hold."""
    return next((found for found in record.of(lever, seed) if holds(found, options)), None)


def ended(record: Record, lever: str, seed: int, options: argparse.Namespace) -> bool:
    """Whether a run reached the thresholds or gave up."""
    steps = [found["step"] for found in record.of(lever, seed)]
    return bool(steps) and (
        max(steps) + options.every > options.most or reached(record, lever, seed, options) is not None
    )


def train_and_evaluate(
    options: argparse.Namespace, record: Record, lever: str, changes: Mapping[str, Any], seed: int
) -> None:
    """Continue one run until it ends."""
    run = RunDir(options.out / lever / f"seed{seed}")
    fixed = {"optimizer.schedule": "constant", "every.save": 0, "every.keep": 1}
    last = max((found["step"] for found in record.of(lever, seed)), default=0)
    for step in range(options.first, options.most + 1, options.every):
        if step <= last or ended(record, lever, seed, options):
            continue
        try:
            taildiff.train(
                options.recipe, out=run.root, seed=seed, steps=options.most, stop_at=step, changes={**changes, **fixed}
            )
        except NonFiniteError as error:
            print(f"{lever}, seed {seed} diverged and counts as not reached: {error}", flush=True)
            record.add({"lever": lever, "seed": seed, "step": options.most, "seconds": math.inf, "at": DIVERGED})
            return
        at = numbers(run, step, seed, options)
        found = {"lever": lever, "seed": seed, "step": step, "seconds": seconds_at(run.metrics, step), "at": at}
        record.add(found)
        best = " ".join(f"{value:.3f}" for value in best_of(found))
        print(f"{lever}, seed {seed}, step {step}, {found['seconds']:.0f} s: {best}", flush=True)


def numbers(run: RunDir, step: int, seed: int, options: argparse.Namespace) -> dict[str, list[float | None]]:
    """By guidance, `NUMBERS` of the weights of a step."""
    found = taildiff.evaluate(
        run.root, step=step, guidance=options.guidance, per_class=options.per_class, sampler=options.sampler,
        steps=options.sampling_steps, seed=seed, metrics=[metric for metric, _ in NUMBERS], intervals="none",
    ).table  # fmt: skip
    return {f"{g:g}": [found.value(metric, group, g) for metric, group in NUMBERS] for g in options.guidance}


def table(record: Record, levers: Sequence[str], options: argparse.Namespace) -> str:
    """Markdown: medians over the seeds whose runs have ended, and the differences to the base by seed."""
    head = ["lever", "reached", "seconds, median", "steps, median", "ms a step", "seconds less the base's, by seed", ""]
    lines = [head, ["---", "---", "--:", "--:", "--:", "---", "---"]]
    ends = {
        lever: {
            seed: reached(record, lever, seed, options) for seed in options.seeds if ended(record, lever, seed, options)
        }
        for lever in levers
    }
    for lever, own in ends.items():
        if not own:
            continue
        steps = [end["step"] if end else math.inf for end in own.values()]
        cost = median(1000 * line["seconds"] / line["step"] for seed in own for line in record.of(lever, seed)[-1:])
        shared = [seed for seed in own if seed in ends["base"]]
        pairs = [] if lever == "base" else [_seconds(own[seed]) - _seconds(ends["base"][seed]) for seed in shared]
        lines.append(
            [
                *(lever, f"{sum(end is not None for end in own.values())} of {len(own)}"),
                *(_shown(median(map(_seconds, own.values()))), _shown(median(steps)), f"{cost:.0f}"),
                *(", ".join(map(_signed, pairs)), _agreement(pairs)),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _seconds(end: Found | None) -> float:
    return end["seconds"] if end else math.inf


def _shown(value: float) -> str:
    return f"{value:.0f}" if value < math.inf else "not reached"


def _signed(difference: float) -> str:
    if math.isnan(difference):
        return "neither reached"
    return f"{difference:+.0f}" if math.isfinite(difference) else f"only {'the base' if difference > 0 else 'it'}"


def _agreement(differences: Sequence[float]) -> str:
    if all(map(math.isnan, differences)):
        return ""
    if all(value < 0 for value in differences):
        return "faster with every seed"
    return "slower with every seed" if all(value > 0 for value in differences) else "seeds disagree"


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="mnist5k-ccua")
    parser.add_argument("--levers", nargs="*", help="default: all of the recipe's network, unless --lever is given")
    parser.add_argument("--lever", nargs="+", action="append", default=[], metavar=("NAME", "FIELD=VALUE"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--first", type=int, default=200, help="steps before the first evaluation")
    parser.add_argument("--every", type=int, default=50, help="steps between evaluations")
    parser.add_argument("--most", type=int, default=1600, help="steps after which a run gives up")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1, 2])
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--sampler", default="dpm2m")
    parser.add_argument("--sampling-steps", type=int, default=10)
    parser.add_argument("--frechet", type=float, default=1.27, help="over all classes, at most")
    parser.add_argument("--recall", type=float, default=0.55, help="of the tail, at least")
    parser.add_argument("--accuracy", type=float, default=0.93, help="of the tail, at least")
    parser.add_argument("--table", action="store_true", help="print the results so far and train nothing")
    parser.add_argument("--quick", action="store_true", help="a smoke test: few steps and images, one seed, two levers")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.first, options.every, options.most = [0], 4, 4, 8
        options.guidance, options.per_class, options.sampling_steps = [1.0, 2.0], 4, 2
    return options


def main() -> None:
    """Train, evaluate, print."""
    options = parsed()
    spec = starting_spec(options.recipe)
    levers = levers_of(options, spec)
    if options.quick:
        levers = {name: QUICK | changes for name, changes in list(levers.items())[:3]}
    for changes in levers.values():
        with_changes(spec, changes)
    hardware = machine(torch.device("cpu"))["hardware"]
    names = ("recipe", "guidance", "per_class", "sampler", "sampling_steps")
    common = {name: getattr(options, name) for name in names}
    record = Record(options.out / "quality.jsonl", {**common, "cpu": hardware["cpu"], "threads": hardware["threads"]})
    if not options.table:
        for seed in options.seeds:
            for lever, changes in levers.items():
                train_and_evaluate(options, record, lever, changes, seed)
    print(
        f"\n{options.recipe}: training until Fréchet distance (all) <= {options.frechet:g}, recall (tail) >= "
        f"{options.recall:g}, accuracy (tail) >= {options.accuracy:g}\n{table(record, list(levers), options)}"
    )


if __name__ == "__main__":
    main()
