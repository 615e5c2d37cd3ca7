"""docs/sampling.md: its tables are what is computed, and its options are those of the spec."""

import re
from pathlib import Path

import pytest

from taildiff.spec import DDPMSpec, FlowSpec, SamplingSpec
from taildiff.testing import gaussian_spread

PAGE = (Path(__file__).parents[2] / "docs" / "sampling.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (ddpm|flow) \| ([\w-]+)(?: (fixedlarge))? \| (\w+)(?: (\d))?\*? \| (.*) \|$")
VARIANCES = 0.3, 0.1, 0.03, 0.01, 0.003


def computed(row: re.Match[str], steps: int) -> list[str]:
    process, sampler, variance, spacing, parameter, _ = row.groups()
    fields = {"sampler": sampler, "steps": steps, "spacing": spacing} | ({"variance": variance} if variance else {})
    if spacing == "power":
        fields["exponent"] = float(parameter)
    sampling = SamplingSpec.model_validate(fields)
    path = DDPMSpec() if process == "ddpm" else FlowSpec()
    return [f"{gaussian_spread(sampling, path, each):.3f}" for each in VARIANCES]


@pytest.mark.parametrize("steps", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_the_tables_are_what_is_computed(steps: int):
    first, last = PAGE.split("and with 100")
    rows = [match for line in (last if steps == 100 else first).splitlines() if (match := ROW.match(line))]
    assert len(rows) == {20: 53, 100: 18}[steps]
    for row in rows:
        assert computed(row, steps) == row[6].split(" | "), row[0]


def test_the_range_of_the_default_is_stated():
    low, high = re.search(r"stays between (\S+) and (\S+) in 20 steps", PAGE).groups()  # pyright: ignore[reportOptionalMemberAccess]
    shares = [gaussian_spread(SamplingSpec(), path, v) for path in (DDPMSpec(), FlowSpec()) for v in VARIANCES]
    assert (f"{min(shares):.3f}", f"{max(shares):.3f}") == (low, high)


@pytest.mark.slow
def test_the_share_of_all_timesteps_is_stated():
    share = gaussian_spread(SamplingSpec(sampler="ancestral", steps=1000), DDPMSpec(), 0.003)
    assert f"keeps {share:.3f} at a variance of 0.003 even with all 1,000 timesteps" in PAGE


def test_the_range_of_the_multistep_samplers_is_stated():
    low, high = re.search(r"between (\S+) and (\S+)\s+at their default", PAGE).groups()  # pyright: ignore[reportOptionalMemberAccess]
    specs = [SamplingSpec(sampler=name) for name in ("dpm2m", "unipc", "dpm2m-sde", "flow-sde")]
    shares = [gaussian_spread(s, path, v) for s in specs for path in (DDPMSpec(), FlowSpec()) for v in VARIANCES]
    assert (f"{min(shares):.3f}", f"{max(shares):.3f}") == (low, high)


def test_every_option_is_there():
    rows = dict(re.findall(r"^\| `--(?:no-)?([\w-]+)` \| `?([^ `|]+)`? \|", PAGE, re.MULTILINE))
    own = {name: info.default for name, info in SamplingSpec.model_fields.items() if name not in ("seed", "weights")}
    shown = {None: "none", (): "none", False: "off"}
    expected = {name: shown.get(default, str(default).removesuffix(".0")) for name, default in own.items()}
    assert {name.replace("-", "_"): default for name, default in rows.items()} == expected | {"clip": "off"}
