"""`taildiff` itself: help at once, and every mistake as one message with exit code 2."""

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cli.calls import call, said, tree
from evaluation import tiny
from taildiff import __version__
from taildiff.cli.main import VERBS
from taildiff.run.layout import RunDir


def test_help_takes_under_a_second_of_computing():
    seconds: list[float] = []
    for _ in range(3):  # the first call may compile modules
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "taildiff", "--help"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert all(verb in done.stdout for verb in VERBS)
        if seconds[-1] < 1:
            break
    assert min(seconds) < 1


def test_no_help_imports_torch():
    calls = [["--help"], ["--help-all"], ["--version"], ["recipes"], ["train", "auto-ccua", "--help"]]
    calls += [["data", "prepare", "--help"]]
    calls += [[verb, "--help"] for verb in VERBS]
    code = f"""
import sys
from taildiff.cli.main import main
for args in {calls!r}:
    try:
        code = main(args)
    except SystemExit as stop:
        code = stop.code or 0
    assert code == 0, (args, code)
    assert "torch" not in sys.modules, args
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_version(capsys: pytest.CaptureFixture[str]):
    assert call("--version") == 0
    assert said(capsys) == f"taildiff {__version__}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, a run, folders of photos, and damaged ones of each."""
    root = tmp_path_factory.mktemp("world")
    store = tiny.make_store(root / "store", (40, 40, 40))
    run = tiny.make_run(root / "run", store)
    info = json.loads(run.spec.read_text())
    for name, content in [
        ("run-list", []),
        ("run-null", info | {"store": None}),
        ("run-bare", {"spec": info["spec"]}),
        ("run-old", info | {"spec": info["spec"] | {"sped": 1}}),
    ]:
        (root / name).mkdir()
        RunDir(root / name).spec.write_text(json.dumps(content))
    (root / "run-list" / "state" / "step-0000001").mkdir(parents=True)
    (root / "run-cut").mkdir()
    (root / "run-cut" / "run.json").write_text('{"spec":')
    for name in ("cats", "dogs"):
        (root / "photos" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "photos" / name / "0.png")
    (root / "file").write_text("")
    (root / "spec.json").write_text(json.dumps({"optimizer": {"lrr": 1}}))
    (root / "list.json").write_text("[1]")
    (root / "cut.json").write_text("{")
    return root


