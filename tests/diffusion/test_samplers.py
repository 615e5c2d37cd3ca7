"""Samplers against the exact denoiser of a Gaussian, and against the release's DDIM."""

import numpy as np
import pytest
import torch

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


@pytest.mark.parametrize(("make", "steps"), [(DDIM, 200), (Heun, 200), (Ancestral, 1000)])
def test_contract(make, steps):
    check_sampler(make, steps=steps)  # few ancestral steps lose spread, by construction


@pytest.mark.parametrize("process_name", PROCESSES)
def test_heun_is_of_higher_order_than_euler(process_name):
    """Against the exact solution of the flow ODE, x(s) - alpha mu = scale(s) z, from a start where alpha > 0."""
    process, mean, variance = PROCESSES[process_name](), 0.3, 0.25
    predict = predictor(
        exact_gaussian(process, lambda y: torch.full_like(y, mean), variance), process, torch.zeros(1), clip=False
    )
    start, end = 0.6, 0.1

    def scale(s):
        alpha, sigma = process.coefficients(torch.tensor(s, dtype=torch.float64))
        return (alpha**2 * variance + sigma**2).sqrt(), alpha

    z = torch.randn(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (scale0, alpha0), (scale1, alpha1) = scale(start), scale(end)
    truth = alpha1 * mean + scale1 * z

    def error(sampler, steps):
        times = [start + (end - start) * i / steps for i in range(steps + 1)]
        *_, x = trajectory(sampler(process), times, predict, lambda: alpha0 * mean + scale0 * z)
        return (x - truth).abs().max().item()

    assert error(DDIM, 10) / error(DDIM, 20) == pytest.approx(2, rel=0.25)
    assert error(Heun, 10) / error(Heun, 20) == pytest.approx(4, rel=0.3)
    assert error(Heun, 20) < error(DDIM, 20) / 5


@pytest.mark.parametrize(("steps", "omega"), [(10, 0.0), (10, 1.5), (20, 2.0), (100, 0.5)])
def test_ddim_equals_the_release(golden, steps, omega):
    z = golden("ddim")
    process, null = DDPM(), 99
    process.alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)  # the release keeps its table in float32
    network = exact_gaussian(process, lambda y: torch.where(y == null, 0.0, 0.1 * (y + 1) - 0.2), float(z["v"]))
    y = torch.from_numpy(z["y"])
    predict = predictor(guided(network, 1 + omega, null), process, y, clip=False)
    x_T = torch.from_numpy(z["x_T"])
    *_, x = trajectory(DDIM(process), process.times(steps, end="grid"), predict, lambda: x_T)
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
