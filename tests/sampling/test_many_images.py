"""Many images: several processes give those of one, and a killed `sample` goes on."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cli.calls import call, said, tree
from evaluation import tiny
from taildiff.run.layout import EvalDir, RunDir

FAST = ("--sampler", "flow-sde", "--steps", "3", "--batch-size", "4", "--guidance", "1.5")
LAUNCHERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    root = tmp_path_factory.mktemp("many")
    store = tiny.make_store(root / "store", (30, 30, 30), (9, 9, 9))
    return tiny.make_run(root / "run", store)


def taildiff(*words: object) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHERS}
    command = [sys.executable, "-m", "taildiff", *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment | {"OMP_NUM_THREADS": "1"})


def finished(process: subprocess.Popen[str], code: int = 0) -> str:
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, out + err
    return out + err


def arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as archive:
        return archive["images"], archive["labels"]


def test_the_rate_is_printed(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert call("sample", run.root, *FAST, "--per-class", 2, "--out", tmp_path / "x") == 0
    assert re.search(r"sampled 6 images at guidance 1\.5, [\d.e+]+ images/s", said(capsys))


def test_devices_must_make_sense(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert call("sample", run.root, "--devices", 0, "--out", tmp_path / "x") == 2
    assert "--devices must be at least 1, not 0" in said(capsys)
    (tmp_path / "images" / "left").mkdir(parents=True)
    assert call("evaluate", tmp_path / "images", "--devices", 2, "--data", run.root) == 2
    assert "--devices does not apply to images from elsewhere" in said(capsys)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 3])
def test_several_processes_sample_the_images_of_one(run: RunDir, tmp_path: Path, devices: int):
    """7 images per class in batches of 4: the last round has fewer batches than processes."""
    command = ("sample", run.root, *FAST, "--per-class", 7, "--format", "npz", "--out")
    one, several = tmp_path / "one.npz", tmp_path / "several.npz"
    finished(taildiff(*command, one))
    text = finished(taildiff(*command, several, "--devices", devices))
    assert text.count("21 images at guidance 1.5 in") == 1
    for a, b in zip(arrays(one), arrays(several), strict=True):
        assert np.array_equal(a, b)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "several.npz"]


@pytest.mark.slow
def test_an_evaluation_by_two_processes_is_that_of_one(run: RunDir, tmp_path: Path):
    command = ("evaluate", run.root, "--sampler", "euler", "--steps", 2, "--per-class", 20, "--guidance", "1,2")
    finished(taildiff(*command, "--metrics", "frechet"))
    [folder] = run.evals.glob("domain-*")
    before = {name: (folder / name).read_bytes() for name in ("table.csv",)}
    kept = {path.name: arrays(path)[0] for path in folder.glob("images-*.npz")}
    folder.rename(tmp_path / "one")
    text = finished(taildiff(*command, "--metrics", "frechet", "--devices", 2))
    assert text.count("table:") == 1
    assert {path.name for path in folder.glob("*.npz")} >= set(kept)
    for name, images in kept.items():
        assert np.array_equal(arrays(folder / name)[0], images)
    assert (folder / "table.csv").read_bytes() == before["table.csv"]
    assert EvalDir(folder).table_json.exists()
    assert "table:" in finished(taildiff(*command, "--metrics", "frechet", "--devices", 2))  # finished already


@pytest.mark.slow
def test_an_error_is_reported_once(run: RunDir, tmp_path: Path):
    text = finished(
        taildiff("sample", run.root, "--devices", 2, "--guidance-by-class", "x=2", "--out", tmp_path / "x"), 2
    )
    assert text.count("unknown class 'x'") == 1
    assert "Traceback" not in text


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("form", ["png", "npz"])
def test_a_killed_sample_goes_on(run: RunDir, tmp_path: Path, devices: int, form: str):
    """Killed at random moments until one attempt ends; the result is that of a run that was never killed."""
    command = ("sample", run.root, *FAST, "--per-class", 40, "--format", form, "--devices", devices, "--out")
    whole, killed = tmp_path / f"whole.{form}", tmp_path / f"killed.{form}"
    began = time.monotonic()
    finished(taildiff(*command, whole))
    duration, draw = time.monotonic() - began, random.Random(devices)
    for _ in range(4):
        process = taildiff(*command, killed)
        try:
            process.communicate(timeout=draw.uniform(0.3, 1.0) * duration)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            time.sleep(4)  # the other process ends when it finds rank zero gone
            if killed.exists():
                break
    if process.returncode:  # killed at the very end, all is there: the command says so, and removes the lock
        finished(taildiff(*command, killed), 2 if killed.exists() else 0)
    if form == "npz":
        assert all(np.array_equal(a, b) for a, b in zip(arrays(whole), arrays(killed), strict=True))
    else:
        names = [name for name in tree(whole) if name.endswith(".png")]
        assert set(tree(whole)) == set(tree(killed))  # the times differ
        assert all((whole / name).read_bytes() == (killed / name).read_bytes() for name in names)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
