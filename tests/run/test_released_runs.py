"""Run files written by commit 8e4bf6a load and resume; other formats are refused in one line.

run_of_8e4bf6a.zip holds a store, a run that commit stopped after step 2 of 4, and the metrics of an undisturbed one.
"""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from taildiff.data.store import Store
from taildiff.errors import CheckpointError, RunError
from taildiff.run.layout import RunDir
from taildiff.run.weights import read_tensors, read_weights
from taildiff.training.checkpoint import read_position
from taildiff.training.session import run_training


@pytest.fixture
def old_run(tmp_path: Path) -> RunDir:
    with zipfile.ZipFile(Path(__file__).parent / "run_of_8e4bf6a.zip") as archive:
        archive.extractall(tmp_path)
    return RunDir(tmp_path / "run")


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_files_of_8e4bf6a_load(old_run: RunDir):
    info, position = old_run.info(), read_position(old_run.state(2))
    assert (info.format, info.spec.recipe, info.commit) == (2, "tiny", "8e4bf6ac26b9154711f4280b97a51e805f3754d3")
    assert (position.format, position.step, position.images) == (2, 2, 8)
    for kind in ("ema", "raw"):
        tensors, meta = read_weights(old_run.weights(2, kind))
        assert (meta.format, meta.kind, meta.step, meta.spec) == (2, kind, 2, info.spec)
        assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_a_run_of_8e4bf6a_resumes(old_run: RunDir):
    store = Store.open(old_run.root.parent / "store")
    assert run_training(old_run, old_run.info().spec, store).step == 4
    resumed, whole = lines(old_run.metrics), lines(old_run.root.parent / "whole.jsonl")
    assert [line["step"] for line in resumed] == [1, 2, 3, 4]
    for ours, theirs in zip(resumed, whole, strict=True):
        assert ours.keys() == theirs.keys()
        assert ours["terms"] == pytest.approx(theirs["terms"], rel=1e-5)


def test_another_format_is_refused_in_one_line(old_run: RunDir):
    reason = "has format 1, and this version of taildiff reads 2: train again"
    for path, key in ((old_run.spec, "facts"), (old_run.state(2) / "state.json", "sha256")):
        values = json.loads(path.read_text())
        del values[key]  # further misfits do not lengthen the message
        path.write_text(json.dumps(values | {"format": 1}))
    with pytest.raises(RunError) as caught:
        old_run.info()
    assert str(caught.value) == f"{old_run.spec} {reason}"
    with pytest.raises(CheckpointError) as caught:
        read_position(old_run.state(2))
    assert str(caught.value) == f"{old_run.state(2) / 'state.json'} {reason}"
    path = old_run.weights(2)
    tensors, metadata = read_tensors(path)
    fields = json.loads(metadata["taildiff"]) | {"format": 1}
    save_file({name: torch.clone(tensor) for name, tensor in tensors.items()}, path, {"taildiff": json.dumps(fields)})
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(caught.value) == f"{path} {reason}"


@pytest.mark.parametrize("name", ["run.json", "state.json"])
def test_a_file_without_its_checksum_is_refused(old_run: RunDir, name: str):
    path = old_run.spec if name == "run.json" else old_run.state(2) / name
    values = json.loads(path.read_text())
    del values["sha256"]
    path.write_text(json.dumps(values))
    with pytest.raises(RunError, match="its checksum does not match its content"):
        old_run.info() if name == "run.json" else read_position(old_run.state(2))
