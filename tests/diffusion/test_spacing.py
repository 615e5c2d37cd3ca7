"""Noise levels: their places, that they stay distinct, and how much of the data's spread they keep."""

import math
from itertools import pairwise

import pytest
import torch

from taildiff import build
from taildiff.diffusion.process import DDPM, Flow
from taildiff.errors import InputError, SpecError
from taildiff.spec import DDPMSpec, FlowSpec, SamplingSpec, parse
from taildiff.testing import gaussian_spread

PROCESSES = {"ddpm": DDPM(), "flow": Flow()}
VARIANCES = 0.3, 0.1, 0.03, 0.01, 0.003
SPACINGS = "uniform", "power", "karras", "logsnr"


def times(process, steps, spacing="power", **fields):
    return build.times(SamplingSpec(steps=steps, spacing=spacing, **fields), process)


def timesteps(process, steps, spacing, **fields):
    *levels, _ = times(process, steps, spacing, **fields)
    return [round(s * process.timesteps) for s in levels]


def test_uniform_and_power():
    assert times(Flow(), 4, "uniform") == [1, 0.75, 0.5, 0.25, None]
    assert times(DDPM(), 4, "uniform") == [0.999, 0.749, 0.499, 0.249, None]
    assert times(Flow(), 4) == [1, 0.5625, 0.25, 0.0625, None]
    assert times(Flow(), 4, exponent=3)[1] == 0.421875
    assert timesteps(DDPM(), 4, "power") == [999, 561, 249, 61]
    for process in PROCESSES.values():
        assert times(process, 30, exponent=1) == times(process, 30, "uniform")


def test_grid_visits_evenly_spaced_integers():
    assert times(DDPM(), 4, "grid") == [0.75, 0.5, 0.25, 0, 0]
    assert [s * 10 for s in times(DDPM(10), 3, "grid")] == [6, 3, 0, 0]
    levels = timesteps(DDPM(), 300, "grid")
    assert (levels[0], levels[-1]) == (996, 0)
    assert {a - b for a, b in pairwise(levels)} == {3, 4}
    with pytest.raises(InputError, match=r"grid needs integer timesteps, .* choose uniform or power"):
        times(Flow(), 4, "grid")


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize(("spacing", "of_ratio"), [("karras", lambda r: r ** (1 / 7)), ("logsnr", math.log)])
def test_levels_are_evenly_spaced_in_their_measure(process, spacing, of_ratio):
    levels = torch.tensor(times(process, 12, spacing)[1:-1], dtype=torch.float64)
    alpha, sigma = process.coefficients(levels)
    gaps = [a - b for a, b in pairwise(map(of_ratio, (sigma / alpha).tolist()))]
    rounded = 0.2 if process.timesteps else 1e-5  # the last levels of DDPM are few timesteps apart
    assert gaps == pytest.approx([sum(gaps) / len(gaps)] * len(gaps), rel=rounded)
    assert sigma[-1] / alpha[-1] == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("spacing", [*SPACINGS, "grid"])
@pytest.mark.parametrize("steps", [1, 2, 7, 80, 300, 999, 1000])
def test_timesteps_stay_distinct(spacing, steps):
    levels = timesteps(DDPM(), steps, spacing)
    assert len(levels) == steps
    assert all(a > b for a, b in pairwise(levels)) or (spacing == "grid" and levels.pop() == 0)
    assert min(levels) >= 0
    assert max(levels) <= 999


@pytest.mark.parametrize("exponent", [0.01, 0.5, 5, 200])
def test_timesteps_stay_distinct_at_any_exponent(exponent):
    levels = timesteps(DDPM(50), 45, "power", exponent=exponent)
    assert levels == sorted(set(levels), reverse=True)
    assert len(levels) == 45
    assert levels[0] == 49
    assert levels[-1] >= 0


def test_too_many_steps_are_refused():
    for spacing in (*SPACINGS, "grid"):
        with pytest.raises(InputError, match=r"must be 1\.\.1000, .* not 1001"):
            times(DDPM(), 1001, spacing)
    with pytest.raises(InputError, match=r"100 sampling steps .* repeat noise levels; take fewer or a lower exponent"):
        times(Flow(), 100, exponent=30)
    for spacing in SPACINGS:
        levels = torch.tensor(times(Flow(), 2000, spacing)[:-1], dtype=torch.float32)
        assert (levels.diff() < 0).all()


