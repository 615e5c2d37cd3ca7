"""Training whose terminal closes, whose folder vanishes, whose weights diverge, or that resumes with other threads."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from taildiff.api import progress
from taildiff.errors import CheckpointError, NonFiniteError, RunError
from taildiff.run.layout import RunDir
from taildiff.run.weights import read_weights, write_weights
from taildiff.sampling.generate import load_model
from taildiff.training import checkpoint, loop
from taildiff.training.request import StopRule
from taildiff.training.session import run_training


def changed(spec, part, **fields):
    return spec.model_copy(update={part: getattr(spec, part).model_copy(update=fields)})


def endless(tmp_path, spec, store, run):
    """The command of a training that only a signal ends."""
    spec = changed(spec.model_copy(update={"steps": 10**6}), "every", save=0, samples=0, log=1)
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    command = [sys.executable, "-m", "taildiff", "train", str(tmp_path / "spec.json")]
    return [*command, "--data", str(store.root), "--out", str(run.root)]


def begun(run, ended):
    """Wait for the first logged step."""
    while not ended() and not (run.metrics.exists() and run.metrics.stat().st_size):
        time.sleep(0.01)


def test_sighup_saves_and_exits_with_129(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    process = subprocess.Popen(
        endless(tmp_path, tiny_spec, tiny_store, run), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    begun(run, lambda: process.poll() is not None)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)  # shell and system both send one
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 129, output
    assert "saved" in output
    assert run.weight_steps() == run.checkpoint_steps() != []


@pytest.mark.slow  # starts a process; test_sighup_… does so in every run
def test_a_closed_terminal_saves_and_exits_with_129(tiny_store, tiny_spec, tmp_path):
    """Every later write to it fails."""
    run = RunDir(tmp_path / "run")
    command = endless(tmp_path, tiny_spec, tiny_store, run)
    process, terminal = pty.fork()
    if not process:
        os.execv(command[0], command)
    os.set_blocking(terminal, False)
    begun(run, lambda: os.waitpid(process, os.WNOHANG)[0] != 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 129
    assert run.weight_steps() == run.checkpoint_steps() != []


@pytest.mark.slow  # starts a process; test_sighup_… does so in every run
def test_output_that_nobody_reads_any_more_does_not_end_training(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    process = subprocess.Popen(
        endless(tmp_path, tiny_spec, tiny_store, run), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    begun(run, lambda: process.poll() is not None)
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert run.weight_steps() == run.checkpoint_steps() != []


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with loop.Interrupts().watching():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_progress_survives_a_stream_that_is_gone(monkeypatch):
    class Gone:
        def write(self, _):
            raise OSError(5, "Input/output error")

        def isatty(self):
            return False

        def fileno(self):
            raise ValueError

    monkeypatch.setattr(sys, "stderr", Gone())
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    with progress.progress_bar() as report:
        report("training", 1, 3)
        report("training", 3, 3)


@pytest.mark.parametrize("how", ["removed", "moved", "replaced", "without run.json"])
def test_a_folder_that_vanishes_is_an_error_and_not_begun_again(tiny_store, tiny_spec, tmp_path, how):
    run, kept = RunDir(tmp_path / "run"), tmp_path / "kept"

    def vanish(_stage, step, _steps):
        if step == 5:
            if how == "without run.json":
                run.spec.unlink()
            elif how == "removed":
                shutil.rmtree(run.root)
            else:
                run.root.rename(kept)
            if how == "replaced":
                shutil.copytree(kept, run.root)

    with pytest.raises(RunError, match=r"run was removed, moved or replaced while it was trained.*after step [68]"):
        run_training(run, tiny_spec, tiny_store, progress=vanish)
    if how in ("removed", "moved"):
        assert not run.root.exists()
    if how == "moved":
        kept.rename(run.root)
        assert run_training(run, tiny_spec, tiny_store).reason == "finished"
    if how == "replaced":
        assert run.checkpoint_steps() == [4]


def test_weights_that_diverged_are_not_saved(tiny_store, tiny_spec, tmp_path, monkeypatch):
    run, step = RunDir(tmp_path / "run"), loop._step

    def diverge(t, batch, number, lr):
        done = step(t, batch, number, lr)
        if number == 7:
            next(iter(t.trainable.learner.parameters())).data.view(-1)[0] = float("inf")
        return done

    monkeypatch.setattr(loop, "_step", diverge)
    with pytest.raises(NonFiniteError, match=r"step 8: weights are NaN or infinite \(.*step-0000004\. Lower --opt"):
        run_training(run, changed(tiny_spec, "every", samples=0), tiny_store)
    assert run.checkpoint_steps() == run.weight_steps() == [4]


@pytest.mark.parametrize(
    ("file", "value"), [("model", float("nan")), ("ema", float("inf")), ("optimizer", float("nan"))]
)
def test_a_checkpoint_that_is_not_finite_is_passed_over(
    tiny_store, tiny_spec, tmp_path, monkeypatch, caplog, file, value
):
    """As an older version may have saved it."""
    run, tensors = RunDir(tmp_path / "run"), checkpoint.Trainable.tensors
    run_training(run, tiny_spec, tiny_store, StopRule(step=4))

    def spoiled(self):
        values = tensors(self)
        name = next(name for name, tensor in values[file].items() if tensor.ndim)
        values[file][name] = torch.full_like(values[file][name], value)
        return values

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Trainable, "tensors", spoiled)
        run_training(run, tiny_spec, tiny_store, StopRule(step=8))
    run_training(run, tiny_spec, tiny_store)
    assert any("step-0000008" in text and f"{file}.safetensors has weights that are NaN or inf" in text
               for text in caplog.messages)  # fmt: skip
    assert run.checkpoint_steps()[-1] == 12


@pytest.mark.parametrize("kind", ["ema", "raw"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_not_sampled_from(tiny_store, tiny_spec, tmp_path, kind, value):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store, StopRule(step=1))
    tensors, meta = read_weights(run.weights(1, kind))
    next(iter(tensors.values())).view(-1)[0] = value
    write_weights(run.weights(1, kind), tensors, meta)
    with pytest.raises(CheckpointError, match=rf"{kind}-0000001.* NaN or infinite .*Use weights of an earlier step"):
        load_model(run, kind)


def test_another_number_of_threads_is_reported(tiny_store, tiny_spec, tmp_path, monkeypatch, caplog):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store, StopRule(step=1))
    run_training(run, tiny_spec, tiny_store, StopRule(step=2))
    assert not any("this one" in text for text in caplog.messages)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    run_training(run, tiny_spec, tiny_store, StopRule(step=3))
    assert any("used 1 threads, this one 7: from here on results are not bitwise" in text for text in caplog.messages)
