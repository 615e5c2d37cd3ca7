"""Run files written by commit 8e4bf6a load and resume; other formats are refused in one line.

run_of_8e4bf6a.zip holds a store and two runs that commit stopped after step 2 of 4: a transformer and a U-Net.
"""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from taildiff.data.store import Store
from taildiff.errors import CheckpointError, RunError
from taildiff.run.info import as_started, changed
from taildiff.run.layout import RunDir
from taildiff.run.weights import read_tensors, read_weights
from taildiff.sampling.generate import load_model
from taildiff.spec import ObjectiveSpec, RunSpec, UCLSpec, UNetSpec
from taildiff.training.checkpoint import read_position
from taildiff.training.request import StopRule
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


@pytest.fixture
def old_unet(old_run: RunDir) -> RunDir:
    return RunDir(old_run.root.parent / "unet")


def today(spec: RunSpec) -> RunSpec:
    """The same run with the network that this version starts."""
    assert isinstance(spec.model, UNetSpec)
    return spec.model_copy(update={"model": UNetSpec(channels=spec.model.channels)})


@pytest.mark.parametrize("name", ["run", "unet"])
def test_a_run_of_8e4bf6a_resumes(old_run: RunDir, old_unet: RunDir, name: str, caplog: pytest.LogCaptureFixture):
    """By the spec that its recipe has today, which asks for another U-Net; more than once."""
    run = old_run if name == "run" else old_unet
    store, spec = Store.open(old_run.root.parent / "store"), run.info().spec
    asked = spec if name == "run" else today(spec)
    before = lines(run.metrics)
    assert run_training(run, asked, store, StopRule(step=3)).step == 3
    assert "was started by an older version" in caplog.text
    assert (run.info().format, run.info().spec) == (2, spec)
    assert run_training(run, asked, store).step == 4
    after = lines(run.metrics)
    assert [line["step"] for line in after] == [1, 2, 3, 4]
    assert after[:2] == before
    assert [line.keys() - before[0].keys() for line in after] == [set(), set(), {"waiting"}, {"waiting"}]


def test_local_references_stay_with_runs_of_several_processes(old_run: RunDir):
    """`gather` was off by default; with one process it makes no difference, on however many the run goes on."""
    info = old_run.info()

    def run(devices: int, gather: bool) -> RunSpec:
        objective = ObjectiveSpec(ucl=UCLSpec(weight=1, gather=gather))
        return info.spec.model_copy(update={"objective": objective, "devices": devices})

    for devices in (1, 2):
        was, asked = info.model_copy(update={"spec": run(devices, False)}), run(2, True)
        started = as_started(asked, was)
        assert started.local == (("ucl",) if devices == 2 else ())
        assert not changed(was.spec, started)
        assert as_started(asked, was.model_copy(update={"format": 3})) == asked
    assert changed(run(2, False), run(2, True)) == [("objective.ucl.gather", False, True)]
    off, on = (RunSpec(devices=2, objective=ObjectiveSpec(ucl=UCLSpec(gather=g))) for g in (False, True))
    assert not changed(off, on)  # of weight 0


def test_the_network_of_8e4bf6a_predicts_the_same(old_unet: RunDir):
    """Its normalisation groups are part of what the weights mean: 8 groups of one channel."""
    model = load_model(old_unet)
    assert isinstance(model.spec.model, UNetSpec)
    assert (model.spec.model.group_channels, model.spec.model.zero_init) == (1, False)
    x = torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8)
    out = model.denoiser.predict(x, torch.tensor([0.3, 0.8]), torch.tensor([0, model.denoiser.null_label]))
    assert out.flatten()[:4].tolist() == pytest.approx([-0.082793, 0.210214, -0.087204, 0.074472], abs=1e-5)


def test_other_groups_are_refused(old_run: RunDir, old_unet: RunDir):
    store, spec = Store.open(old_run.root.parent / "store"), today(old_unet.info().spec)
    wider = spec.model_copy(update={"model": UNetSpec(channels=(16,))})
    with pytest.raises(RunError, match=r"model\.channels: \[8\] -> \[16\]"):
        run_training(old_unet, wider, store)
    grouped = spec.model_copy(update={"model": UNetSpec(channels=(8,), group_channels=4)})
    differ = r'(?s)"group_channels":1,.*and this run is .*"group_channels":4,.*: --model\.group-channels 1$'
    with pytest.raises(CheckpointError, match=differ):
        run_training(RunDir(old_run.root.parent / "new"), grouped, store, start_from=old_unet.weights(2))


def test_another_format_is_refused_in_one_line(old_run: RunDir):
    reason = "has format 1, and this version of taildiff reads 2 and 3: train again"
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
