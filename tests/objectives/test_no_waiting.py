"""A training step never reads a value from the device before its gradients are there."""

from contextlib import nullcontext

import pytest
import torch

from taildiff import build
from taildiff.data.batches import Batch
from taildiff.objectives.objective import Draws, Streams
from taildiff.recipes import recipe, with_method
from taildiff.recipes.methods import METHODS
from taildiff.spec import DataFacts, DDPMSpec, FlowSpec, SiTSpec

FACTS = DataFacts(height=8, width=8, channels=1, class_names=("a", "b", "c"), counts=(50, 20, 5))


@pytest.mark.parametrize("process", [FlowSpec(), DDPMSpec()], ids=["flow", "ddpm"])
@pytest.mark.parametrize("null_fraction", [1, 0.5])
@pytest.mark.parametrize("method", METHODS)
def test_forward_and_backward_read_nothing(method, null_fraction, process, monkeypatch):
    """Tensors of the meta device have no values: to ask for one raises."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no meta device
    spec = with_method(recipe("mnist5k-plain"), method)
    objective = spec.objective.model_copy(update={"null_fraction": null_fraction})
    model = SiTSpec(depth=2, width=24, heads=3, patch=4)
    learner = build.learner(
        spec.model_copy(update={"objective": objective, "model": model, "path": process}), FACTS, FACTS.counts
    )
    draws = learner.objective.draw(8, FACTS.shape, Streams(0, 0))
    batch = Batch(torch.empty(8, *FACTS.shape), torch.zeros(8, dtype=torch.long))
    learner.to("meta")
    loss = learner(Batch(*(t.to("meta") for t in batch)), Draws(*(t.to("meta") for t in draws)))
    loss.total.backward()
    assert all(p.grad is not None and p.grad.is_meta for p in learner.parameters() if p.requires_grad)


def test_tables_are_copied_to_a_device_once(monkeypatch):
    process, s = build.process(DDPMSpec()), torch.zeros(2, device="meta")
    process.coefficients(s)
    monkeypatch.setattr(torch.Tensor, "to", None)
    assert all(c.is_meta for c in process.coefficients(s))
    assert process.coefficients(torch.zeros(2))[0][0] == pytest.approx((1 - 1e-4) ** 0.5)
