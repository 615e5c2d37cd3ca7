"""Write docs/methods/cost.md from the measured step times and the rows that each objective needs.

    python benchmarks/step_cost.py --out benchmarks/results/step_cost.json
    python benchmarks/cost_page.py

Every step_cost*.json there becomes a column. Rows are counted on the built objectives. A test compares the page with
this script's output.
"""

import json
from pathlib import Path

from step_cost import METHODS

from taildiff import build
from taildiff.objectives.views import rows_of
from taildiff.recipes import recipe
from taildiff.spec import DataFacts, ObjectiveSpec

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "methods" / "cost.md"
BATCH = 64
HEAD = """\
# Cost of a training step

Written by `python benchmarks/cost_page.py`; do not edit it by hand.

*Full rows* go through the whole network, *tap rows* only up to the layer whose features are needed, forward and
backward; both are counted at a batch of {batch}. Time covers forward, backward and update, as a multiple of plain
denoising with the same network, batch and draws: the median over rounds in which the methods take turns. This is the
cost of training; sampling costs the same for all methods.

"""


def rows(spec: ObjectiveSpec) -> tuple[int, int]:
    """Rows through the whole network and rows up to the tap, for a batch of `BATCH`."""
    run = recipe("mnist5k-plain")
    facts = DataFacts(height=28, width=28, channels=1, class_names=tuple("0123456789"), counts=(10,) * 10)
    objective = build.objective(spec, build.process(run.path), facts.counts, build.denoiser(run.model, facts))
    sizes = [rows_of(view, BATCH) for view in objective.views]
    return sum(sizes[: objective.predicted]), sum(sizes[objective.predicted :])


def page(results: Path) -> str:
    """The page's text; `results` is the folder of measurements, which may be empty."""
    measured = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("step_cost*.json"))]
    titles = [f"{m['recipe']}, batch {m['batch']}, {m['hardware']}" for m in measured] or ["time"]
    lines = ["| method | full rows | tap rows |" + "".join(f" {title} |" for title in titles)]
    lines += ["|---|--:|--:|" + "--:|" * len(titles)]
    for name, spec in METHODS.items():
        times = [f"{m['ratio'][name]:.2f}" if name in m["ratio"] else "–" for m in measured] or ["not measured yet"]
        full, tap = rows(spec)
        lines.append(f"| {name} | {full} | {tap} |" + "".join(f" {time} |" for time in times))
    notes = [
        f"- {title}: plain takes {m['plain_ms']:g} ms per step; {m['rounds']} rounds; "
        f"torch {m['torch']}, {m['machine']}."
        for title, m in zip(titles, measured, strict=False)
    ]
    return HEAD.format(batch=BATCH) + "\n".join([*lines, "", *notes]).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(ROOT / "benchmarks" / "results"), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
