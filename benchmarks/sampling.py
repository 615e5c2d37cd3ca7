"""Quality of each sampler against its network evaluations per image; the default sampler and steps are chosen by it.

    python benchmarks/sampling.py runs/demo/ccua --out benchmarks/results/sampling-digits.json
    python benchmarks/sampling.py --data cifar10-jpeg.zip --work work --out benchmarks/results/sampling-photos.json

With a run, its weights are sampled; its evaluations go to a copy in `--work`, since the newest one of a run decides at
which guidance `sample` and `fill` draw. With `--data`, a folder of photographs by class or a zip of one, these are
prepared at `--size` pixels and a run is trained on them (auto-ccua, `--train-steps`); the same command resumes. Every
cell, `SAMPLER:STEPS[:SPACING]`, samples the same classes from the same noise (`--per-class`, `--seeds`),
and is evaluated with `domain` features. Rows are sorted by evaluations, which are counted per image at guidance 1;
guidance doubles them. `--guidance` is that of all cells. CPU seconds are those of sampling alone.

The verdict compares each cell of at most 20 evaluations with DDIM at 100: at least as good means that its Fréchet
distance is not above. With several seeds each value is a mean, and the deviation of the difference is printed too.
"""

import argparse
import json
import shutil
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import taildiff
from taildiff import build
from taildiff.api.evaluation import Evaluation
from taildiff.diffusion.samplers.base import trajectory
from taildiff.run.layout import RunDir
from taildiff.spec import PathSpec, SamplingSpec

CELLS = (
    "heun:5 dpm2m:10 unipc:10 dpm2m:20 unipc:20 dpm2m:20:power dpm2m-sde:20 flow-sde:20 ddim:20 heun:10 ancestral:20 "
    "heun:20 dpm2m:40 ddim:100"
)
BASELINE, LIMIT = "ddim:100", 20
METRICS = "frechet", "precision", "recall", "accuracy"


@dataclass(frozen=True)
class Cell:
    """One sampler at a number of steps; values by seed."""

    cell: str
    spacing: str
    evaluations: int
    """Of the network per image."""
    cpu_seconds: float
    frechet: list[float]
    precision: list[float]
    recall: list[float]
    accuracy: list[float]


def sampling(cell: str) -> SamplingSpec:
    """The spec of `SAMPLER:STEPS[:SPACING]`."""
    sampler, steps, *spacing = cell.split(":")
    return SamplingSpec.model_validate({"sampler": sampler, "steps": steps, "spacing": [*spacing, "auto"][0]})


def evaluations(spec: SamplingSpec, path: PathSpec) -> int:
    """Network evaluations per image at guidance 1, counted."""
    process, calls = build.process(path), []

    def predict(x: Tensor, s: float) -> Tensor:
        calls.append(s)
        return 0 * x

    *_, _last = trajectory(
        build.sampler(spec, process), build.times(spec, process), predict, lambda: torch.zeros(1, 1, 1, 1)
    )
    return len(calls)


def trained(options: argparse.Namespace) -> Path:
    """The run to sample; prepared and trained on first use."""
    work, source = options.work, options.data
    store, run = work / f"store{options.size}", work / "run"
    if options.run:
        if not run.exists():
            shutil.copytree(options.run, run, ignore=shutil.ignore_patterns("evals"))
        if (run / "run.json").read_bytes() != (options.run / "run.json").read_bytes():
            raise SystemExit(f"{run} is a copy of another run; use another --work")
        return run
    if zipfile.is_zipfile(source) and not (work / "photos").exists():
        with zipfile.ZipFile(source) as archive:
            archive.extractall(work / "photos.partial")
        (work / "photos.partial").rename(work / "photos")
    if not store.exists():
        photos = work / "photos" if zipfile.is_zipfile(source) else source
        taildiff.prepare("folder", photos, out=store, size=options.size)
    taildiff.train("auto-ccua", out=run, data=store, steps=options.train_steps, progress=True)
    return run


def measured(run: Path, cell: str, options: argparse.Namespace) -> Cell:
    """Sample and evaluate one cell with each seed."""
    spec, values, seconds = sampling(cell), {name: [] for name in METRICS}, 0.0
    for seed in options.seeds:
        started = time.process_time()
        done = taildiff.evaluate(
            run,
            sampler=spec.sampler,
            steps=spec.steps,
            spacing=spec.spacing,
            seed=seed,
            guidance=options.guidance,
            per_class=options.per_class,
            metrics=METRICS,
        )
        seconds += time.process_time() - started
        for name in METRICS:
            values[name].append(overall(done, name))
    return Cell(cell, spec.spacing_title, evaluations(spec, RunDir(run).info().spec.path), round(seconds, 1), **values)


def overall(evaluation: Evaluation, metric: str) -> float:
    """The value over all classes."""
    [row] = [row for row in evaluation.rows if (row.metric, row.group) == (metric, "all")]
    assert row.value is not None
    return row.value


def verdict(cells: list[Cell]) -> list[str]:
    """Each cell of few evaluations beside DDIM at 100, seed by seed."""
    [base] = [cell for cell in cells if cell.cell == BASELINE] or [None]
    if base is None:
        return []
    lines: list[str] = []
    for cell in sorted(cells, key=lambda cell: float(np.mean(cell.frechet))):
        if cell.evaluations <= LIMIT:
            gap = np.subtract(cell.frechet, base.frechet)
            spread = f" ± {gap.std(ddof=1) / len(gap) ** 0.5:.3f}" if len(gap) > 1 else ""
            what = "at least as good as" if gap.mean() <= 0 else "worse than"
            lines.append(f"{cell.cell}: {what} {BASELINE}, Fréchet distance {gap.mean():+.3f}{spread}")
    return lines


def shown(cells: list[Cell]) -> Table:
    """Rows by evaluations."""
    table = Table("sampler", "spacing", "evaluations", *METRICS, "CPU s")
    for cell in sorted(cells, key=lambda cell: (cell.evaluations, cell.cell)):
        means = [f"{np.mean(getattr(cell, name)):.3f}" for name in METRICS]
        table.add_row(cell.cell, cell.spacing, str(cell.evaluations), *means, f"{cell.cpu_seconds:.0f}")
    return table


def main() -> None:
    """Measure all cells; print the table and the verdict, and write the JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("run", type=Path, nargs="?", help="a finished run")
    source.add_argument("--data", type=Path, help="photographs by class: a folder, or a zip of one")
    parser.add_argument(
        "--work", type=Path, default=Path("sampling-work"), help="the copied run, or store and run of --data, go here"
    )
    parser.add_argument("--size", type=int, default=16, help="of --data, in pixels")
    parser.add_argument("--train-steps", type=int, default=2000, help="of --data")
    parser.add_argument("--cells", nargs="+", default=CELLS.split(), metavar="SAMPLER:STEPS[:SPACING]")
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    run, cells = trained(options), list[Cell]()
    for cell in options.cells:
        cells.append(measured(run, cell, options))
        print(f"{cell}: {cells[-1]}", flush=True)
        settings = {name: getattr(options, name) for name in ("guidance", "per_class", "seeds")}
        result = settings | {"cells": [asdict(each) for each in cells], "verdict": verdict(cells)}
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    console = Console()
    console.print(shown(cells))
    for line in verdict(cells):
        console.print(line)


if __name__ == "__main__":
    main()
