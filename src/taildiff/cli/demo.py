"""taildiff demo: the main job on the embedded digits; two models, judged by class and by group, one report."""

import dataclasses
import sys
import time
from pathlib import Path

from taildiff.cli.common import command_line, console, next_steps, parse_options, progress_bar, say
from taildiff.cli.report import claims, load, verdict_rows, verdict_table
from taildiff.cli.stores import embedded_digits
from taildiff.data.longtail import Split
from taildiff.data.store import Store
from taildiff.progress import Progress
from taildiff.recipes import recipe
from taildiff.runs import RunDir
from taildiff.spec import EvalSpec, RunSpec, SamplingSpec

RECIPES = ("mnist5k-plain", "mnist5k-ccua")
EVALUATION = EvalSpec(guidance=(1.0, 2.0, 3.0), per_class=100, sampling=SamplingSpec(sampler="heun", steps=10))


@dataclasses.dataclass(frozen=True)
class Options:
    """Train two models on long-tailed digits, judge them by class and by group, and write a report."""

    quick: bool = False
    """The same path in under 90 seconds; too short for legible digits."""
    out: Path | None = None
    """Where everything goes [default: runs/demo, or runs/demo-quick]."""


def main(args: list[str]) -> int:
    """`taildiff demo`."""
    options = parse_options(Options, args, "taildiff demo")
    out = options.out or Path("runs/demo-quick" if options.quick else "runs/demo")
    store = embedded_digits(out / "data")
    introduce(store)
    started = time.monotonic()
    runs: list[RunDir] = []
    with progress_bar() as progress:
        for name in RECIPES:
            run, spec = RunDir(out / name.removeprefix("mnist5k-")), planned(name, options.quick)
            stopped = train(run, spec, store, progress)
            if stopped:
                console.print(f"[yellow]stopped[/], everything is saved; go on with: {command_line('demo', *args)}")
                return stopped
            judge(run, store, options.quick, prefixed(progress, run.root.name))
            runs.append(run)
    conclude(runs, out, time.monotonic() - started)
    return 0


def planned(name: str, quick: bool) -> RunSpec:
    """The recipe; in a quick demo with few steps."""
    spec = recipe(name)
    return spec.model_copy(update={"steps": 24}) if quick else spec


def introduce(store: Store) -> None:
    """What is about to be trained on."""
    counts = Split.cut(store, recipe(RECIPES[0]).data).counts
    console.print(
        f"[bold]long-tailed digits[/]: {sum(counts)} of {len(store.train_index)} training images, "
        f"{', '.join(map(str, counts))} of the classes {', '.join(store.meta.class_names)}\n"
        "two models, everything equal but the loss: class resampling alone (plain), and CCUA\n",
        highlight=False,
    )


def train(run: RunDir, spec: RunSpec, store: Store, progress: Progress) -> int:
    """Train to the end, or go on; the exit code of a signal, else 0."""
    from taildiff.training.session import run_training

    outcome = run_training(run, spec, store, command=["taildiff", *sys.argv[1:]], progress=progress, say=say)
    return 128 + outcome.signal if outcome.signal else 0


def prefixed(progress: Progress, name: str) -> Progress:
    """Stages that tell which run they belong to."""
    return lambda stage, done, total: progress(f"{name}: {stage}", done, total)


def judge(run: RunDir, store: Store, quick: bool, progress: Progress) -> None:
    """Sample and evaluate; what is there already is kept."""
    from taildiff.evaluation.evaluate import evaluate
    from taildiff.evaluation.generate import best_device

    spec = EVALUATION
    if quick:
        spec = spec.model_copy(update={"per_class": 8, "sampling": SamplingSpec(sampler="euler", steps=5)})
    evaluate(run, store, spec, progress, best_device())


def conclude(runs: list[RunDir], out: Path, seconds: float) -> None:
    """Report, table and what to do next."""
    from taildiff.reporting.report import write_report

    report = write_report(runs, out / "report.html", title="Long-tailed digits: class resampling alone, and CCUA")
    rows = verdict_rows(load(runs))
    console.print(verdict_table(rows))
    for claim in claims(rows):
        console.print(f"• {claim}", markup=False, highlight=False)
    console.print(f"\nreport: {report}   ({seconds:.0f} s)", markup=False, highlight=False, soft_wrap=True)
    next_steps(
        command_line("sample", runs[-1].root, "--classes", 9, "--per-class", 16, "--guidance", 2, "--out", "nines"),
        "taildiff data prepare folder ./photos --out data/photos --size 32",
        "taildiff train auto-ccua --data data/photos --out runs/first",
    )
