"""A full or read-only disk: the last good checkpoint stays, and training resumes from it."""

import errno
import json
import os
import subprocess

import pytest
import torch

from taildiff.cli.main import main
from taildiff.errors import CheckpointError
from taildiff.run.layout import RunDir
from taildiff.run.weights import read_weights
from taildiff.spec import IntervalSpec
from taildiff.training import checkpoint
from taildiff.training.request import StopRule
from taildiff.training.session import run_training


def without_time(path):
    lines = map(json.loads, path.read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in ("seconds", "waiting", "crc")} for line in lines]


def same_end(whole, run):
    for kind in ("raw", "ema"):
        ours, theirs = (read_weights(r.weights(12, kind))[0] for r in (whole, run))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    ours, theirs = (without_time(r.metrics) for r in (whole, run))
    assert ours == theirs


@pytest.fixture
def quick(tiny_spec):
    return tiny_spec.model_copy(update={"every": tiny_spec.every.model_copy(update={"samples": 0})})


@pytest.fixture
def whole(tiny_store, quick, tmp_path):
    """The undisturbed run."""
    run = RunDir(tmp_path / "whole")
    run_training(run, quick, tiny_store)
    return run


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of some kilobytes: small_disk(300) -> path, and a function that remounts it with options."""
    mounted = []

    def make(kilobytes):
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
        if os.name != "posix" or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a small file system cannot be mounted here (that takes root)")
        mounted.append(place)
        return place, lambda options: subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)

    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_costs_nothing_but_the_steps_since_the_last_checkpoint(
    tiny_store, quick, whole, tmp_path, small_disk, capsys
):
    needed = sum(path.stat().st_size for path in whole.root.rglob("*") if path.is_file()) // 1024
    (tmp_path / "spec.json").write_text(quick.model_dump_json())
    failed = []
    for part in (0.05, 0.4, 0.6, 0.9):  # each fails at another file
        place, change = small_disk(int(part * needed))
        run = RunDir(place / "run")
        command = ["train", str(tmp_path / "spec.json"), "--data", str(tiny_store.root), "--out", str(run.root)]
        code, output = main(command), "".join("".join(capsys.readouterr()).split())
        assert code == 2, output
        assert str(run.root) in output
        assert "Nospaceleftondevice.Freesomespace" in output
        failed.append(output)
        assert not [path for path in run.root.rglob(".*") if path.name != ".lock"]
        for step in run.checkpoint_steps():
            checkpoint.read_position(run.state(step))
        for kind in ("ema", "raw"):
            for step in run.weight_steps(kind):
                read_weights(run.weights(step, kind))
        change("size=64m")
        assert main(command) == 0
        same_end(whole, run)
        assert not run.lock.exists()
    assert len(set(failed)) > 2


def test_a_file_system_that_becomes_read_only(tiny_store, quick, whole, tmp_path, small_disk):
    place, change = small_disk(4096)
    run = RunDir(tmp_path / "run")
    run.root.mkdir()
    run.states.symlink_to(place)

    def protect(_stage, step, _steps):
        if step == 6:
            change("ro")

    with pytest.raises(OSError, match="Read-only file system") as caught:
        run_training(run, quick, tiny_store, progress=protect)
    assert caught.value.filename == str(run.state(8))
    assert run.checkpoint_steps() == [4]
    with pytest.raises(OSError, match="Read-only file system"):
        run_training(run, quick, tiny_store)
    change("rw")
    run_training(run, quick, tiny_store)
    same_end(whole, run)


@pytest.mark.parametrize(("call", "number"), [("fsync", 1), ("fsync", 7), ("fsync", 12), ("rename", 2), ("replace", 4)])
def test_any_system_call_of_saving_may_fail(tiny_store, quick, whole, tmp_path, monkeypatch, call, number):
    """The n-th call fails, and all later ones of its kind."""
    run = RunDir(tmp_path / "run")
    count = 0

    def failing(original):
        def wrapped(*args, **options):
            nonlocal count
            count += 1
            if count >= number:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return original(*args, **options)

        return wrapped

    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(os, "fsync", failing(os.fsync))
        else:
            patch.setattr(checkpoint.Path, call, failing(getattr(checkpoint.Path, call)))
        with pytest.raises(OSError, match="Input/output error") as caught:
            run_training(run, quick, tiny_store)
    assert str(run.root) in str(caught.value.filename)
    assert run_training(run, quick, tiny_store).step == 12
    same_end(whole, run)


def test_leftovers_of_a_killed_process_are_removed(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store, StopRule(step=4))
    left = [run.root / ".run.json.77.tmp", run.weights_dir / ".ema-0000008.safetensors.77.tmp"]
    for path in left:
        path.write_bytes(b"half")
    half = run.states / ".step-0000008.tmp"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    run_training(run, tiny_spec, tiny_store, StopRule(step=5))
    assert not [path for path in (*left, half) if path.exists()]


def test_an_edited_state_is_refused(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store, StopRule(step=4))
    path = run.state(4) / "state.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values))  # other spaces, the same content
    assert checkpoint.read_position(run.state(4)).step == 4
    path.write_text(json.dumps(values | {"images": 31}))
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.read_position(run.state(4))
    path.write_text(json.dumps({k: v for k, v in values.items() if k != "sha256"}))
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.read_position(run.state(4))
    path.write_text(json.dumps(values))
    run.state(4).rename(run.state(5))
    with pytest.raises(CheckpointError, match="is of step 4"):
        checkpoint.read_position(run.state(5))


def test_a_grid_that_a_kill_prevented_is_drawn_when_training_resumes(tiny_store, tiny_spec, tmp_path):
    spec = tiny_spec.model_copy(update={"every": IntervalSpec(log=3, samples=4, save=4, keep=2)})
    whole, run = RunDir(tmp_path / "whole"), RunDir(tmp_path / "run")
    run_training(whole, spec, tiny_store, StopRule(step=8))
    run_training(run, spec, tiny_store, StopRule(step=4))
    run.sample_grid(4).unlink()  # as after a kill between the checkpoint and the grid
    run_training(run, spec, tiny_store, StopRule(step=8))
    for step in (4, 8):
        assert run.sample_grid(step).read_bytes() == whole.sample_grid(step).read_bytes()
