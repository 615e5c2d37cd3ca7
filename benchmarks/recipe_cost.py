"""What each recipe costs on any machine: parameters, images seen and floating-point operations of the network.

    python benchmarks/recipe_cost.py --out benchmarks/results/recipe_cost.json

prints the table of docs/recipes.md; a test compares the page with it. Networks are built without memory (torch's meta
device) and one forward pass is counted by torch.utils.flop_counter: matrix products and convolutions, a multiplication
and an addition each. A step is three forward passes (the backward pass counts twice) of all rows that the objective
sends through the network; losses, norms, optimiser and EMA are not counted.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from taildiff import build
from taildiff.models.denoiser import Denoiser
from taildiff.objectives.views import rows_of
from taildiff.recipes import FIXED, recipe, with_method
from taildiff.spec import CodecFacts, DataFacts, DataSpec, ModelSpec, RunSpec, UNetSpec

LATENTS = CodecFacts(source="", kind="AutoencoderKL", hash="", channels=4, height=32, width=32, scaling=0.18215)
SIZES = {
    "mnist5k": (28, 1, 10),
    "cifar10lt": (32, 3, 10),
    "cifar100lt": (32, 3, 100),
    "tinyimagenetlt": (64, 3, 200),
    "placeslt": (64, 3, 365),
    "imagenetlt64": (64, 3, 1000),
    "imagenetlt256": (256, 3, 1000),
}
"""Side in pixels, channels and classes of a recipe's data, by the first part of its name."""
HEAD = """\
| recipe | works on | tail | resampled | network | parameters | batch | steps | images seen | GFLOP per image | \
PFLOP, plain | PFLOP, this method |
|---|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|"""


@dataclass(frozen=True)
class Cost:
    """The cost of one recipe."""

    recipe: str
    parameters: int
    forward_flop: int
    """Per image."""
    rows: float
    """Rows through the network per image of the batch."""
    images: int
    plain_pflop: float
    """The whole run without any term."""
    pflop: float
    """The whole run."""


def facts_of(name: str) -> DataFacts:
    """Facts of the recipe's dataset; the counts are arbitrary."""
    size, channels, classes = SIZES[name.split("-")[0]]
    names = tuple(str(k) for k in range(classes))
    codec = LATENTS if size == 256 else None
    return DataFacts(height=size, width=size, channels=channels, class_names=names, counts=(9,) * classes, codec=codec)


@cache
def network_of(model: ModelSpec, facts: DataFacts) -> Denoiser:
    """The network on the meta device."""
    with torch.device("meta"):
        return build.denoiser(model, facts).eval()


@cache
def forward_flop(model: ModelSpec, facts: DataFacts) -> int:
    """Operations of one image's forward pass."""
    x, s, y = (torch.empty(n, device="meta") for n in ((1, *facts.shape), (1,), (1,)))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network_of(model, facts)(x, s, y.long())
    return counter.get_total_flops()


def rows(spec: RunSpec, network: Denoiser) -> float:
    """Rows per step divided by the batch size; no recipe has rows that stop at a tap."""
    objective = build.objective(spec.objective, build.process(spec.path), (9,) * network.classes, network)
    assert objective.predicted == len(objective.views), "rows that stop early cost less"
    return sum(rows_of(view, spec.batch_size) for view in objective.views) / spec.batch_size


def cost(name: str) -> Cost:
    """Count everything about one recipe."""
    spec, facts = recipe(name), facts_of(name)
    network = network_of(spec.model, facts)
    flop = forward_flop(spec.model, facts)
    images = spec.steps * spec.batch_size
    once = 3 * flop * images / 1e15
    plain, own = (rows(s, network) for s in (with_method(spec, "plain"), spec))
    return Cost(name, build.parameters(network), flop, own, images, round(plain * once, 2), round(own * once, 2))


def tail_of(data: DataSpec) -> str:
    """A short description of the cut."""
    floor = f", ≥ {data.min_per_class} per class" if data.min_per_class else ""
    return f"exp, ρ = {data.ratio:g}{floor}" if data.tail == "exp" else "of the list"


def row(c: Cost) -> str:
    """One line of the table."""
    spec, facts = recipe(c.recipe), facts_of(c.recipe)
    channels, height, width = facts.shape
    works_on = f"{'latents' if facts.codec else 'pixels'} {height}×{width}×{channels}"
    resampled = "no" if spec.data.resample is None else f"f = {spec.data.resample:g}"
    model = spec.model
    if isinstance(model, UNetSpec):
        network = f"U-Net {'/'.join(str(n) for n in model.channels)}"
    else:
        network = f"SiT {model.depth}/{model.width}/{model.heads}, patch {model.patch}"
    cells = [
        f"`{c.recipe}`", works_on, tail_of(spec.data), resampled, network, f"{c.parameters / 1e6:.2f} M",
        str(spec.batch_size), f"{spec.steps:,}", f"{c.images / 1e6:.1f} M", f"{c.forward_flop / 1e9:.2f}",
        _pflop(c.plain_pflop), _pflop(c.pflop),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _pflop(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def table(costs: list[Cost]) -> str:
    """As Markdown."""
    return "\n".join([HEAD, *(row(c) for c in costs)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    costs = [cost(name) for name in FIXED]
    print(table(costs))
    if options.out:
        record = {"torch": torch.__version__, "recipes": [asdict(c) for c in costs]}
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
