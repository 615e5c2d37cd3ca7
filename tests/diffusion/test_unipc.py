"""UniPC: the steps of the paper, order, spread, and steps that cannot be corrected."""

import math

import numpy as np
import pytest
import torch

from diffusion.known_data import Unrounded, log_levels, mixture
from taildiff.diffusion.prediction import to_x0
from taildiff.diffusion.process import DDPM, Flow
from taildiff.diffusion.samplers.base import coefficients, trajectory
from taildiff.diffusion.samplers.heun import Heun
from taildiff.diffusion.samplers.multistep import Multistep
from taildiff.diffusion.samplers.unipc import UniPC
from taildiff.spec import SamplingSpec
from taildiff.testing import check_sampler, exact_gaussian, gaussian_spread


def test_contract():
    check_sampler(UniPC, steps=60)


def corrected(process, levels, x, m, m_next, m_before=None):
    """UniC from the second last to the last level by the matrix R and vector b of the paper (app. A), B = expm1(-h)."""
    ratios = [math.log(a / b) for a, b in (coefficients(process, s) for s in levels)]
    (_, sigma), (alpha_next, sigma_next) = (coefficients(process, s) for s in levels[-2:])
    h = ratios[-1] - ratios[-2]
    phi, factorial = [math.expm1(-h) / -h], 1.0
    for k in (1, 2):  # phi_{k+1}(-h) = (phi_k(-h) - 1/k!) / -h
        factorial *= k
        phi.append((phi[-1] - 1 / factorial) / -h)
    bound = math.expm1(-h)
    if m_before is None:
        weights, differences = [0.5], [m_next - m]
    else:
        r = (ratios[-3] - ratios[-2]) / h
        matrix, right = np.array([[1, 1], [r, 1]]), np.array([phi[1] * -h * 1, phi[2] * -h * 2]) / bound
        weights, differences = np.linalg.solve(matrix, right).tolist(), [(m_before - m) / r, m_next - m]
    extra = sum(w * d for w, d in zip(weights, differences, strict=True))
    return sigma_next / sigma * x - alpha_next * math.expm1(-h) * m - alpha_next * bound * extra


@pytest.mark.parametrize("process", [DDPM(), Flow()], ids=["ddpm", "flow"])
def test_steps_of_the_paper(process):
    x, *seen = torch.tensor([0.7, 0.2, 0.3, -0.4], dtype=torch.float64).view(4, 1, 1, 1, 1)
    sampler, plain, levels = UniPC(process), Multistep(process), (0.8, 0.6, 0.5, 0.3)

    def step(sampler, k, x, state):
        return sampler.step(x, levels[k], levels[k + 1], lambda *_: seen[k], lambda: x, state)

    one, state = step(sampler, 0, x, None)
    expected, memory = step(plain, 0, x, None)
    torch.testing.assert_close(one, expected)
    two, state = step(sampler, 1, one, state)
    start = corrected(process, levels[:2], x, seen[0], seen[1])
    expected, memory = step(plain, 1, start, memory)
    torch.testing.assert_close(two, expected)
    three, _ = step(sampler, 2, two, state)
    expected, _ = step(plain, 2, corrected(process, levels[:3], start, seen[1], seen[2], seen[0]), memory)
    torch.testing.assert_close(three, expected)


@pytest.mark.parametrize("process", [Unrounded(), Flow()], ids=["ddpm", "flow"])
@pytest.mark.parametrize("data", ["wide", "narrow", "mixture"])
def test_order_between_interior_levels(process, data):
    """The error falls at least as the cube of the step, below that of DPM-Solver++(2M), against the exact solution.

    That of a Gaussian is x times the ratio of its standard deviations; that of the mixture is Heun's in 1,000 steps.
    """
    variance = {"wide": 0.25, "narrow": 0.01}.get(data)
    network = mixture(process) if variance is None else exact_gaussian(process, torch.zeros_like, variance)
    start = torch.tensor([-1.3, -0.5, 0.1, 0.4, 0.9], dtype=torch.float64).view(5, 1, 1, 1)

    def predict(x, s):  # `predictor` rounds s to float32, which alone is an error of 1e-7
        alpha, sigma = coefficients(process, s)
        output = network(x, torch.full((5,), s, dtype=torch.float64), torch.zeros(5))
        return to_x0(process.prediction, output, x, torch.tensor(alpha), torch.tensor(sigma))

    def result(sampler, n):
        *_, x = trajectory(sampler, log_levels(process, n), predict, lambda: start)
        return x

    if variance is None:
        exact = result(Heun(process), 1000)
    else:
        ends = [coefficients(process, s) for s in (log_levels(process, 40)[0], log_levels(process, 40)[-1])]
        before, after = (alpha**2 * variance + sigma**2 for alpha, sigma in ends)
        exact = start * math.sqrt(after / before)
    errors = [float((result(UniPC(process), n) - exact).norm()) for n in (40, 80)]
    assert 2.6 < math.log2(errors[0] / errors[1]) < 4.3
    assert errors[1] < float((result(Multistep(process), 80) - exact).norm()) / 3


def test_a_step_from_pure_noise_is_not_corrected():
    """At s = 1 of the flow lambda is infinite; the step after the next one is the first to use three predictions."""
    sampler, process = UniPC(Flow()), Flow()
    x, *seen = torch.tensor([0.5, 0.1, 0.3, -0.2], dtype=torch.float64).view(4, 1, 1, 1, 1)
    x1, state = sampler.step(x, 1.0, 0.8, lambda *_: seen[0], lambda: x, None)
    torch.testing.assert_close(x1, 0.2 * seen[0] + 0.8 * x)
    x2, state = sampler.step(x1, 0.8, 0.5, lambda *_: seen[1], lambda: x, state)
    torch.testing.assert_close(x2, 0.5 * seen[1] + 0.5 / 0.8 * (x1 - 0.2 * seen[1]))
    x3, _ = sampler.step(x2, 0.5, 0.3, lambda *_: seen[2], lambda: x, state)
    start = corrected(process, (0.8, 0.5), x1, seen[1], seen[2])
    memory = (seen[1], math.log(0.2 / 0.8))
    expected, _ = Multistep(process).step(start, 0.5, 0.3, lambda *_: seen[2], lambda: x, memory)
    torch.testing.assert_close(x3, expected)


@pytest.mark.parametrize("process", [DDPM(), Flow()], ids=["ddpm", "flow"])
def test_twenty_steps_keep_the_spread(process):
    spec = SamplingSpec(sampler="unipc")
    assert (spec.steps, spec.spacing) == (20, "logsnr")
    for variance in (0.3, 0.1, 0.03, 0.01, 0.003):
        assert 0.95 < gaussian_spread(spec, process, variance) < 1.06


def test_grid_spacing_ends_where_it_is():
    """Its last step, from t = 0 to t = 0, has h = 0."""
    spec = SamplingSpec(sampler="unipc", spacing="grid", steps=100)
    assert 0.9 < gaussian_spread(spec, DDPM(), 0.3) < 1.1
