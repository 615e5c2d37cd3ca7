"""Processes and parameterisations."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taildiff.diffusion.prediction import Prediction, convert, target
from taildiff.diffusion.process import DDPM, Flow, noise
from taildiff.diffusion.random_tensors import RandomTensors

KINDS: list[Prediction] = ["eps", "x0", "v", "velocity"]


@given(
    source=st.sampled_from(KINDS),
    to=st.sampled_from(KINDS),
    s=st.floats(0.02, 0.98),
    ddpm=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_prediction_becomes_every_other_and_back(source, to, s, ddpm, seed):
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, 3, 1, 4, 4, dtype=torch.float64, generator=generator)
    n = noise(DDPM() if ddpm else Flow(), x0, torch.full((3,), s, dtype=torch.float64), eps)
    given_value = n.target(source)
    there = convert(given_value, source, to, n.x_s, n.alpha, n.sigma)
    scale = 1 / float(n.alpha.min() * n.sigma.min())
    torch.testing.assert_close(there, n.target(to), rtol=0, atol=1e-12 * scale**2)
    back = convert(there, to, source, n.x_s, n.alpha, n.sigma)
    torch.testing.assert_close(back, given_value, rtol=0, atol=1e-12 * scale**3)


def test_noisy_images_equal_the_release(golden):
    z = golden("ccua_step")
    x0, eps = torch.from_numpy(z["x0"]), torch.from_numpy(z["noise"])
    process = DDPM(int(z["T"]), float(z["beta_start"]), float(z["beta_end"]))
    n = noise(process, x0, torch.from_numpy(z["t"]).double() / 1000, eps)
    np.testing.assert_allclose(n.x_s, z["x_t"], rtol=0, atol=1e-6 * np.abs(z["x_t"]).max())


def test_ddpm_recovers_every_integer_time_in_float32():
    t = torch.arange(1000)
    assert torch.equal(DDPM().index(t.float() / 1000), t)


def test_ends_of_the_paths():
    alpha, sigma = Flow().coefficients(torch.tensor([0.0, 1.0]))
    assert alpha.tolist() == [1, 0]
    assert sigma.tolist() == [0, 1]
    alpha, sigma = DDPM().coefficients(torch.tensor([0.0]))
    assert sigma.item() == pytest.approx(0.01)
    assert (alpha**2 + sigma**2).item() == pytest.approx(1)


def test_velocity_is_the_derivative_of_the_flow():
    x0, eps = torch.randn(2, 1, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    s = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    pixel = noise(Flow(), x0, s, eps).x_s[0, 0, 0, 0]
    (slope,) = torch.autograd.grad(pixel, s)
    velocity = target("velocity", x0, eps, torch.tensor(0.7), torch.tensor(0.3))
    assert slope.item() == pytest.approx(velocity[0, 0, 0, 0].item())


@pytest.mark.parametrize(("times", "inner"), [("uniform", 0.5), ("logit-normal", 0.7287)])
def test_training_times_have_their_distribution(times, inner):
    s = Flow(times).draw(40_000, RandomTensors(1, "level"))
    assert s.min() >= 0
    assert s.max() <= 1
    assert s.mean().item() == pytest.approx(0.5, abs=0.01)
    # P(0.25 < sigmoid(n) < 0.75) = P(|n| < log 3) = 0.7281
    share = ((s > 0.25) & (s < 0.75)).float().mean().item()
    assert share == pytest.approx(inner if times == "uniform" else math.erf(math.log(3) / math.sqrt(2)), abs=0.01)


def test_ddpm_draws_the_whole_grid():
    t = DDPM().index(DDPM().draw(60_000, RandomTensors(1, "level")))
    assert (t.min(), t.max()) == (0, 999)
    assert len(t.unique()) == 1000
