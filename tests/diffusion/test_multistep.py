"""DPM-Solver++(2M), its SDE form and the SDE of flows: order, steps by hand, and variance."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch

from diffusion.known_data import Unrounded, log_levels, mixture
from taildiff import build
from taildiff.diffusion.process import DDPM, Flow
from taildiff.diffusion.samplers.base import predictor, trajectory
from taildiff.diffusion.samplers.heun import Heun
from taildiff.diffusion.samplers.multistep import Multistep
from taildiff.spec import SamplingSpec
from taildiff.testing import check_sampler, exact_gaussian, gaussian_spread

VARIANCES = 0.3, 0.1, 0.03, 0.01, 0.003
SAMPLERS = {"dpm2m": "nothing", "dpm2m-sde": "process", "flow-sde": "sigma"}


@pytest.mark.parametrize("redraw", SAMPLERS.values())
def test_contract(redraw):
    check_sampler(partial(Multistep, redraw=redraw), steps=60)


@pytest.mark.parametrize("process", [Unrounded(), Flow()], ids=["ddpm", "flow"])
@pytest.mark.parametrize("data", ["wide", "narrow", "mixture"])
def test_order_between_interior_levels(process, data):
    """The error falls as the square of the step, against Heun's method in 600 steps."""
    network = {
        "wide": exact_gaussian(process, torch.zeros_like, 0.25),
        "narrow": exact_gaussian(process, torch.zeros_like, 0.01),
        "mixture": mixture(process),
    }[data]
    start = torch.tensor([-1.3, -0.5, 0.1, 0.4, 0.9], dtype=torch.float64).view(5, 1, 1, 1)
    predict = predictor(network, process, torch.zeros(5), clip=False)

    def result(sampler, n):
        *_, x = trajectory(sampler, log_levels(process, n), predict, lambda: start)
        return x

    exact = result(Heun(process), 600)
    errors = [float((result(Multistep(process), n) - exact).norm()) for n in (40, 80)]
    assert 1.8 < math.log2(errors[0] / errors[1]) < 2.3


def by_hand(process, s, s_next):
    return [[float(c) for c in process.coefficients(torch.tensor(each, dtype=torch.float64))] for each in (s, s_next)]


@pytest.mark.parametrize("process", [DDPM(), Flow()], ids=["ddpm", "flow"])
@pytest.mark.parametrize("redraw", ["nothing", "process"])
def test_steps_of_the_paper(process, redraw):
    """Lu et al. 2022, alg. 2, and its SDE form with the second-order term that they give for it."""
    x, first, second, z = torch.tensor([0.7, 0.2, 0.3, -0.8], dtype=torch.float64).view(4, 1, 1, 1, 1)
    sampler = Multistep(process, redraw)
    (a, b), (a1, b1) = by_hand(process, 0.6, 0.5)
    (_, _), (a2, b2) = by_hand(process, 0.5, 0.3)
    levels = [math.log(p / q) for p, q in ((a, b), (a1, b1), (a2, b2))]
    h0, h1 = (levels[i + 1] - levels[i] for i in (0, 1))
    r = h0 / h1
    x1, state = sampler.step(x, 0.6, 0.5, lambda *_: first, lambda: z, None)
    x2, _ = sampler.step(x1, 0.5, 0.3, lambda *_: second, lambda: z, state)
    if redraw == "nothing":
        one = b1 / b * x - a1 * math.expm1(-h0) * first
        two = b2 / b1 * x1 - a2 * math.expm1(-h1) * ((1 + 1 / (2 * r)) * second - first / (2 * r))
    else:
        one = b1 / b * math.exp(-h0) * x - a1 * math.expm1(-2 * h0) * first + b1 * math.sqrt(-math.expm1(-2 * h0)) * z
        gain = -a2 * math.expm1(-2 * h1)
        two = b2 / b1 * math.exp(-h1) * x1 + gain * second + gain / (2 * r) * (second - first)
        two = two + b2 * math.sqrt(-math.expm1(-2 * h1)) * z
    torch.testing.assert_close(x1, one)
    torch.testing.assert_close(x2, two)


