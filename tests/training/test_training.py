"""Runs: bitwise resuming, stopping, the files written, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from taildiff.errors import CheckpointError, NonFiniteError, RunError
from taildiff.run.layout import RunDir
from taildiff.run.weights import read_weights
from taildiff.sampling.generate import generate, load_model
from taildiff.spec import EMASpec, SamplingSpec
from taildiff.training.request import StopRule
from taildiff.training.session import run_training


def weights(run, kind="ema"):
    return read_weights(run.weights(run.weight_steps(kind)[-1], kind))[0]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def lines(run):
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def without_time(logged):
    return [{key: value for key, value in line.items() if key not in ("seconds", "waiting", "crc")} for line in logged]


def test_the_files_of_a_run(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    outcome = run_training(run, tiny_spec, tiny_store)
    assert (outcome.step, outcome.reason) == (12, "finished")
    files = {str(path.relative_to(run.root)) for path in run.root.rglob("*") if path.is_file()}
    state = {f"state/step-{s:07d}/{f}" for s in (8, 12) for f in STATE_FILES}
    kept = {f"weights/{kind}-{s:07d}.safetensors" for s in (8, 12) for kind in ("ema", "raw")}
    assert files == {
        "run.json",
        "split.json",
        "metrics.jsonl",
        "samples/step-0000006.png",
        "samples/step-0000012.png",
    } | (state | kept)
    info = run.info()
    assert info.store.hash == tiny_store.meta.hash
    assert info.spec == tiny_spec
    assert info.versions["torch"] == torch.__version__


STATE_FILES = ("model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json")


def test_metrics_hold_terms_levels_and_groups(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store)
    found = lines(run)
    assert [line["step"] for line in found] == [3, 4, 6, 8, 9, 12]  # every third, and at each checkpoint
    assert [line["images"] for line in found] == [8 * line["step"] for line in found]
    last = found[-1]
    assert set(last["terms"]) == {"denoising", "ucl", "al"}
    assert len(last["by_noise"]["ucl"]) == 4
    assert set(last["by_group"]["al"]) == {"head", "body", "tail"}
    assert last["loss"] == pytest.approx(sum(last["weighted"].values()), rel=1e-6)
    assert last["weighted"]["ucl"] == pytest.approx(0.2 * last["terms"]["ucl"], rel=1e-5)
    assert 0 < last["seconds"] < 60


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_resuming_equals_never_having_stopped(tiny_store, tiny_spec, tmp_path, cut):
    tiny_spec = tiny_spec.model_copy(update={"ema": EMASpec(decay=0.9, every=3 if cut == 7 else 1)})
    whole, parts = RunDir(tmp_path / "whole"), RunDir(tmp_path / "parts")
    run_training(whole, tiny_spec, tiny_store)
    assert run_training(parts, tiny_spec, tiny_store, StopRule(step=cut)).reason == "stop-at"
    assert parts.checkpoint_steps()[-1] == cut
    run_training(parts, tiny_spec, tiny_store, StopRule(seconds=0.0))  # one step further
    assert parts.checkpoint_steps()[-1] == cut + 1
    run_training(parts, tiny_spec, tiny_store)
    for kind in ("ema", "raw"):
        assert same(weights(whole, kind), weights(parts, kind))
    assert without_time(lines(whole))[-1]["step"] == without_time(lines(parts))[-1]["step"]


def test_damaged_and_lost_checkpoints_are_ignored(tiny_store, tiny_spec, tmp_path, caplog):
    whole, hurt = RunDir(tmp_path / "whole"), RunDir(tmp_path / "hurt")
    run_training(whole, tiny_spec, tiny_store)
    run_training(hurt, tiny_spec, tiny_store, StopRule(step=9))
    caplog.clear()
    newest = hurt.state(9) / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    with hurt.metrics.open("a") as file:
        file.write('{"step": 99, "torn')
    run_training(hurt, tiny_spec, tiny_store)
    messages = caplog.messages
    assert "ignored a damaged checkpoint" in messages[0]
    assert "step-0000009/model.safetensors is damaged" in messages[0]
    assert "after step 8" in messages[1]
    assert same(weights(whole), weights(hurt))
    assert without_time(lines(whole)) == without_time(lines(hurt))


def test_no_intact_checkpoint_is_an_error_that_loses_nothing(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store, StopRule(step=2))
    (run.state(2) / "state.json").write_text("{}")
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints"):
        run_training(run, tiny_spec, tiny_store)
    assert (run.state(2) / "model.safetensors").exists()


@pytest.mark.parametrize(("fast", "chosen"), [(True, "bf16-mixed"), (False, "32-true")])
def test_automatic_precision_follows_the_device_once(tiny_store, tiny_spec, tmp_path, monkeypatch, fast, chosen):
    """A resumed run keeps its precision, also on a machine that would choose another."""
    run, spec = RunDir(tmp_path / "run"), tiny_spec.model_copy(update={"precision": "auto"})
    monkeypatch.setattr("taildiff.engine.has_bf16", lambda device: fast)
    run_training(run, spec, tiny_store, StopRule(step=1))
    monkeypatch.setattr("taildiff.engine.has_bf16", lambda device: not fast)
    assert run_training(run, spec, tiny_store, StopRule(step=2)).step == 2
    assert run.info().spec.precision == read_weights(run.weights(2))[1].spec.precision == chosen


def test_another_run_is_refused_field_by_field(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store, StopRule(step=1))
    other = tiny_spec.model_copy(
        update={"seed": 5, "every": tiny_spec.every.model_copy(update={"log": 1, "save": 2}), "steps": 20}
    )
    with pytest.raises(RunError, match=r"seed: 0 -> 5") as caught:
        run_training(run, other, tiny_store)
    assert "every" not in str(caught.value)
    assert "steps" not in str(caught.value)  # the schedule is constant
    longer = tiny_spec.model_copy(update={"steps": 13})
    assert run_training(run, longer, tiny_store).step == 13
    cosine = tiny_spec.model_copy(update={"optimizer": tiny_spec.optimizer.model_copy(update={"schedule": "cosine"})})
    second = RunDir(tmp_path / "second")
    run_training(second, cosine, tiny_store, StopRule(step=1))
    with pytest.raises(RunError, match=r"steps: 12 -> 13"):
        run_training(second, cosine.model_copy(update={"steps": 13}), tiny_store)


def test_another_store_is_refused(tiny_store, tiny_spec, tmp_path, make_store):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store, StopRule(step=1))
    with pytest.raises(RunError, match="another store"):
        run_training(run, tiny_spec, make_store(tmp_path / "other", seed=9))


def test_a_nonfinite_loss_names_step_term_and_checkpoint(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    wild = tiny_spec.model_copy(update={"optimizer": tiny_spec.optimizer.model_copy(update={"lr": 1e25, "clip": None})})
    run_training(run, wild, tiny_store, StopRule(step=1))
    with pytest.raises(NonFiniteError, match=r"step \d+: term 'denoising' is not finite.*step-0000001") as caught:
        run_training(run, wild, tiny_store)
    assert "Lower --optimizer.lr" in str(caught.value)
    assert run.checkpoint_steps() == [1]


def test_a_signal_saves_and_stops(tiny_store, tiny_spec, tmp_path):
    run, before = RunDir(tmp_path / "run"), signal.getsignal(signal.SIGINT)
    long = tiny_spec.model_copy(update={"steps": 100_000})

    def interrupt():
        while not run.metrics.exists() or run.metrics.stat().st_size == 0:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    outcome = run_training(run, long, tiny_store)
    assert (outcome.reason, outcome.signal) == ("signal", signal.SIGINT)
    assert run.checkpoint_steps()[-1] == outcome.step
    assert signal.getsignal(signal.SIGINT) is before


def test_sigkill_then_resume_equals_never_having_stopped(tiny_store, tiny_spec, tmp_path):
    whole, killed = RunDir(tmp_path / "whole"), RunDir(tmp_path / "killed")
    spec = tiny_spec.model_copy(update={"steps": 40, "every": tiny_spec.every.model_copy(update={"samples": 0})})
    run_training(whole, spec, tiny_store)
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    command = [sys.executable, "-m", "taildiff", "train", str(tmp_path / "spec.json")]
    command += ["--data", str(tiny_store.root), "--out", str(killed.root)]
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    while process.poll() is None and not killed.checkpoint_steps():
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert killed.checkpoint_steps(), (tmp_path / "output").read_text()
    outcome = run_training(killed, spec, tiny_store)
    assert outcome.step == 40
    assert same(weights(whole, "raw"), weights(killed, "raw"))
    assert without_time(lines(whole)) == without_time(lines(killed))


def test_fine_tuning_starts_from_the_given_weights(tiny_store, tiny_spec, tmp_path):
    first, second = RunDir(tmp_path / "first"), RunDir(tmp_path / "second")
    run_training(first, tiny_spec, tiny_store)
    frozen = tiny_spec.model_copy(update={"optimizer": tiny_spec.optimizer.model_copy(update={"lr": 1e-30})})
    run_training(second, frozen, tiny_store, StopRule(step=1), start_from=first.weights(12))
    assert same(weights(first), weights(second, "raw"))
    with pytest.raises(RunError, match="--from starts a new run"):
        run_training(second, frozen, tiny_store, start_from=first.weights(8))
    with pytest.raises(CheckpointError, match="does not exist"):
        run_training(RunDir(tmp_path / "third"), frozen, tiny_store, start_from=tmp_path / "no.safetensors")


def test_images_do_not_depend_on_the_batch_they_are_drawn_in(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store)
    model = load_model(run)
    labels = np.array([0, 1, 2, 0, 1, 2, 2])
    for sampler in ("heun", "ancestral"):
        sampling = SamplingSpec(sampler=sampler, steps=4)
        together = generate(model, labels, sampling, 2.0).astype(int)
        alone = generate(model, labels, sampling, 2.0, batch_size=1).astype(int)
        assert np.abs(together - alone).max() <= 1
        second_of_two = generate(model, np.array([2, 2]), sampling, 2.0).astype(int)
        assert np.abs(second_of_two[1] - together[5]).max() <= 1
        assert np.abs(together[0] - together[3]).max() > 1  # two images of one class are two images
    with pytest.raises(ValueError, match=r"labels are 0\.\.2, not 3\.\.3"):
        generate(model, np.array([3]), SamplingSpec(), 1.0)


def test_a_missing_run_says_how_to_train_one(tmp_path):
    with pytest.raises(RunError, match=r"not a run.*taildiff train"):
        load_model(RunDir(tmp_path))
    assert not list(tmp_path.iterdir())
