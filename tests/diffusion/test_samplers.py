"""Samplers against the exact denoiser of a Gaussian, and against the release's DDIM."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from taildiff.diffusion import spacing
from taildiff.diffusion.guidance import guided
from taildiff.diffusion.prediction import convert
from taildiff.diffusion.process import DDPM, Flow
from taildiff.diffusion.samplers.ancestral import Ancestral
from taildiff.diffusion.samplers.base import ImageNoise, predictor, trajectory
from taildiff.diffusion.samplers.ddim import DDIM
from taildiff.diffusion.samplers.heun import Heun
from taildiff.rng import stream
from taildiff.testing import check_sampler, exact_gaussian

PROCESSES = {"ddpm": DDPM, "flow": Flow}


@pytest.mark.parametrize(
    ("make", "steps"),
    [(DDIM, 200), (Heun, 20), (Ancestral, 250), (partial(Ancestral, variance="fixedlarge"), 200)],
    ids=["ddim", "heun", "ancestral", "fixedlarge"],
)
def test_contract(make, steps):
    check_sampler(make, steps=steps)


class Unrounded(DDPM):
    """DDPM in continuous time, the variance-preserving SDE of Song et al. 2021, for s at any place."""

    def coefficients(self, s):
        t = s.double() * 1000
        log_alpha_bar = -(1e-4 * t + (0.02 - 1e-4) * t**2 / 2000)
        return (log_alpha_bar / 2).exp(), (-torch.expm1(log_alpha_bar)).sqrt()


@pytest.mark.parametrize("process", [Unrounded(), Flow()], ids=["ddpm", "flow"])
@pytest.mark.parametrize("variance", [0.25, 0.01])
@pytest.mark.parametrize(("sampler", "low", "high"), [(DDIM, 0.9, 1.1), (Heun, 1.8, 2.3)])
def test_order_of_convergence(process, variance, sampler, low, high):
    """Against the exact solution of the flow ODE, x(s) = scale(s) z, between s = 0.9 and 0.1."""
    predict = predictor(exact_gaussian(process, torch.zeros_like, variance), process, torch.zeros(1), clip=False)

    def scale(s):
        alpha, sigma = process.coefficients(torch.tensor(s, dtype=torch.float64))
        return (alpha**2 * variance + sigma**2).sqrt().view(1, 1, 1, 1)

    def error(steps):
        times = [0.9 - 0.8 * i / steps for i in range(steps + 1)]
        *_, x = trajectory(sampler(process), times, predict, lambda: scale(0.9))
        return (x - scale(0.1)).abs().item()

    assert low < math.log2(error(20) / error(40)) < high


@pytest.mark.parametrize(("steps", "omega"), [(10, 0.0), (10, 1.5), (20, 2.0), (100, 0.5)])
def test_ddim_equals_the_release(golden, steps, omega):
    z = golden("ddim")
    process, null = DDPM(), 99
    process.alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)  # the release keeps its table in float32
    network = exact_gaussian(process, lambda y: torch.where(y == null, 0.0, 0.1 * (y + 1) - 0.2), float(z["v"]))
    y = torch.from_numpy(z["y"])
    predict = predictor(guided(network, 1 + omega, null), process, y, clip=False)
    x_T = torch.from_numpy(z["x_T"])
    *_, x = trajectory(DDIM(process), spacing.grid(process, steps), predict, lambda: x_T)
    expected = z[f"x0_steps{steps}_omega{omega}"]
    np.testing.assert_allclose(x.clamp(-1, 1), expected, rtol=0, atol=1e-6)


def test_ddim_is_euler_in_the_scaled_variables():
    process = DDPM()
    x, x0 = torch.randn(2, 1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (a, b), (a1, b1) = ([float(c) for c in process.coefficients(torch.tensor(s))] for s in (0.5, 0.4))
    slope = (x / a - x0) / (b / a)
    euler = a1 * (x / a + (b1 / a1 - b / a) * slope)
    ddim, _ = DDIM(process).step(x, 0.5, 0.4, lambda *_: x0, lambda: x)
    torch.testing.assert_close(ddim, euler)


def test_ancestral_step_has_the_variance_of_the_posterior():
    process = DDPM()
    x, x0 = torch.zeros(1, 1, 100, 100, dtype=torch.float64), torch.zeros(1, 1, 100, 100, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    draws, _ = Ancestral(process).step(
        x, 0.5, 0.499, lambda *_: x0, lambda: torch.randn(x.shape, dtype=x.dtype, generator=generator)
    )
    bar, bar_next = process.alpha_bar[500], process.alpha_bar[499]
    posterior = (1 - bar_next) / (1 - bar) * (1 - bar / bar_next)  # DDPM, eq. 7
    assert draws.var().item() == pytest.approx(posterior.item(), rel=0.05)


def test_fixedlarge_has_the_mean_of_the_posterior_and_the_variance_of_the_forward_step():
    process = DDPM()
    x, x0 = torch.full((2, 1, 1, 1, 1), 0.7, dtype=torch.float64)
    small, large = (Ancestral(process, variance) for variance in ("fixedsmall", "fixedlarge"))

    def step(sampler, z, s=0.5, s_next=0.45):
        return sampler.step(x, s, s_next, lambda *_: x0, lambda: torch.full_like(x, z))[0].item()

    assert step(large, 0) == step(small, 0)
    beta = 1 - process.alpha_bar[500] / process.alpha_bar[450]  # DDPM's beta of one long step
    assert (step(large, 1) - step(large, 0)) ** 2 == pytest.approx(float(beta))
    bar, bar_next = process.alpha_bar[500], process.alpha_bar[450]
    assert (step(small, 1) - step(small, 0)) ** 2 == pytest.approx(float((1 - bar_next) / (1 - bar) * beta))


def test_the_last_ancestral_step_adds_no_noise():
    draws = []
    *_, _x = trajectory(
        Ancestral(DDPM(), "fixedlarge"),
        [0.5, 0.1, None],
        lambda x, s: x * s,
        lambda: draws.append(1) or torch.ones(1, 1, 1, 1),
    )
    assert len(draws) == 2  # the start, and the step to 0.1


def test_guidance_is_one_batched_call_and_linear():
    calls = []

    def network(x, s, y):
        calls.append(len(x))
        return x * (y + 1).view(-1, 1, 1, 1)

    x, s, y = torch.ones(3, 1, 2, 2), torch.zeros(3), torch.tensor([0, 1, 2])
    out = guided(network, 3.0, null_label=9)(x, s, y)
    assert calls == [6]
    torch.testing.assert_close(out[:, 0, 0, 0], 10 + 3.0 * (y + 1.0 - 10))
    assert guided(network, 1.0, 9) is network
    torch.testing.assert_close(guided(network, 0.0, 9)(x, s, y), 10 * x)
    assert calls == [6, 3]


def test_image_noise_does_not_depend_on_the_batch():
    together = ImageNoise([stream(seed, "image") for seed in (1, 2, 3)], (1, 4, 4))
    alone = ImageNoise([stream(2, "image")], (1, 4, 4))
    for _ in range(3):
        assert torch.equal(together()[1], alone()[0])


def test_clipping_keeps_predictions_inside():
    predict = predictor(lambda x, s, y: -50 * torch.ones_like(x), Flow(), torch.zeros(2), clip=True)
    assert predict(torch.zeros(2, 1, 2, 2), 0.5).abs().max() == 1


def test_convert_at_pure_noise():
    """At s = 1 of the flow a velocity still gives the clean image."""
    x0, eps = torch.randn(2, 1, 1, 2, 2)
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    torch.testing.assert_close(convert(eps - x0, "velocity", "x0", eps, zero, one), x0)
