"""Several processes equal one and resume bit for bit, started by --devices, torchrun and SLURM."""

import pytest
import torch
from processes import PLAIN, checkpoint_bytes, finished, free_port, lines, prediction, same_losses, start, torchrun
from processes import training as arguments
from safetensors.torch import load

from taildiff.run.layout import RunDir
from taildiff.spec import (
    ALSpec,
    CORALSpec,
    DispersiveSpec,
    IntervalSpec,
    ObjectiveSpec,
    SiTSpec,
    TransferSpec,
    UCLSpec,
    UNetSpec,
)
from taildiff.training.session import run_training

UNET = UNetSpec(channels=(8, 16), zero_init=False)
SIT = SiTSpec(depth=2, width=24, heads=2, patch=4)
CCUA = ObjectiveSpec(ucl=UCLSpec(weight=0.2), al=ALSpec(weight=0.2))
MANY = ObjectiveSpec(
    ucl=UCLSpec(weight=0.2, tap="block.1"),
    coral=CORALSpec(weight=0.5, tap="block.0", scaling="release"),
    dispersive=DispersiveSpec(weight=0.25, tap="block.1"),
    transfer=TransferSpec(mode="t2h"),
)


@pytest.fixture
def spec(tiny_spec):
    """Eight images per step, no dropout."""
    every = IntervalSpec(log=1, samples=0, save=1, keep=12)
    return tiny_spec.model_copy(update={"model": UNET, "objective": CCUA, "every": every, "steps": 8})


def first_gradients(run):
    """The clipped gradients of the first step, from the optimiser's first moments."""
    moments = load(checkpoint_bytes(run, 1)["optimizer.safetensors"])
    return {name: value for name, value in moments.items() if name.startswith("exp_avg/")}


def assert_equal_but_for_rounding(one: RunDir, other: RunDir) -> None:
    """Compare losses, gradients of the first step, and the trained network.

    Not the weights themselves: those whose gradient is nothing but rounding (biases ahead of a normalisation) wander
    by Adam's full steps without consequence.
    """
    assert same_losses(one, other, 1e-5)
    ours, theirs = first_gradients(one), first_gradients(other)
    largest = max(float(value.abs().max()) for value in ours.values())
    assert largest > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * largest)
    torch.testing.assert_close(prediction(one), prediction(other), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "model"), [(CCUA, UNET), (MANY, SIT)], ids=["ccua", "many"])
