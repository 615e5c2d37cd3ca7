"""`taildiff demo`: two models of the embedded long-tailed digits, evaluated by class and group, and one report."""

import dataclasses
import json
import time
from pathlib import Path

from taildiff.api.copies_of_runs import copies_of_runs
from taildiff.api.evaluation import evaluate
from taildiff.api.output import PAGE, output_file
from taildiff.api.progress import reporting
from taildiff.api.training import Interrupted, train
from taildiff.cli.common import (
    DeviceOption,
    command_line,
    console,
    next_steps,
    print_line,
    print_stopped,
    wants_progress,
)
from taildiff.cli.parsing import parse_options
from taildiff.cli.report import print_summary
from taildiff.data.locate import embedded_digits
from taildiff.data.longtail import Split
from taildiff.data.store import Store, is_store
from taildiff.io.paths import output_folder
from taildiff.log import prefixed
from taildiff.recipes import recipe
from taildiff.reporting.load import load
from taildiff.reporting.report import write_page
from taildiff.reporting.settings import settings_of
from taildiff.reporting.summary import summarise
from taildiff.run.layout import RunDir
from taildiff.spec import EvalSpec, RunSpec, SamplingSpec

RECIPES = ("mnist5k-plain", "mnist5k-ccua")
EVALUATION = EvalSpec(guidance=(1.0, 2.0, 3.0), per_class=100, sampling=SamplingSpec(sampler="heun", steps=10))


@dataclasses.dataclass(frozen=True)
class Options:
    """Train two models on long-tailed digits, evaluate them by class and by group, and write a report."""

    quick: bool = False
    """The same steps in under 90 seconds; too short for legible digits."""
    out: Path | None = None
    """The output folder. [default: runs/demo, or runs/demo-quick]"""
    device: DeviceOption = None
    dry_run: bool = False
    """Check all that the demo would refuse and print the resolved specs as JSON; do nothing."""


def main(args: list[str]) -> int:
    """`taildiff demo`."""
    options = parse_options(Options, args, "taildiff demo")
    out = output_folder(options.out or ("runs/demo-quick" if options.quick else "runs/demo"))
    plans = {RunDir(out / name.removeprefix("mnist5k-")): planned(name, options.quick) for name in RECIPES}
    if options.dry_run:
        _check(plans, out, options.device)
        runs = {str(run.root): spec.model_dump(mode="json") for run, spec in plans.items()}
        print(json.dumps({"runs": runs, "evaluation": evaluation(options.quick).model_dump(mode="json")}, indent=1))
        return 0
    measured = evaluation(options.quick)
    page = output_file(out / "report.html", PAGE)
    store = embedded_digits(out / "data")
    introduce(store)
    started, command = time.monotonic(), ["taildiff", "demo", *args]
    with reporting(wants_progress()) as progress:
        for run, spec in plans.items():
            try:
                train(spec, out=run.root, data=store, device=options.device, progress=progress, command=command)
            except Interrupted as interrupted:
                print_stopped(command)
                return 128 + (interrupted.outcome.signal or 0)
            stages = prefixed(progress, run.root.name)
            evaluate(run.root, data=store.root, spec=measured, device=options.device, progress=stages)
    conclude(list(plans), page, time.monotonic() - started)
    return 0


def _check(plans: dict[RunDir, RunSpec], out: Path, device: str | None) -> None:
    """Raise what the demo would refuse; writes nothing but the cached digits."""
    output_file(out / "report.html", PAGE)
    own = out / "data"
    store = embedded_digits(own) if is_store(own / "mnist5k") else embedded_digits()
    for run, spec in plans.items():
        train(spec, out=run.root, data=store, device=device, dry_run=True)


def planned(name: str, quick: bool) -> RunSpec:
    """The recipe, with few steps in a quick demo."""
    spec = recipe(name)
    return spec.model_copy(update={"steps": 24}) if quick else spec


def evaluation(quick: bool) -> EvalSpec:
    """The evaluation, of few images in a quick demo."""
    if not quick:
        return EVALUATION
    return EVALUATION.model_copy(update={"per_class": 8, "sampling": SamplingSpec(sampler="euler", steps=5)})


def introduce(store: Store) -> None:
    """Print which images the models are trained on."""
    counts = Split.cut(store, recipe(RECIPES[0]).data).counts
    console.print(
        f"[bold]long-tailed digits[/]: {sum(counts)} of {len(store.train_index)} training images, "
        f"{', '.join(map(str, counts))} of the classes {', '.join(store.meta.class_names)}\n"
        "two models that differ only in the loss: class resampling alone (plain), and CCUA\n",
        highlight=False,
    )


def conclude(runs: list[RunDir], page: Path, seconds: float) -> None:
    """Write the report, print its summary and the next commands."""
    comparison = load(runs)
    title = "Long-tailed digits: class resampling alone, and CCUA"
    write_page(comparison, page, title, copies=copies_of_runs(settings_of(comparison.runs)))
    print_summary(summarise(comparison))
    print_line(f"\nreport: {page}   ({seconds:.0f} s)")
    next_steps(
        command_line("sample", runs[-1].root, "--classes", 9, "--per-class", 16, "--guidance", 2, "--out", "nines"),
        "taildiff data prepare folder ./photos --out data/photos --size 32 --hold-out 0.2",
        "taildiff train auto-ccua --data data/photos --out runs/first",
    )
