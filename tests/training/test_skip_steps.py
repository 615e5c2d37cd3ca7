"""Skipped steps: counted, reported, kept on resuming, without effect on the weights."""

import json
import os
import subprocess
import sys

import pytest
import torch

from taildiff.errors import NonFiniteError, RunError
from taildiff.objectives.objective import Objective, StepLoss
from taildiff.run.layout import RunDir
from taildiff.run.weights import read_weights
from taildiff.spec import RunSpec
from taildiff.training import loop
from taildiff.training.request import StopRule
from taildiff.training.session import run_training
from taildiff.training.skip_steps import FEWEST, WINDOW, Skipped


@pytest.fixture
def poisoned(monkeypatch):
    """Multiply the loss of steps 2 and 6 (counted from 0): poisoned(factor)."""

    def poison(factor, steps=(2, 6)):
        streams, forward, now = loop.Streams, Objective.forward, []
        monkeypatch.setattr(loop, "Streams", lambda seed, step, device: now.append(step) or streams(seed, step, device))

        def spoilt(self, denoiser, batch, draws):
            loss = forward(self, denoiser, batch, draws)
            return StepLoss(loss.total * factor, loss.per_sample * factor) if now[-1] in steps else loss

        monkeypatch.setattr(Objective, "forward", spoilt)

    return poison


def tensors(run, kind="raw"):
    return read_weights(run.weights(run.weight_steps(kind)[-1], kind))[0]


def state(run):
    return json.loads((run.state(run.checkpoint_steps()[-1]) / "state.json").read_text())


def lines(run):
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def without_time(run):
    return [
        {key: value for key, value in line.items() if key not in ("seconds", "waiting", "crc")} for line in lines(run)
    ]


def test_skipped_steps_are_counted_reported_and_saved(tiny_store, tiny_spec, tmp_path, poisoned, caplog):
    poisoned(float("nan"))
    spec = tiny_spec.model_copy(update={"skip_nonfinite": 2})
    run = RunDir(tmp_path / "run")
    assert run_training(run, spec, tiny_store).reason == "finished"
    assert "skipped step 3:" in caplog.messages[0]
    assert "term 'denoising' is not finite for 8 of 8 samples" in caplog.messages[0]
    assert caplog.messages[-1] == "of 12 steps, training skipped 2 with a non-finite loss or gradient"
    assert state(run)["skipped"] == {"nonfinite": 2, "spikes": 0, "norms": []}
    assert [line["skipped"]["nonfinite"] for line in lines(run)] == [1, 1, 1, 2, 2, 2]
    assert all(line["loss"] is not None for line in lines(run))
    assert all(tensor.isfinite().all() for tensor in tensors(run).values())


def test_a_skipped_step_changes_neither_weights_nor_average_nor_optimiser(tiny_store, tiny_spec, tmp_path, poisoned):
    poisoned(float("inf"), steps=(4,))
    spec = tiny_spec.model_copy(update={"skip_nonfinite": 1})
    before, after = RunDir(tmp_path / "before"), RunDir(tmp_path / "after")
    run_training(before, spec, tiny_store, StopRule(step=4))
    run_training(after, spec, tiny_store, StopRule(step=5))
    for name in ("model", "ema", "optimizer"):
        assert (before.state(4) / f"{name}.safetensors").read_bytes() == (
            after.state(5) / f"{name}.safetensors"
        ).read_bytes()
    last = lines(after)[-1]
    assert (last["step"], last["loss"], last["skipped"]["nonfinite"]) == (5, None, 1)


@pytest.mark.parametrize(("factor", "options"), [(float("nan"), {"skip_nonfinite": 5}), (1e4, {"skip_spikes": 20.0})])
def test_resuming_is_bitwise_with_skipped_steps(tiny_store, tiny_spec, tmp_path, poisoned, caplog, factor, options):
    poisoned(factor, steps=(18, 21))
    whole, parts = RunDir(tmp_path / "whole"), RunDir(tmp_path / "parts")
    every = tiny_spec.every.model_copy(update={"samples": 0})  # grids cost more than training; test_training has them
    spec = RunSpec.model_validate(tiny_spec.model_dump() | options | {"steps": 24, "every": every.model_dump()})
    run_training(whole, spec, tiny_store)
    for stop in (StopRule(step=8), StopRule(step=20), StopRule()):
        run_training(parts, spec, tiny_store, stop)
    assert any("resuming" in line and "skipped so far: 1 " in line for line in caplog.messages)
    assert state(whole)["skipped"] == state(parts)["skipped"]
    assert sum(state(whole)["skipped"][kind] for kind in ("nonfinite", "spikes")) == 2
    for kind in ("raw", "ema"):
        ours, theirs = tensors(whole, kind), tensors(parts, kind)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert without_time(whole)[-1] == without_time(parts)[-1]


