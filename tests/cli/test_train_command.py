"""`taildiff train`: what is trained, what continues, and how it stops."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cli.calls import call, said, tree
from taildiff.cli.train import EXAMPLE, duration
from taildiff.data.store import Store
from taildiff.errors import SpecError
from taildiff.recipes import auto_ccua
from taildiff.run.layout import RunDir
from taildiff.spec import RunSpec


@pytest.fixture
def command(tiny_store: Store, tiny_spec: RunSpec, tmp_path: Path) -> list[str]:
    """`train` of twelve steps into tmp_path/run."""
    (tmp_path / "tiny.json").write_text(tiny_spec.model_dump_json())
    return ["train", str(tmp_path / "tiny.json"), "--data", str(tiny_store.root), "--out", str(tmp_path / "run")]


@pytest.mark.parametrize("recipe", ["mnist5k-ccua", "mnist5k-coral", "cifar10lt-plain"])
def test_a_printed_spec_is_a_recipe_for_the_same(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    changes = (
        "--objective.al.weight 0.3 --optimizer.lr 0.002 --optimizer.clip None --data.tail natural --model.blocks 2"
    )
    assert call("train", recipe, *changes.split(), "--dry-run") == 0
    printed = capsys.readouterr().out
    spec = RunSpec.model_validate_json(printed)
    assert (spec.recipe, spec.objective.al.weight, spec.optimizer.clip) == (recipe, 0.3, None)
    (tmp_path / "spec.json").write_text(printed)
    assert call("train", tmp_path / "spec.json", "--dry-run") == 0
    assert capsys.readouterr().out == printed


def test_an_auto_recipe_is_made_for_the_data(tiny_store: Store, capsys: pytest.CaptureFixture[str]):
    for words in (["--data", str(tiny_store.root)], [f"--data={tiny_store.root}"]):
        assert call("train", "auto-ccua", *words, "--batch-size", 4, "--dry-run") == 0
        spec = RunSpec.model_validate_json(capsys.readouterr().out)
        assert spec == auto_ccua(tiny_store.facts).model_copy(update={"batch_size": 4})


def test_a_dry_run_looks_whether_the_data_fit(tiny_store: Store, capsys: pytest.CaptureFixture[str]):
    assert call("train", "imagenetlt256-sit-s2", "--data", tiny_store.root, "--dry-run") == 2
    assert "taildiff data encode" in said(capsys)
    assert call("train", "mnist5k-plain", "--data", tiny_store.root, "--dry-run") == 2
    assert "class 1 would keep no image" in said(capsys)
    assert call("train", "mnist5k-plain", "--data", tiny_store.root, "--data.ratio", 0.5, "--dry-run") == 0
    assert call("train", "mnist5k-plain", "--data", tiny_store.root / "none", "--dry-run") == 2
    assert "none does not exist" in said(capsys)


def test_help_of_an_auto_recipe_needs_no_data(tiny_store: Store, capsys: pytest.CaptureFixture[str]):
    assert call("train", "auto-ccua", "--help") == 0
    text = said(capsys)
    assert "auto-ccua takes its values from the data" in text
    assert f"(default: {auto_ccua(EXAMPLE).batch_size})" in text
    assert call("train", "auto-ccua", "--data", tiny_store.root, "--help") == 0
    assert f"(default: {auto_ccua(tiny_store.facts).batch_size})" in said(capsys)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5s", 1.5), ("45m", 2700), ("1h30m", 5400), ("2h", 7200), ("1h1m1s", 3661)],
)
def test_times(text: str, seconds: float):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", " ", "soon", "-5s", "1d", "1m1h", "1e3", "h", "inf"])
def test_what_is_not_a_time(text: str):
    with pytest.raises(SpecError, match="is not a time such as 90s, 45m or 1h30m"):
        duration(text)


def test_stopping_and_the_same_command_again(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = RunDir(tmp_path / "run")
    assert call(*command, "--stop-at", 5) == 0
    text = said(capsys)
    assert "after step 5 of 12 (stop-at), saved" in text
    assert shlex.join(["taildiff", *command]) in text
    assert run.checkpoint_steps()[-1] == 5
    begun = run.info()
    assert begun.command == ("taildiff", *command, "--stop-at", "5")

    assert call(*command) == 0
    text = said(capsys)
    assert "after step 5" in text
    assert f"trained {run.root} to step 12" in text
    assert f"taildiff sample {run.root}" in text
    assert run.checkpoint_steps()[-1] == run.weight_steps()[-1] == 12
    assert (run.info().created, run.info().command) == (begun.created, begun.command)

    before = {name: time for name, time in tree(run.root).items() if name.startswith(("state/", "weights/"))}
    assert call(*command) == 0
    assert {name: time for name, time in tree(run.root).items() if name.startswith(("state/", "weights/"))} == before


def test_a_run_goes_on_as_it_was(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert call(*command, "--stop-at", 1) == 0
    before = tree(tmp_path)
    capsys.readouterr()
    assert call(*command, "--batch-size", 4, "--optimizer.lr", 0.01) == 2
    text = said(capsys)
    assert "batch_size: 8 -> 4" in text
    assert "optimizer.lr: 0.001 -> 0.01" in text
    assert "or use another --out" in text
    assert tree(tmp_path) == before


def test_a_time_limit_stops(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert call(*command, "--steps", 100_000, "--max-time", "0.2s") == 0
    assert "of 100000 (max-time), saved" in said(capsys)
    assert 1 <= RunDir(tmp_path / "run").checkpoint_steps()[-1] < 100_000


def check_stopped(run: RunDir, text: str, command: list[str]) -> None:
    """The run was stopped by a signal and saved, and the same command resumes it."""
    assert "(signal), saved" in " ".join(text.split())
    step = run.checkpoint_steps()[-1]
    assert run.weight_steps()[-1] == step
    assert json.loads(run.metrics.read_text().splitlines()[-1])["step"] <= step
    assert call(*command, "--stop-at", step + 1) == 0
    assert run.checkpoint_steps()[-1] == step + 1


def test_sigterm_saves_and_stops(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = RunDir(tmp_path / "run")
    command = [*command, "--steps", "1000000"]

    def terminate() -> None:
        while not _logged(run):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    assert call(*command) == 128 + signal.SIGTERM
    check_stopped(run, said(capsys), command)


def test_ctrl_c_saves_and_stops_a_real_process(command: list[str], tmp_path: Path):
    run = RunDir(tmp_path / "run")
    command = [*command, "--steps", "1000000"]
    words = [sys.executable, "-m", "taildiff", *command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while process.poll() is None and not _logged(run):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        text = process.communicate(timeout=300)[0]
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGINT, text
    assert "Traceback" not in text
    check_stopped(run, text, command)


def _logged(run: RunDir) -> bool:
    return run.metrics.is_file() and run.metrics.stat().st_size > 0