def test_the_flow_sde_is_that_of_sit_for_small_steps():
    """dx = v ds - w score/2 ds + sqrt(w) dW backwards in s, w = sigma = s (Ma et al. 2024)."""
    process, s, small = Flow(), 0.6, 1e-5
    x, x0 = torch.tensor([0.7, 0.2], dtype=torch.float64).view(2, 1, 1, 1, 1)
    eps = (x - (1 - s) * x0) / s
    drift = -(eps - x0) + s / 2 * (-eps / s)
    step = partial(Multistep(process, "sigma").step, x, s, s - small, lambda *_: x0)
    still, moved = step(lambda: torch.zeros_like(x))[0], step(lambda: torch.ones_like(x))[0]
    assert float((still - x) / small) == pytest.approx(float(drift), rel=1e-4)
    assert float((moved - still) ** 2 / small) == pytest.approx(s, rel=1e-4)


@pytest.mark.parametrize("redraw", SAMPLERS.values())
def test_the_first_two_steps_from_pure_noise_take_the_prediction_as_it_is(redraw):
    """At s = 1 of the flow lambda is infinite, so there is no line through the last two predictions."""
    sampler, process = Multistep(Flow(), redraw), Flow()
    x, other = torch.full((2, 1, 1, 1, 1), 0.5, dtype=torch.float64)
    x1, state = sampler.step(x, 1.0, 0.8, lambda *_: 0 * x, lambda: 0 * x, None)
    x2, state = sampler.step(x1, 0.8, 0.5, lambda *_: other, lambda: 0 * x, state)
    kept = {"nothing": 1, "process": 0.2 * 0.5 / (0.5 * 0.8), "sigma": math.sqrt(0.5 / 0.8)}[redraw]
    torch.testing.assert_close(x2, 0.5 * other + kept * 0.5 * (x1 - 0.2 * other) / 0.8)
    assert x1.item() == pytest.approx({"nothing": 0.4, "process": 0, "sigma": 0.4 * math.sqrt(0.8)}[redraw])
    assert math.isfinite(state[1])
    assert [float(c) for c in process.coefficients(torch.tensor(1.0))] == [0, 1]


def test_grid_spacing_may_stay_where_it_is():
    """Its last step goes from t = 0 to t = 0."""
    sampler, process = Multistep(DDPM()), DDPM()
    x = torch.full((1, 1, 1, 1), 0.3, dtype=torch.float64)
    _, state = sampler.step(x, 0.2, 0.0, lambda *_: 0.5 * x, lambda: x, None)
    torch.testing.assert_close(sampler.step(x, 0.0, 0.0, lambda *_: 0.9 * x, lambda: x, state)[0], x)
    spec = SamplingSpec(sampler="dpm2m", spacing="grid", steps=100)
    assert 0.9 < gaussian_spread(spec, process, 0.3) < 1.1


@pytest.mark.parametrize("process", [DDPM(), Flow()], ids=["ddpm", "flow"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_twenty_steps_keep_the_spread(process, sampler):
    spec = SamplingSpec(sampler=sampler)
    assert (spec.steps, spec.spacing) == (20, "logsnr")
    for variance in VARIANCES:
        assert 0.95 < gaussian_spread(spec, process, variance) < 1.06


@pytest.mark.parametrize("process", [DDPM(), Flow()], ids=["ddpm", "flow"])
@pytest.mark.parametrize("sampler", ["dpm2m-sde", "flow-sde"])
def test_many_steps_give_the_variance_of_the_data(process, sampler):
    """Its error halves at least when the steps double."""
    gaps = [abs(gaussian_spread(SamplingSpec(sampler=sampler, steps=n), process, 0.3) - 1) for n in (25, 50, 100, 200)]
    assert gaps[-1] < 0.006
    assert all(later < 0.6 * former for former, later in pairwise(gaps[:3]))


def test_an_sde_samples_the_mixture():
    """Both modes in their shares, and the variance of each, from 20,000 draws in 60 steps."""
    process, n = Flow(), 20_000
    generator = torch.Generator().manual_seed(0)
    spec = SamplingSpec(sampler="flow-sde", steps=60)
    predict = predictor(mixture(process), process, torch.zeros(n), clip=False)
    *_, x = trajectory(
        build.sampler(spec, process),
        build.times(spec, process),
        predict,
        lambda: torch.randn(n, 1, 1, 1, dtype=torch.float64, generator=generator),
    )
    low, high = x[x < 0], x[x >= 0]
    assert len(low) / n == pytest.approx(0.3, abs=0.015)
    assert float(high.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(high.std()) == pytest.approx(0.02**0.5, rel=0.05)