def test_two_processes_equal_one(spec, tiny_store, tmp_path, objective, model):
    spec = spec.model_copy(update={"objective": objective, "model": model})
    one, two = RunDir(tmp_path / "one"), RunDir(tmp_path / "two")
    run_training(one, spec, tiny_store)
    [(out, _)] = finished(start([*PLAIN, *arguments(tmp_path, spec, tiny_store, two, "--devices", "2")]))
    assert out.count("trained") == 1
    assert two.info().spec.devices == 2
    assert_equal_but_for_rounding(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("rows", ["null_fraction", "shared_null"])
def test_two_processes_in_two_parts_equal_one_in_two_parts(spec, tiny_store, tmp_path, rows):
    """Micro-batches hold the same images, and a null pass on some rows draws the same ones."""
    spec = spec.model_copy(update={"objective": CCUA.model_copy(update={rows: 0.5}), "accumulate": 2})
    one, two = RunDir(tmp_path / "one"), RunDir(tmp_path / "two")
    run_training(one, spec, tiny_store)
    finished(start([*PLAIN, *arguments(tmp_path, spec, tiny_store, two, "--devices", "2")]))
    assert_equal_but_for_rounding(one, two)


@pytest.mark.slow
def test_two_processes_resume_bit_for_bit(spec, tiny_store, tmp_path):
    """With dropout and micro-batches; stopped twice against never stopped."""
    spec = spec.model_copy(update={"model": UNET.model_copy(update={"dropout": 0.1}), "accumulate": 2})
    whole, parts = RunDir(tmp_path / "whole"), RunDir(tmp_path / "parts")
    finished(start([*PLAIN, *arguments(tmp_path, spec, tiny_store, whole, "--devices", "2")]))
    for stop in (["--stop-at", "3"], ["--stop-at", "4"], []):
        finished(start([*PLAIN, *arguments(tmp_path, spec, tiny_store, parts, "--devices", "2", *stop)]))
    assert lines(whole) == lines(parts)
    assert len(lines(whole)) == 8
    assert checkpoint_bytes(whole, 8) == checkpoint_bytes(parts, 8)
    for kind in ("ema", "raw"):
        assert whole.weights(8, kind).read_bytes() == parts.weights(8, kind).read_bytes()


@pytest.mark.slow
def test_two_nodes_by_torchrun_equal_one_process(spec, tiny_store, tmp_path):
    """One process per node, two commands; ranks come from torchrun."""
    one, two = RunDir(tmp_path / "one"), RunDir(tmp_path / "two")
    run_training(one, spec, tiny_store)
    meet = ("--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", free_port())
    rest = arguments(tmp_path, spec, tiny_store, two)
    outputs = finished(*(start([*torchrun(*meet, "--node-rank", str(rank)), *rest]) for rank in (0, 1)))
    assert ["trained" in out for out, _ in outputs] == [True, False]
    assert (two.info().spec.devices, two.info().spec.nodes) == (1, 2)
    assert_equal_but_for_rounding(one, two)
    assert run_training(two, spec, tiny_store).step == 8  # and resumes in one process


@pytest.mark.slow
def test_a_slurm_job_of_two_tasks_equals_one_process(spec, tiny_store, tmp_path):
    """Two tasks with the variables that srun gives them, on one node; `srun --ntasks 2` does not set tasks per node."""
    one, two = RunDir(tmp_path / "one"), RunDir(tmp_path / "two")
    run_training(one, spec, tiny_store)
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NNODES": "1"}
    job |= {"SLURM_NODELIST": "127.0.0.1", "SLURM_NODEID": "0", "MASTER_PORT": free_port()}
    command = [*PLAIN, *arguments(tmp_path, spec, tiny_store, two)]
    outputs = finished(*(start(command, **job, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)) for rank in (0, 1)))
    assert ["trained" in out for out, _ in outputs] == [True, False]
    assert two.info().spec.devices == 2
    assert_equal_but_for_rounding(one, two)


@pytest.mark.slow
def test_an_error_is_reported_once(spec, tiny_store, tmp_path):
    """An error in all processes before they connect, and one after."""
    run = RunDir(tmp_path / "run")
    job = {"SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_JOB_NAME": "train", "MASTER_PORT": free_port()}
    command = [*PLAIN, *arguments(tmp_path, spec, tiny_store, run, "--devices", "4")]
    outputs = finished(*(start(command, **job, SLURM_PROCID=r, SLURM_LOCALID=r) for r in "01"), code=2)
    assert "--devices 4 --nodes 1 does not fit SLURM, which started 2 processes" in outputs[0][1]
    assert (outputs[1], outputs[0][0]) == (("", ""), "")
    assert not run.root.exists()

    finished(start([*PLAIN, *arguments(tmp_path, spec, tiny_store, run, "--stop-at", "1")]))
    changed = arguments(tmp_path, spec, tiny_store, run, "--devices", "2", "--seed", "3")
    [(out, err)] = finished(start([*PLAIN, *changed]), code=2)
    assert out == ""
    assert err.count("error:") == err.count("seed: 0 -> 3") == 1
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_with_a_message(spec, tiny_store, tmp_path):
    """The second of two tasks is killed; the first reports it, and the run can be resumed."""
    run = RunDir(tmp_path / "run")
    spec = spec.model_copy(update={"steps": 100_000})
    job = {"SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_JOB_NAME": "train", "SLURM_NODEID": "0"}
    job |= {"SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": free_port()}
    command = [*PLAIN, *arguments(tmp_path, spec, tiny_store, run)]
    first, second = (start(command, **job, SLURM_PROCID=r, SLURM_LOCALID=r) for r in "01")
    while first.poll() is None and not (run.metrics.exists() and len(run.metrics.read_bytes()) > 2000):
        pass
    second.kill()
    second.communicate(timeout=30)
    [(_, err)] = finished(first, code=2)
    assert "another process of this training ended without an error message" in err
    assert "Traceback" not in err
    step = run.checkpoint_steps()[-1]
    finished(start([*PLAIN, *arguments(tmp_path, spec, tiny_store, run, "--stop-at", str(step + 1))]))