def test_training_stops_above_the_limit_and_resumes_with_a_higher_one(tiny_store, tiny_spec, tmp_path, poisoned):
    poisoned(float("nan"), steps=(2, 6, 9))
    run, whole = RunDir(tmp_path / "run"), RunDir(tmp_path / "whole")
    limited = tiny_spec.model_copy(update={"skip_nonfinite": 1})
    with pytest.raises(NonFiniteError, match=r"step 7: .*, after 1 skipped steps; .*step-0000004.*--skip-nonfinite"):
        run_training(run, limited, tiny_store)
    more = tiny_spec.model_copy(update={"skip_nonfinite": 3})
    assert run_training(run, more, tiny_store).step == 12
    run_training(whole, more, tiny_store)
    ours, theirs = tensors(run), tensors(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(RunError, match="skip_spikes: None -> 9"):
        run_training(run, more.model_copy(update={"skip_spikes": 9.0}), tiny_store)


def test_a_spike_is_relative_to_the_median_and_a_new_level_is_accepted():
    spec, now = RunSpec(skip_spikes=10.0, skip_nonfinite=99), Skipped()
    for step in range(FEWEST):  # nothing is a spike before there is something to compare with
        verdict, now = now.decide(spec, 1e6 if step == 3 else 1.0)
        assert verdict == "train"
    verdicts = []
    for norm in (9.9, 10.1, float("inf"), float("nan"), 1.0):
        verdict, now = now.decide(spec, norm)
        verdicts.append(verdict)
    assert verdicts == ["train", "spike", "nonfinite", "nonfinite", "train"]
    assert (now.nonfinite, now.spikes) == (2, 1)
    assert str(now) == "2 with a non-finite loss or gradient and 1 spikes of the gradient norm"
    for _ in range(WINDOW):
        verdict, now = now.decide(spec, 100.0)
    assert verdict == "train"
    assert len(now.norms) == WINDOW
    assert now.spikes < 1 + WINDOW // 2 + 2
    assert Skipped.model_validate_json(now.model_dump_json()) == now


@pytest.mark.slow
def test_all_processes_skip_the_same_steps(tiny_store, tiny_spec, tmp_path):
    """The loss is NaN in one of two processes; both skip, and both stop at the limit."""
    script = tmp_path / "two.py"
    script.write_text(TWO.format(store=str(tiny_store.root), run=str(tmp_path / "run")))
    (tmp_path / "spec.json").write_text(
        tiny_spec.model_copy(update={"devices": 2, "skip_nonfinite": 1}).model_dump_json()
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "spec.json")],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = done.stdout.splitlines()  # one rank reports the error, the other its own end
    assert sorted(line.split()[0] for line in lines if "is not finite" in line or "gradient" in line) == [
        "OtherRankError",
        "NonFiniteError",
    ], done.stdout + done.stderr
    assert state(RunDir(tmp_path / "run"))["skipped"]["nonfinite"] == 1


TWO = """
import sys
from pathlib import Path
from taildiff.data.store import Store
from taildiff.errors import OtherRankError, NonFiniteError
from taildiff.objectives.objective import Objective, StepLoss
from taildiff.run.layout import RunDir
from taildiff.io.json_files import read_json
from taildiff.spec import RunSpec, parse
from taildiff.training import loop, session
forward, step = Objective.forward, loop._step
now = []
def watched(t, batch, number, lr):
    now.append((number, t.engine.rank))
    return step(t, batch, number, lr)
def spoilt(self, denoiser, batch, draws):
    loss = forward(self, denoiser, batch, draws)
    return StepLoss(loss.total + float("nan"), loss.per_sample) if now[-1] in ((2, 1), (9, 0)) else loss
loop._step, Objective.forward = watched, spoilt
try:
    spec = parse(RunSpec, read_json(Path(sys.argv[1])))
    session.run_training(RunDir(Path({run!r})), spec, Store.open({store!r}))
except (OtherRankError, NonFiniteError) as error:
    print(type(error).__name__, error, flush=True)
    assert isinstance(error.__cause__ or error, NonFiniteError)
"""
