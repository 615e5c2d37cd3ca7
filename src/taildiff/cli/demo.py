"""taildiff demo: the main job on the embedded digits; two models, judged by class and by group, one report."""

import dataclasses
import json
import time
from pathlib import Path

from rich.markup import escape

from taildiff.cli.common import command_line, console, next_steps, parse_options, progress_bar
from taildiff.cli.report import summary_table
from taildiff.data.locate import embedded_digits
from taildiff.data.longtail import Split
from taildiff.data.store import Store
from taildiff.log import Progress
from taildiff.recipes import recipe
from taildiff.reporting.findings import claims
from taildiff.reporting.load import load
from taildiff.reporting.report import write_page
from taildiff.reporting.summary import summarise
from taildiff.run.layout import RunDir
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
    dry_run: bool = False
    """Print the resolved specs as JSON and do nothing."""


def main(args: list[str]) -> int:
    """`taildiff demo`."""
    options = parse_options(Options, args, "taildiff demo")
    out = options.out or Path("runs/demo-quick" if options.quick else "runs/demo")
    plans = {RunDir(out / name.removeprefix("mnist5k-")): planned(name, options.quick) for name in RECIPES}
    if options.dry_run:
        runs = {str(run.root): spec.model_dump(mode="json") for run, spec in plans.items()}
        print(json.dumps({"runs": runs, "evaluation": judged(options.quick).model_dump(mode="json")}, indent=1))
        return 0
    store = embedded_digits(out / "data")
    introduce(store)
    started = time.monotonic()
    again = command_line("demo", *args)
    with progress_bar() as progress:
        for run, spec in plans.items():
            stopped = train(run, spec, store, ["taildiff", "demo", *args], progress)
            if stopped:
                console.print(f"[yellow]stopped[/], everything is saved; go on with: {escape(again)}", soft_wrap=True)
                return stopped
            judge(run, store, judged(options.quick), prefixed(progress, run.root.name))
    conclude(list(plans), out, time.monotonic() - started)
    return 0


def planned(name: str, quick: bool) -> RunSpec:
    """The recipe; in a quick demo with few steps."""
    spec = recipe(name)
    return spec.model_copy(update={"steps": 24}) if quick else spec


def judged(quick: bool) -> EvalSpec:
    """The evaluation; in a quick demo of few images."""
    if not quick:
        return EVALUATION
    return EVALUATION.model_copy(update={"per_class": 8, "sampling": SamplingSpec(sampler="euler", steps=5)})


def introduce(store: Store) -> None:
    """What is about to be trained on."""
    counts = Split.cut(store, recipe(RECIPES[0]).data).counts
    console.print(
        f"[bold]long-tailed digits[/]: {sum(counts)} of {len(store.train_index)} training images, "
        f"{', '.join(map(str, counts))} of the classes {', '.join(store.meta.class_names)}\n"
        "two models, everything equal but the loss: class resampling alone (plain), and CCUA\n",
        highlight=False,
    )


def train(run: RunDir, spec: RunSpec, store: Store, command: list[str], progress: Progress) -> int:
    """Train to the end, or go on; the exit code of a signal, else 0."""
    from taildiff.training.session import run_training

    outcome = run_training(run, spec, store, command=command, progress=progress)
    return 128 + outcome.signal if outcome.signal else 0


def prefixed(progress: Progress, name: str) -> Progress:
    """Stages that tell which run they belong to."""
    return lambda stage, done, total: progress(f"{name}: {stage}", done, total)


def judge(run: RunDir, store: Store, spec: EvalSpec, progress: Progress) -> None:
    """Sample and evaluate; what is there already is kept."""
    from taildiff.evaluation.evaluate import evaluate
    from taildiff.sampling.generate import best_device

    evaluate(run, store, spec, progress, best_device())


def conclude(runs: list[RunDir], out: Path, seconds: float) -> None:
    """Report, table and what to do next."""
    comparison = load(runs)
    title = "Long-tailed digits: class resampling alone, and CCUA"
    report = write_page(comparison, out / "report.html", title)
    summary = summarise(comparison)
    console.print(summary_table(summary))
    for claim in claims(summary):
        console.print(f"• {claim}", markup=False, highlight=False)
    console.print(f"\nreport: {report}   ({seconds:.0f} s)", markup=False, highlight=False, soft_wrap=True)
    next_steps(
        command_line("sample", runs[-1].root, "--classes", 9, "--per-class", 16, "--guidance", 2, "--out", "nines"),
        "taildiff data prepare folder ./photos --out data/photos --size 32",
        "taildiff train auto-ccua --data data/photos --out runs/first",
    )
