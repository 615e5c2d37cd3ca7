"""How much of the data's spread each sampler keeps under each spacing of its noise levels, exactly.

    python benchmarks/spread.py [--steps 20] [--variances 0.3,0.1,0.03,0.01,0.003] [--markdown]

The data are N(0, variance) and the network is their exact denoiser, so 1 is right and anything else is the sampler's
own error; nothing is drawn. Small variances stand for what varies little: fine detail, or the images of a class that
are much alike. `*` marks the sampler's default spacing.
"""

import argparse
from typing import get_args

from rich.console import Console
from rich.table import Table

from taildiff.errors import InputError
from taildiff.spec import DDPMSpec, FlowSpec, SamplingSpec, SpacingName
from taildiff.testing import gaussian_spread

SAMPLERS = {
    "heun": {"sampler": "heun"},
    "dpm2m": {"sampler": "dpm2m"},
    "unipc": {"sampler": "unipc"},
    "dpm2m-sde": {"sampler": "dpm2m-sde"},
    "flow-sde": {"sampler": "flow-sde"},
    "ddim": {"sampler": "ddim"},
    "ancestral": {"sampler": "ancestral"},
    "ancestral fixedlarge": {"sampler": "ancestral", "variance": "fixedlarge"},
}
SPACINGS = [
    *({"spacing": name} for name in get_args(SpacingName) if name != "auto"),
    {"spacing": "power", "exponent": 3.0},
]


def rows(steps: int, variances: list[float]) -> list[list[str]]:
    """Process, sampler, spacing and the share at each variance; combinations that do not exist are left out."""
    found = []
    for process in (DDPMSpec(), FlowSpec()):
        for title, sampler in SAMPLERS.items():
            for spacing in SPACINGS:
                try:
                    sampling = SamplingSpec.model_validate(sampler | spacing | {"steps": steps})
                    shares = [f"{gaussian_spread(sampling, process, variance):.3f}" for variance in variances]
                except (InputError, ValueError):  # grid on a flow, or with fixedlarge
                    continue
                default = "*" if sampling.spacing_title == SamplingSpec.model_validate(sampler).spacing_title else ""
                found.append([process.kind, title, sampling.spacing_title + default, *shares])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--variances", default="0.3,0.1,0.03,0.01,0.003")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    variances = [float(value) for value in options.variances.split(",")]
    header = ["process", "sampler", "spacing", *(f"{variance:g}" for variance in variances)]
    lines = rows(options.steps, variances)
    if options.markdown:
        for line in (header, ["---"] * len(header), *lines):
            print(f"| {' | '.join(line)} |")
        return
    table = Table(*header, title=f"share of the standard deviation kept in {options.steps} steps, by variance")
    for line in lines:
        table.add_row(*line)
    Console().print(table)


if __name__ == "__main__":
    main()
