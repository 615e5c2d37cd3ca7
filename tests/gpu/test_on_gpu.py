"""What a GPU computes equals what the CPU computes; where there is no GPU, the CPU is compared with itself.

`pytest -m gpu tests/gpu`, which benchmarks/gpu_session.py runs. Random numbers are drawn on the CPU throughout.
"""

import pytest
import torch

from taildiff import build
from taildiff.data.batches import Batch, Batches, Resident
from taildiff.data.longtail import Split
from taildiff.data.order import Order
from taildiff.device import chosen_device
from taildiff.engine import compile_in_place
from taildiff.objectives.objective import Draws, Streams
from taildiff.recipes import recipe, with_method
from taildiff.recipes.methods import METHODS
from taildiff.run.layout import RunDir
from taildiff.run.weights import read_weights
from taildiff.sampling.generate import generate, load_model
from taildiff.spec import DataFacts, DataSpec, SamplingSpec, SiTSpec, UNetSpec
from taildiff.training.request import StopRule
from taildiff.training.session import run_training

pytestmark = pytest.mark.gpu
FACTS = DataFacts(height=16, width=16, channels=3, class_names=("a", "b", "c"), counts=(50, 20, 5))
NETWORKS = {
    "unet": UNetSpec(channels=(16, 32), blocks=1, attention=(1,), zero_init=False),
    "sit": SiTSpec(depth=2, width=48, heads=3, patch=4),
}


@pytest.fixture
def device():
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield torch.device(chosen_device())
    torch.backends.cudnn.allow_tf32 = allowed


def learner_of(network: str, method: str = "ccua", precision: str = "32-true"):
    """A network that is not at its start, where a transformer predicts 0."""
    torch.manual_seed(0)
    spec = with_method(recipe("mnist5k-plain"), method)
    spec = spec.model_copy(update={"model": NETWORKS[network], "precision": precision})
    learner = build.learner(spec, FACTS, FACTS.counts)
    for parameter in learner.parameters():
        if parameter.requires_grad and not parameter.abs().sum():
            torch.nn.init.normal_(parameter, std=0.02)
    return learner


def gradients(learner, device):
    """Loss and gradients of one step on `device`."""
    torch.manual_seed(1)
    batch = Batch(torch.randn(12, *FACTS.shape), torch.arange(12) % 3)
    draws = learner.objective.draw(12, FACTS.shape, Streams(0, 0))
    learner.to(device).zero_grad()
    loss = learner(Batch(*(t.to(device) for t in batch)), Draws(*(t.to(device) for t in draws)))
    loss.total.backward()
    found = {name: p.grad.cpu() for name, p in learner.named_parameters() if p.grad is not None}
    learner.to("cpu")
    return loss.per_sample.cpu(), found


def assert_near(found, expected, tolerance):
    """Each gradient within `tolerance` of the largest one of all."""
    assert found.keys() == expected.keys()
    largest = max(float(g.abs().max()) for g in expected.values())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=tolerance * largest, msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_losses_and_gradients(method, device):
    learner = learner_of("unet", method)
    expected, gradient = gradients(learner, "cpu")
    found, own = gradients(learner, device)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert_near(own, gradient, 1e-3)


@pytest.mark.parametrize("network", NETWORKS)
def test_networks(network, device):
    _, expected = gradients(learner_of(network), "cpu")
    _, found = gradients(learner_of(network), device)
    assert_near(found, expected, 1e-3)


@pytest.mark.parametrize("network", NETWORKS)
def test_bf16(network, device):
    """Rounded to 8 bits, the losses stay within a few per cent."""
    expected, _ = gradients(learner_of(network), "cpu")
    found, _ = gradients(learner_of(network, precision="bf16-mixed"), device)
    torch.testing.assert_close(found.mean(1), expected.mean(1), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("network", NETWORKS)
def test_compiled_gradients(network, device):
    _, expected = gradients(learner_of(network), device)
    learner = learner_of(network)
    compile_in_place(learner.denoiser, device)
    _, found = gradients(learner, device)
    assert_near(found, expected, 1e-3)


def test_images_in_device_memory(tiny_store, device):
    split = Split.cut(tiny_store, DataSpec())
    order = Order(tiny_store.labels[split.index], 3)
    resident = Resident.of(tiny_store, split, device, 10**9)
    pin = device.type == "cuda"
    there = Batches(tiny_store, split, order, 8, True, slice(None), pin, resident)
    read = Batches(tiny_store, split, order, 8, True, slice(None))
    for step in range(4):
        found, expected = there.read(step), read.read(step)
        torch.testing.assert_close(found.x.cpu(), expected.x, rtol=0, atol=1e-6)
        assert torch.equal(found.y.cpu(), expected.y)


def test_a_resumed_run_is_bitwise_the_run_that_never_stopped(tiny_store, tiny_spec, tmp_path):
    """With cuDNN's deterministic algorithms; the default ones may add up in another order each time."""
    whole, parts = RunDir(tmp_path / "whole"), RunDir(tmp_path / "parts")
    torch.backends.cudnn.deterministic, before = True, torch.backends.cudnn.deterministic
    try:
        run_training(whole, tiny_spec, tiny_store)
        run_training(parts, tiny_spec, tiny_store, StopRule(step=5))
        run_training(parts, tiny_spec, tiny_store)
    finally:
        torch.backends.cudnn.deterministic = before
    for kind in ("ema", "raw"):
        a, b = (read_weights(run.weights(12, kind))[0] for run in (whole, parts))
        assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("sampler", ["heun", "ddim"])
def test_samples_are_those_of_the_cpu(tiny_store, tiny_spec, tmp_path, device, sampler):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store, StopRule(step=2))
    labels, spec = torch.arange(3).numpy(), SamplingSpec(sampler=sampler, steps=5)
    images = [generate(load_model(run, device=name), labels, spec, 1.5) for name in ("cpu", str(device))]
    difference = abs(images[0].astype(int) - images[1].astype(int))
    assert difference.max() <= 2
