"""AdamW is that of torch; Muon: which parameters it moves and how far, resuming, and what is refused."""

import subprocess
import sys

import pytest
import torch

from taildiff import build
from taildiff.cli.main import main
from taildiff.errors import SpecError
from taildiff.recipes import recipe
from taildiff.run.layout import RunDir
from taildiff.run.weights import read_weights
from taildiff.spec import CORALSpec, DataFacts, ObjectiveSpec, OptimizerSpec, SiTSpec, UNetSpec, parse
from taildiff.spec.run import RunSpec
from taildiff.training.checkpoint import read_position
from taildiff.training.optimizers import optimizer_of
from taildiff.training.request import StopRule
from taildiff.training.session import run_training

MUON = OptimizerSpec(name="muon", lr=0.01, weight_decay=0.1)
SIT = SiTSpec(depth=2, width=12, heads=2, patch=4)
FACTS = DataFacts(height=8, width=8, channels=1, class_names=("a", "b", "c"), counts=(5, 4, 3))


def learners(count: int) -> list[torch.nn.Module]:
    spec = RunSpec(model=SIT, objective=ObjectiveSpec(coral=CORALSpec(weight=0.1)))
    found = []
    for _ in range(count):
        torch.manual_seed(0)
        found.append(build.learner(spec, FACTS, FACTS.counts))
    return found


def with_gradients(learner: torch.nn.Module) -> torch.nn.Module:
    draws = torch.Generator().manual_seed(1)
    for parameter in learner.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=draws)
    return learner


def test_adamw_is_that_of_torch_bit_for_bit_with_its_state():
    ours, theirs = learners(2)
    spec = OptimizerSpec(betas=(0.8, 0.95), weight_decay=0.1)
    optimizer = optimizer_of(spec, ours)
    oracle = torch.optim.AdamW(theirs.parameters(), betas=spec.betas, weight_decay=0.1, fused=True)
    draws = torch.Generator().manual_seed(1)
    for step in range(5):
        for number, (mine, other) in enumerate(zip(ours.parameters(), theirs.parameters(), strict=True)):
            if (number + step) % 3:  # a parameter without a gradient stays, and its state too
                mine.grad = torch.randn(mine.shape, generator=draws)
                other.grad = mine.grad.clone()
        for each in (optimizer, oracle):
            each.param_groups[0]["lr"] = 0.01 / (step + 1)
            each.step()
            each.zero_grad()
    assert all(parameter.grad is None for parameter in ours.parameters())
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)
        assert optimizer.state[mine].keys() == oracle.state[other].keys()
        assert all(torch.equal(value, oracle.state[other][key]) for key, value in optimizer.state[mine].items())


def test_a_step_of_adamw_does_not_import_the_compiler():
    script = """
import sys, torch
from taildiff.spec import OptimizerSpec
from taildiff.training.optimizers import optimizer_of
layer = torch.nn.Linear(2, 2)
layer(torch.ones(1, 2)).sum().backward()
optimizer_of(OptimizerSpec(), layer).step()
print("torch._dynamo" in sys.modules)
"""
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "False"


def test_matrices_of_the_blocks_move_by_half_orthogonal_steps_and_the_rest_as_with_adamw():
    muon, adamw, before = (with_gradients(learner) for learner in learners(3))
    optimizer_of(MUON, muon).step()
    optimizer_of(MUON.model_copy(update={"name": "adamw"}), adamw).step()
    start, other = dict(before.named_parameters()), dict(adamw.named_parameters())
    moved = []
    for name, parameter in muon.named_parameters():
        if not ("blocks." in name and parameter.ndim == 2):
            assert torch.equal(parameter, other[name]), name
            continue
        moved.append(name.split("blocks.1.")[-1])
        step = (start[name] * (1 - MUON.lr * MUON.weight_decay) - parameter) / MUON.lr
        sizes = torch.linalg.svdvals(step.detach() / (0.2 * max(step.shape) ** 0.5))
        assert sizes.min() > 0.5, name  # Newton-Schulz leaves them between about 0.7 and 1.2
        assert sizes.max() < 1.5, name
        assert step.flatten() @ start_gradient(before, name) > 0, name
    assert {"attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight", "adaLN_modulation.1.weight"} <= {
        *moved
    }
    assert len(moved) == 10


def start_gradient(learner: torch.nn.Module, name: str) -> torch.Tensor:
    gradient = learner.get_parameter(name).grad
    assert gradient is not None
    return gradient.flatten()


def test_the_learning_rate_of_the_groups_reaches_both_parts():
    (learner,) = map(with_gradients, learners(1))
    optimizer = optimizer_of(MUON.model_copy(update={"weight_decay": 0.0}), learner)
    before = [parameter.detach().clone() for parameter in learner.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, learner.parameters(), strict=True))
    optimizer.zero_grad(set_to_none=True)
    assert all(parameter.grad is None for parameter in learner.parameters())


def test_resuming_with_muon_equals_never_having_stopped(tiny_store, tiny_spec, tmp_path):
    spec = tiny_spec.model_copy(update={"model": SIT, "optimizer": OptimizerSpec(name="muon", warmup=3)})
    whole, parts = RunDir(tmp_path / "whole"), RunDir(tmp_path / "parts")
    run_training(whole, spec, tiny_store, StopRule(step=6))
    for stop in (3, 6):
        run_training(parts, spec, tiny_store, StopRule(step=stop))
    for kind in ("ema", "raw"):
        one, two = (read_weights(run.weights(6, kind))[0] for run in (whole, parts))
        assert all(torch.equal(one[name], two[name]) for name in one)
    digests = [read_position(run.state(6)).files["optimizer"].sha256 for run in (whole, parts)]
    assert digests[0] == digests[1]


def test_muon_is_an_option_of_transformers_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    assert main(["train", "mnist5k-sit-ccua", "--optimizer.name", "muon", "--dry-run"]) == 0
    assert '"muon"' in capsys.readouterr().out
    assert main(["train", "mnist5k-ccua", "--optimizer.name", "muon", "--dry-run"]) == 2
    assert "optimizer.name muon is for transformers" in capsys.readouterr().err
    with pytest.raises(SpecError, match="this network is a U-Net: use adamw"):
        parse(RunSpec, {"model": UNetSpec(), "optimizer": MUON})
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(SpecError, match=r"muon needs torch 2\.9 or later"):
        optimizer_of(MUON, learners(1)[0])


def test_a_run_of_an_earlier_version_had_adamw():
    values = recipe("mnist5k-plain").model_dump()
    del values["optimizer"]["name"]
    assert parse(RunSpec, values) == recipe("mnist5k-plain")