BAD = [
    (["trian"], "unknown verb 'trian': did you mean 'train'?"),
    (["--hepl"], "unknown option '--hepl': did you mean '--help'?"),
    (["smaple", "run"], "unknown verb 'smaple': did you mean 'sample'?"),
    (["train"], "usage: taildiff train RECIPE"),
    (["train", "mnist5k-cua", "--out", "x"], "unknown recipe 'mnist5k-cua': did you mean 'mnist5k-ccua'?"),
    (["train", "--out", "x"], "give a recipe before the options"),
    (["train", "mnist5k-ccua"], "give an output folder: --out runs/NAME"),
    (["train", "mnist5k-ccua", "--out", ""], "--out is empty"),
    (["train", "mnist5k-ccua", "--out="], "--out is empty"),
    (["train", "mnist5k-ccua", "--out", "x", "--stpes", "3"], "unknown option '--stpes': did you mean --steps?"),
    (["train", "mnist5k-ccua", "--out", "x", "--lr=3"], "unknown option '--lr': did you mean --optimizer.lr?"),
    (["train", "mnist5k-ccua", "--helpall"], "did you mean --help-all?"),
    (["train", "mnist5k-ccua", "--xyzzy"], "unknown option '--xyzzy': taildiff train mnist5k-ccua --help-all"),
    (["train", "mnist5k-ccua", "--out", "x", "--log", "wandb", "tensorbord"], "did you mean 'tensorboard'?"),
    (["train", "mnist5k-ccua", "--out", "x", "--objective.ucl.wieght", "3"], "did you mean --objective.ucl.weight?"),
    (["train", "mnist5k-ccua", "--out", "x", "--steps", "many"], "many"),
    (["train", "mnist5k-ccua", "--out", "x", "--steps", "0"], "steps: Input should be greater than or equal to 1"),
    (["train", "mnist5k-ccua", "--out", "x", "--optimizer.lr", "inf"], "Input should be a finite number"),
    (["train", "mnist5k-ccua", "--out", "x", "--optimizer.lr", "nan"], "Input should be"),
    (["train", "mnist5k-ccua", "--out", "x", "--optimizer.betas", "1", "0.9"], "Input should be less than 1"),
    (["train", "mnist5k-ccua", "--out", "x", "--stop-at", "0"], "the first step is 1"),
    (["train", "mnist5k-ccua", "--out", "x", "--max-time", "soon"], "not a time such as 90s"),
    (["train", "mnist5k-ccua", "--out", "x", "--max-time", "soon", "--dry-run"], "not a time such as 90s"),
    (["train", "mnist5k-ccua", "--out", "x", "--data", "nowhere"], "nowhere does not exist"),
    (["train", "mnist5k-ccua", "--out", "x", "--data", "file"], "file is a file, not a store"),
    (["train", "mnist5k-ccua", "--out", "x", "--data", "run"], "run is a run, not data"),
    (["train", "mnist5k-ccua", "--out", "x", "--data", "photos"], "taildiff data prepare folder photos --out STORE"),
    (["train", "mnist5k-ccua", "--out", "file", "--data", "store", "--data.tail", "natural"], "file: Not a directory"),
    (
        ["train", "mnist5k-ccua", "--out", "file/run", "--data", "store", "--data.tail", "natural"],
        "file/run: Not a directory",
    ),
    (
        ["train", "mnist5k-ccua", "--out", "run-list", "--data", "store", "--data.tail", "natural"],
        "run-list/run.json does not describe a run",
    ),
    (["train", "mnist5k-ccua", "--out", "run-null"], "run-null/run.json does not describe a run: store"),
    (["train", "auto-ccua", "--out", "x"], "auto-ccua fits itself to your data: add --data STORE"),
    (["train", "spec.json", "--out", "x"], "unknown field 'optimizer.lrr': did you mean 'optimizer.lr'?"),
    (["train", "list.json", "--out", "x"], "list.json"),
    (["train", "cut.json", "--out", "x"], "cut.json is not readable JSON"),
    (["train", "none.json", "--out", "x"], "none.json does not exist"),
    (["sample", "run"], "--out"),
    (["fill", "run", "--to", "many"], "--to takes a whole number, such as 200, not 'many'"),
    (["fill", "run", "--balance", "50%"], "--balance takes a number, such as 0.5, not '50%'"),
    (["fill", "run", "--to", "--rare"], "--to needs a value; taildiff fill --help shows which"),
    (["train", "mnist5k-ccua", "--steps=1e3"], "--steps takes a whole number, such as 200, not '1e3'"),
    (["sample", "run", "--out", "x", "--guidence", "2"], "unknown option '--guidence': did you mean --guidance?"),
    (["export", "run", "x", "--to", "difusers"], "--to: unknown value 'difusers': did you mean 'diffusers'?"),
    (["sample", "none", "--out", "x"], "none is not a run"),
    (["sample", "run", "--out", "store"], "store exists already"),
    (["sample", "run", "--out", "file", "--format", "npz"], "file exists already"),
    (["sample", "run", "--out", "file/x"], "file/x: Not a directory"),
    (["sample", "run", "--out", ""], "--out is empty"),
    (["sample", "run", "--out", "x", "--classes", "lfet"], "unknown class 'lfet': did you mean 'left'?"),
    (["sample", "run", "--out", "x", "--classes", "lfet", "--dry-run"], "unknown class 'lfet'"),
    (["sample", "run", "--out", "x", "--per-class", "0"], "at least 1"),
    (["sample", "run", "--out", "x", "--guidance", "nan"], "not a number from 0 up"),
    (["sample", "run", "--out", "x", "--guidance", "1", "--omega", "1"], "not both"),
    (["sample", "run", "--out", "x", "--omega", "-2"], "guidance -1 (omega -2) is not a number from 0 up"),
    (["sample", "run", "--out", "x", "--weights", "raw"], "no raw weights"),
    (["evaluate", "run", "--guidance", "inf"], "not a number from 0 up"),
    (["evaluate", "run", "--guidance", ""], "--guidance is empty"),
    (["evaluate", "run", "--guidance", "one"], "'one' is not a list of numbers"),
    (["evaluate", "run", "--guidance"], "a list of numbers is missing"),
    (["evaluate", "run-null"], "run-null/run.json does not describe a run: store"),
    (["evaluate", "run-cut"], "run-cut/run.json is not readable JSON"),
    (["evaluate", "run-bare"], "run-bare/run.json does not describe a run: facts: Field required"),
    (["evaluate", "run-old"], "spec.sped"),
    (["evaluate", "run", "--reference", "test"], "has no test images"),
    (["report"], "RUN"),
    (["report", "none"], "none is not a run"),
    (["report", "run-list"], "does not describe a run"),
    (["report", "run", "run"], "given twice"),
    (["data", "shwo", "x"], "did you mean 'show'"),
    (["data", "--hepl"], "unknown option of `taildiff data` '--hepl': did you mean '--help'?"),
    (["study", "rnu", "x"], "did you mean 'run'"),
    (["data", "show", "run"], "run is a run, not data"),
    (["data", "show", "file"], "is a file"),
    (["data", "prepare", "foldre", "photos", "--out", "x"], "unknown importer 'foldre': did you mean 'folder'?"),
    (
        ["data", "prepare", "folder", "store", "--out", "x"],
        "store is already a store; to train on it: taildiff train auto-ccua",
    ),
    (["data", "prepare", "folder", "run", "--out", "x"], "run is a run, not data"),
    (["data", "prepare", "folder", "photos", "--out", "file"], "file exists and is not a store"),
    (["data", "prepare", "folder", "photos", "--out", "file/x"], "file/x"),
    (["recipes", "--all"], "--all"),
    (["demo", "--quik"], "--quick"),
    (["demo", "--out", "file"], "file"),
]


