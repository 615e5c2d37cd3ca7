"""`taildiff train`: what is trained, what continues, and how it stops."""

import json
import shlex
import signal
import subprocess
import sys
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


def test_signals_save_and_stop(command: list[str], tmp_path: Path):
    """Two real processes at once, since most of the time is their start."""
    outs = {signal.SIGINT: tmp_path / "int", signal.SIGTERM: tmp_path / "term"}
    base = [sys.executable, "-m", "taildiff", *command, "--steps", "1000000"]
    processes = {
        number: subprocess.Popen(
            [*base, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for number, out in outs.items()
    }
    try:
        for number, process in processes.items():
            _wait(outs[number] / "metrics.jsonl", process)
            process.send_signal(number)
        texts = {number: process.communicate(timeout=60)[0] for number, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
    for number, process in processes.items():
        run = RunDir(outs[number])
        assert process.returncode == 128 + number, texts[number]
        assert "(signal), saved" in " ".join(texts[number].split())
        assert "Traceback" not in texts[number]
        step = run.checkpoint_steps()[-1]
        assert run.weight_steps()[-1] == step
        assert json.loads(run.metrics.read_text().splitlines()[-1])["step"] <= step
        assert call(*command, "--steps", 1000000, "--out", run.root, "--stop-at", step + 1) == 0
        assert run.checkpoint_steps()[-1] == step + 1


def _wait(path: Path, process: "subprocess.Popen[str]") -> None:
    """Until the run has logged a step."""
    end = time.monotonic() + 60
    while not (path.is_file() and path.stat().st_size):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)
