"""EMA, learning rate, tracking."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from taildiff.data.longtail import Groups
from taildiff.spec import OptimizerSpec
from taildiff.training.ema import MovingAverage, warmed_up
from taildiff.training.schedule import learning_rate
from taildiff.training.tracking import Tracker


def test_ema_follows_its_recursion_with_warm_up():
    model = nn.Linear(3, 2)
    ema = MovingAverage(model, decay=0.5)
    expected = None
    for n in range(6):
        with torch.no_grad():
            model.weight.copy_(torch.full((2, 3), float(n**2)))
        ema.update_parameters(model)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = 0.0 if n == 0 else decay * expected + (1 - decay) * n**2
        assert ema.module.weight[0, 0].item() == pytest.approx(expected)
    assert (warmed_up(0.999, 0), warmed_up(0.999, 90)) == (0.1, 0.91)
    assert warmed_up(0.999, 10**6) == 0.999


def test_an_average_of_every_third_step_has_the_decay_of_all_steps():
    """The weights of steps 1, 4, 7, … by the product of the decays since, whatever lies between, a restart too."""
    model, decay = nn.Linear(1, 1, bias=False), 0.9
    rare, constant = (MovingAverage(model, decay, every) for every in (3, 1))
    expected, product = 0.0, 0.0
    for n in range(11):
        with torch.no_grad():
            model.weight.fill_(float(n**2))
        if n == 5:  # a stop between two updates
            state, rare = rare.state_dict(), MovingAverage(model, decay, 3)
            rare.load_state_dict(state)
        rare.update_parameters(model)
        product *= min(decay, (1 + n) / (10 + n))
        if n % 3 == 0:
            expected, product = product * expected + (1 - product) * n**2, 1.0
        assert rare.module.weight.item() == pytest.approx(expected)
    with torch.no_grad():
        model.weight.fill_(7.0)
    for _ in range(10):
        constant.update_parameters(model)
    assert constant.module.weight.item() == 7.0
    assert warmed_up(decay, 6, 3) == pytest.approx(warmed_up(decay, 4) * warmed_up(decay, 5) * warmed_up(decay, 6))


def test_the_average_never_waits_for_the_device():
    """On the meta device, reading a value raises; on a GPU it would stall every step."""
    model = nn.Linear(3, 2)
    ema = MovingAverage(model, decay=0.5).to("meta")
    model.to("meta")
    for _ in range(3):
        ema.update_parameters(model)
    assert ema.module.weight.is_meta
    assert int(ema.state_dict()["n_averaged"]) == 3


def test_the_average_equals_torchs_bit_for_bit():
    def average(averages, current, updates):
        torch._foreach_lerp_(averages, current, 1 - warmed_up(0.9, int(updates)))

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5))
    ours, theirs = MovingAverage(model, 0.9), AveragedModel(model, multi_avg_fn=average)
    for _ in range(4):
        with torch.no_grad():
            for p in (*model.parameters(), model[1].running_mean):
                p.add_(torch.randn(p.shape))
        ours.update_parameters(model)
        theirs.update_parameters(model)
    found, expected = ours.state_dict(), theirs.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_learning_rate_is_a_function_of_the_step():
    spec = OptimizerSpec(lr=2.0, warmup=4)
    assert [learning_rate(spec, step, 10) for step in (0, 1, 3, 4, 9)] == [0.5, 1.0, 2.0, 2.0, 2.0]
    cosine = spec.model_copy(update={"schedule": "cosine"})
    values = [learning_rate(cosine, step, 14) for step in range(14)]
    assert values[4] == 2.0
    assert values[9] == pytest.approx(1.0)  # half-way between warm-up and end
    assert 0 < values[-1] < 0.06
    assert learning_rate(OptimizerSpec(lr=1.0), 0, 1) == 1.0


def test_means_by_level_and_group_are_those_of_the_samples(tmp_path):
    groups = Groups.thirds((30, 20, 10))
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"kept\nlost")
    tracker = Tracker(path, ("a", "b"), (1.0, 2.0), groups, length=5)
    tracker.add(torch.tensor([[1.0, 0.0], [3.0, 0.5]]), torch.tensor([0.1, 0.9]), torch.tensor([0, 2]), 1.0, 2.0)
    tracker.add_time(3.0, 0.0)
    tracker.add_time(1.0, 0.5)
    tracker.add(torch.tensor([[5.0, 1.0]]), torch.tensor([1.0]), torch.tensor([2]), 3.0, 7.0)
    assert tracker.note == "loss 4.5"
    tracker.write(2, 3, 1.5, 0.1)
    tracker.write(3, 3, 1.5, 0.1)  # nothing new, no line
    tracker.close()
    kept, line = path.read_text().splitlines()
    values = json.loads(line)
    assert kept == "kept"
    assert values["terms"] == {"a": 3.0, "b": 0.5}
    assert values["weighted"] == {"a": 3.0, "b": 1.0}
    assert values["loss"] == 4.0
    assert values["grad_norm"] == 2.0
    assert values["by_noise"]["a"] == [1.0, None, None, 4.0]
    assert values["waiting"] == 0.125
    assert values["by_group"]["a"] == {"head": 1.0, "body": None, "tail": 4.0}
    assert np.isfinite(values["lr"])