@pytest.mark.parametrize(
    "fields", [{"spacing": "karras", "exponent": 3}, {"rho": 5}, {"sampler": "ddim", "variance": "fixedlarge"}]
)
def test_an_option_of_another_spacing_or_sampler_is_refused(fields):
    with pytest.raises(SpecError, match=r"(exponent|rho|variance) applies to .* only; remove it"):
        parse(SamplingSpec, fields)


def test_grid_is_refused_where_the_last_noise_would_stay():
    with pytest.raises(SpecError, match="grid ends without a clean prediction"):
        parse(SamplingSpec, {"sampler": "ancestral", "variance": "fixedlarge", "spacing": "grid"})


# ---- spread


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_the_default_keeps_the_spread(process, variance):
    assert SamplingSpec().steps == 20
    assert 0.95 < gaussian_spread(SamplingSpec(), process, variance) < 1.06


@pytest.mark.parametrize(
    ("process", "shares"),
    [(DDPMSpec(), (0.968, 0.899, 0.731, 0.513, 0.305)), (FlowSpec(), (1.003, 0.996, 0.973, 0.912, 0.752))],
)
def test_uniform_spacing_loses_it(process, shares):
    found = [
        gaussian_spread(SamplingSpec(sampler="heun", spacing="uniform"), process, variance) for variance in VARIANCES
    ]
    assert found == pytest.approx(shares, abs=6e-4)


@pytest.mark.parametrize(
    ("variance", "shares"), [("fixedsmall", (0.79, 0.68, 0.54)), ("fixedlarge", (1.05, 1.00, 0.84))]
)
def test_ancestral_spread(variance, shares):
    sampling = SamplingSpec(sampler="ancestral", steps=100, spacing="uniform", variance=variance)
    found = [gaussian_spread(sampling, DDPM(), of_data) for of_data in (0.01, 0.003, 0.001)]
    assert found == pytest.approx(shares, abs=6e-3)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_ddim_and_fixedlarge_keep_it_from_100_steps_on(process):
    for fields in ({"sampler": "ddim"}, {"sampler": "ancestral", "variance": "fixedlarge"}):
        for variance in (0.3, 0.003):
            assert 0.95 < gaussian_spread(SamplingSpec(steps=100, **fields), process, variance) < 1.06


def test_spread_by_hand():
    """DDIM in one step returns the prediction from pure noise; in two, from the level between."""
    ddim = SamplingSpec(sampler="ddim", spacing="uniform", steps=1)
    alpha, sigma = DDPM().coefficients(torch.tensor(0.999))
    assert gaussian_spread(ddim, DDPM(), 0.25) == pytest.approx(float(0.5 * alpha / (alpha**2 * 0.25 + sigma**2)))
    assert gaussian_spread(ddim, Flow(), 0.25) == 0
    # flow from s = 1: x0 = 0, eps = z, so x = z/2 at s = 1/2, and x0 = (v/2)/(v/4 + 1/4) x
    two = ddim.model_copy(update={"steps": 2})
    assert gaussian_spread(two, Flow(), 0.25) == pytest.approx(0.25 / 2 / (5 / 16) / 2 / 0.5)


def test_spread_is_that_of_samples():
    from taildiff.diffusion.samplers.base import predictor, trajectory
    from taildiff.testing import exact_gaussian

    sampling, process = SamplingSpec(sampler="ancestral", steps=10, variance="fixedlarge"), DDPM()
    generator = torch.Generator().manual_seed(0)
    predict = predictor(exact_gaussian(process, torch.zeros_like, 0.03), process, torch.zeros(20_000), clip=False)
    *_, x = trajectory(
        build.sampler(sampling, process),
        build.times(sampling, process),
        predict,
        lambda: torch.randn(20_000, 1, 1, 1, dtype=torch.float64, generator=generator),
    )
    assert float(x.std() / 0.03**0.5) == pytest.approx(gaussian_spread(sampling, process, 0.03), rel=0.02)


@pytest.mark.parametrize("variance", [0, -1, math.nan, math.inf])
def test_spread_of_no_variance_is_refused(variance):
    with pytest.raises(InputError, match="variance must be positive and finite"):
        gaussian_spread(SamplingSpec(), Flow(), variance)
