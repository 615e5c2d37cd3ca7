"""One process at a time holds a lock; readers need none."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from taildiff.errors import RunError
from taildiff.io import lock
from taildiff.io.lock import locked, waiting
from taildiff.run.layout import RunDir
from taildiff.sampling.generate import generate, load_model
from taildiff.spec import SamplingSpec
from taildiff.training.request import StopRule
from taildiff.training.session import run_training

HOLD = """
import sys, time
from pathlib import Path
from taildiff.io.lock import locked, waiting
with locked(Path(sys.argv[1]), RuntimeError):
    print("held", flush=True)
    time.sleep(60)
"""


def holding(run):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run.lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def busy(holder):
    return RunError(f"held by {holder}")


def test_the_second_process_is_rejected_with_the_holders_name(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    first = holding(run)
    try:
        begun = time.monotonic()
        with pytest.raises(RunError, match=rf"is being trained by process {first.pid} on \S+; wait until it ends"):
            run_training(run, tiny_spec, tiny_store)
        assert time.monotonic() - begun < 5
        assert not run.spec.exists()
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    assert run.lock.exists()  # a killed process leaves the file, and the system takes back the lock
    assert run_training(run, tiny_spec, tiny_store, StopRule(step=1)).step == 1
    assert not run.lock.exists()


def test_a_thread_of_the_same_process_is_a_second_one_too(tmp_path):
    run = RunDir(tmp_path / "run")
    with locked(run.lock, busy), pytest.raises(RunError, match=f"process {os.getpid()} on "), locked(run.lock, busy):
        pass
    assert not run.root.exists()


def test_one_of_many_threads_holds_the_lock_at_a_time(tmp_path):
    run, inside, most, got = RunDir(tmp_path / "a" / "run"), [], [], []

    def work():
        for _ in range(60):
            try:
                with locked(run.lock, busy):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.0002)
                    inside.pop()
                    got.append(1)
            except RunError:
                time.sleep(0.0001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(got) > 20
    assert not run.lock.exists()


def test_without_locks_a_warning_is_logged(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    run = RunDir(tmp_path / "run")
    with locked(run.lock, busy):
        assert f"{run.root} cannot be locked on this file system" in caplog.text
        assert not run.lock.exists()
    monkeypatch.setattr(lock, "fcntl", None)  # Windows
    with locked(run.lock, busy):
        assert len(caplog.records) == 2
    assert not run.root.exists()


def test_reading_a_run_in_training(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store, StopRule(step=4))
    with locked(run.lock, busy):
        model = load_model(run)
        assert generate(model, np.array([0]), SamplingSpec(steps=2), 1.0).shape == (1, 8, 8, 1)
        assert run.info().spec == tiny_spec


def test_weights_that_are_replaced_while_they_are_looked_for(tiny_store, tiny_spec, tmp_path, monkeypatch):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store, StopRule(step=8))
    steps = RunDir.weight_steps
    seen = []

    def slow(self, kind="ema"):
        found = steps(self, kind)
        if not seen:  # between listing and reading, training removes what was listed
            seen.append(self.weights(found[-1], kind).rename(self.weights(found[-1] + 1, kind)))
        return found

    monkeypatch.setattr(RunDir, "weight_steps", slow)
    assert load_model(run).step == 8


def test_the_second_waits_for_the_first_and_says_for_whom(tmp_path, caplog):
    path, order = tmp_path / ".lock", []

    def second():
        with waiting(path, "writes a table"):
            order.append("second")

    with waiting(path, "writes a table"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    waited = [line for line in caplog.messages if line.startswith("waiting for ")]
    assert waited == [f"waiting for process {os.getpid()} on {socket.gethostname()}, which writes a table"]
    assert not path.exists()


def test_ctrl_c_ends_the_waiting(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(lock.time, "sleep", interrupt)
    with waiting(tmp_path / ".lock", "works"), pytest.raises(KeyboardInterrupt), waiting(tmp_path / ".lock", "works"):
        pass


def test_where_no_lock_can_be_made_there_is_none(tmp_path):
    (tmp_path / "file").touch()
    with waiting(tmp_path / "file" / ".lock", "works"):
        pass
    with pytest.raises(OSError, match="of the block"), waiting(tmp_path / ".lock", "works"):
        raise OSError("of the block")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