@pytest.mark.parametrize(("args", "message"), BAD, ids=[" ".join(args) for args, _ in BAD])
def test_a_mistake_is_one_message_and_exit_code_2(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str], message: str
):
    monkeypatch.chdir(world)
    before = tree(world)
    assert call(*args) == 2
    text = said(capsys)
    assert message in text
    assert "Traceback" not in text
    assert tree(world) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_errors_of_the_system_name_the_file(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
):
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("taildiff.io.atomic.os.fsync", refuse)
    assert (
        call("train", "mnist5k-ccua", "--data", world / "store", "--data.tail", "natural", "--out", tmp_path / "run")
        == 2
    )
    text = said(capsys)
    assert f"{tmp_path / 'run' / 'split.json'}: {os.strerror(number)}. " in text
    assert "Traceback" not in text


def test_ctrl_c_that_a_library_turned_into_another_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupted(_args: list[str]) -> int:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as stop:  # as C extensions do
            raise ImportError("initialization failed") from stop

    def wrapped(args: list[str]) -> int:
        try:
            return interrupted(args)
        except ImportError as error:  # as diffusers does
            raise RuntimeError("Failed to import") from error

    monkeypatch.setattr("taildiff.cli.data.main", wrapped)
    assert call("data", "encode") == 130
    assert capsys.readouterr().err == "stopped\n"


def test_a_real_process_prints_no_traceback(world: Path):
    command = [sys.executable, "-m", "taildiff", "report", "nowhere"]
    done = subprocess.run(command, cwd=world, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: nowhere is not a run")
    assert "Traceback" not in done.stderr


def test_a_full_gpu_is_one_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def full(_args: list[str]) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("taildiff.cli.sample.main", full)
    assert call("sample", "run") == 1
    assert "out of GPU memory; free the GPU" in said(capsys)
