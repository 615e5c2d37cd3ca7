"""Gradient accumulation, launchers, torch.compile and bf16, in one process (several: test_several_processes.py)."""

import json
import shutil

import pytest
import torch
from processes import LAUNCHERS, checkpoint_bytes, finished, lines, prediction, same_losses, start, torchrun, weights
from processes import training as arguments
from pydantic import ValidationError
from torch._dynamo.utils import counters

from taildiff import engine
from taildiff.distributed import is_local_rank_zero, is_rank_zero, launcher
from taildiff.errors import NonFiniteError, RunError, SpecError
from taildiff.objectives.objective import Objective, StepLoss
from taildiff.run.layout import RunDir
from taildiff.spec import (
    ALSpec,
    CBDMSpec,
    DiffROPSpec,
    DispersiveSpec,
    IntervalSpec,
    LabelDropSpec,
    ObjectiveSpec,
    RunSpec,
    SiTSpec,
    TransferSpec,
    UCLSpec,
    UNetSpec,
)
from taildiff.training import session
from taildiff.training.request import StopRule
from taildiff.training.resume import check_same
from taildiff.training.session import fit_to_launcher, reduced_comparisons, run_training

UNET = UNetSpec(channels=(8, 16), zero_init=False)
SIT = SiTSpec(depth=2, width=24, heads=2, patch=4)
UNCOUPLED = ObjectiveSpec(al=ALSpec(weight=0.2), cbdm=CBDMSpec(weight=0.5), drop=LabelDropSpec(p=0.3))
CCUA = ObjectiveSpec(ucl=UCLSpec(weight=0.2), al=ALSpec(weight=0.2))


@pytest.fixture
def spec(tiny_spec):
    """Three steps, each logged, no dropout."""
    every = IntervalSpec(log=1, samples=0, save=1, keep=4)
    return tiny_spec.model_copy(update={"model": UNET, "every": every, "steps": 3})


@pytest.fixture
def alone(monkeypatch):
    """Remove launcher variables, whatever started the tests."""
    for name in (*LAUNCHERS, "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)


def trained(folder, spec, store, **fields):
    run = RunDir(folder)
    run_training(run, spec.model_copy(update=fields), store)
    return run


@pytest.mark.parametrize("parts", [2, 8])
@pytest.mark.parametrize("model", [UNET, SIT], ids=["unet", "sit"])
def test_micro_batches_equal_the_whole_batch(spec, tiny_store, tmp_path, parts, model):
    """In losses by term, noise and group, gradient norms, and the trained network."""
    whole, cut = (
        trained(tmp_path / f"{n}", spec, tiny_store, model=model, objective=UNCOUPLED, accumulate=n) for n in (1, parts)
    )
    assert same_losses(whole, cut, 1e-5)
    torch.testing.assert_close(prediction(whole), prediction(cut), rtol=1e-5, atol=1e-5)


def test_a_cheap_null_pass_draws_its_rows_per_micro_batch(spec, tiny_store, tmp_path, monkeypatch):
    """Two of four rows, twice; alignment stays unbiased, and the label drop per batch is the same for all parts."""
    seen, forward = [], Objective.forward

    def watched(self, denoiser, batch, draws):
        seen.append((len(batch.y), draws.dropped.tolist()))
        return forward(self, denoiser, batch, draws)

    monkeypatch.setattr(Objective, "forward", watched)
    objective = CCUA.model_copy(update={"null_fraction": 0.5, "drop": LabelDropSpec(p=0.5, policy="per_batch")})
    run = trained(tmp_path / "run", spec, tiny_store, objective=objective, accumulate=2)
    assert [size for size, _ in seen] == [4] * 6
    coins = [dropped for _, dropped in seen]
    assert all(len(set(a + b)) == 1 for a, b in zip(coins[::2], coins[1::2], strict=True))
    assert max(line["terms"]["ucl"] for line in lines(run)) > 0


def test_terms_that_see_only_a_micro_batch_are_named_once(spec, tiny_store, tmp_path, caplog):
    fields = {"batch_size": 12, "accumulate": 3, "objective": CCUA}
    run_training(RunDir(tmp_path / "run"), spec.model_copy(update=fields), tiny_store)
    assert caplog.messages == ["--accumulate 3: UCL compares 4 samples instead of 12"]
    fields["objective"] = ObjectiveSpec(
        ucl=UCLSpec(weight=1),
        dispersive=DispersiveSpec(weight=1, gather=False),
        transfer=TransferSpec(mode="t2h", gather=False),
    )
    two = "\n".join(reduced_comparisons(spec.model_copy(update=fields | {"devices": 2})))
    assert "UCL compares 4 samples instead of 12" in two
    assert "DISPERSIVE and transfer compare 2 samples instead of 6" in two
    local = ObjectiveSpec(ucl=UCLSpec(weight=0.2, gather=False))
    apart = reduced_comparisons(spec.model_copy(update={"batch_size": 12, "objective": local, "devices": 2}))
    assert apart == ["2 processes: UCL compares 6 samples instead of 12 (to compare all: --objective.ucl.gather)"]
    assert reduced_comparisons(spec.model_copy(update={"objective": UNCOUPLED, "accumulate": 2})) == []
    assert reduced_comparisons(spec.model_copy(update={"objective": CCUA, "devices": 2})) == []


def test_a_nonfinite_micro_batch_skips_the_whole_step(spec, tiny_store, tmp_path, monkeypatch, caplog):
    """The message names its rows in the whole batch."""
    forward, calls = Objective.forward, []

    def spoilt(self, denoiser, batch, draws):
        loss = forward(self, denoiser, batch, draws)
        calls.append(draws.s)
        if len(calls) != 4:  # the second part of the second step
            return loss
        values = loss.per_sample.clone()
        values[1, 2] = float("nan")
        return StepLoss(loss.total * float("nan"), values)

    monkeypatch.setattr(Objective, "forward", spoilt)
    skipping = spec.model_copy(update={"accumulate": 2, "skip_nonfinite": 1, "objective": UNCOUPLED})
    run_training(RunDir(tmp_path / "skips"), skipping, tiny_store)
    assert (
        f"skipped step 2: term 'al' is not finite for 1 of 8 samples (noise levels {calls[3][2]:.3f}"
        in caplog.messages[0]
    )
    calls.clear()
    with pytest.raises(NonFiniteError, match="term 'al' is not finite for 1 of 8"):
        trained(tmp_path / "stops", skipping, tiny_store, skip_nonfinite=0)


def test_sizes_that_do_not_divide_are_refused(tiny_spec):
    def told(**fields):
        with pytest.raises(ValidationError) as caught:
            RunSpec.model_validate(tiny_spec.model_dump() | fields)
        return str(caught.value)

    assert "batch_size 8 is not divisible by 3 micro-batches (accumulate)" in told(accumulate=3)
    assert "batch_size 8 is not divisible by 2 devices x 4 nodes x 2 micro-batches (accumulate)" in told(
        devices=2, nodes=4, accumulate=2
    )
    assert "at least 2 per device and micro-batch, so 16 for 2 devices x 4 micro-batches (accumulate)" in told(
        devices=2, accumulate=4
    )
    permuted = {"objective": ObjectiveSpec(diffrop=DiffROPSpec(weight=1, form="permuted")).model_dump()}
    assert "objective.diffrop compares" in told(**permuted, accumulate=8)


TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "3"}
SLURM = {"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.mark.usefixtures("alone")
class TestLaunchers:
    """Launchers read from environment variables, and devices and nodes taken from them."""

    @staticmethod
    def given(monkeypatch, values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    def test_no_launcher(self, spec, monkeypatch):
        assert launcher() is None
        assert fit_to_launcher(spec.model_copy(update={"devices": 2})).devices == 2
        assert is_rank_zero()
        monkeypatch.setenv("LOCAL_RANK", "1")  # as the engine sets it in the processes it starts
        assert not is_rank_zero()
        with pytest.raises(
            SpecError, match=r"--nodes 2, but no launcher started the other processes.*torchrun --nnodes 2"
        ):
            fit_to_launcher(spec.model_copy(update={"nodes": 2}))

    def test_torchrun(self, spec, monkeypatch):
        self.given(monkeypatch, TORCHRUN | {"LOCAL_RANK": "1"})
        for devices, nodes in ((1, 1), (2, 1), (1, 2), (2, 2)):
            found = fit_to_launcher(spec.model_copy(update={"devices": devices, "nodes": nodes}))
            assert (found.devices, found.nodes) == (2, 2)
        assert not is_rank_zero()
        assert not is_local_rank_zero()
        with pytest.raises(SpecError, match=r"--devices 4 --nodes 1 does not fit torchrun, which started 4 processes"):
            fit_to_launcher(spec.model_copy(update={"devices": 4}))
        with pytest.raises(SpecError, match="torchrun started 4 processes: batch_size 10 is not divisible by 2 dev"):
            fit_to_launcher(spec.model_copy(update={"batch_size": 10}))
        monkeypatch.setenv("GROUP_WORLD_SIZE", "3")
        with pytest.raises(SpecError, match="4 processes on 3 nodes: each node must have the same number"):
            fit_to_launcher(spec)
        monkeypatch.setenv("WORLD_SIZE", "four")
        with pytest.raises(SpecError, match="WORLD_SIZE is 'four', not a whole number from 1 up"):
            fit_to_launcher(spec)

    def test_slurm(self, spec, monkeypatch):
        self.given(monkeypatch, SLURM)
        found = fit_to_launcher(spec)
        assert (found.devices, found.nodes, is_rank_zero()) == (2, 2, True)
        monkeypatch.setenv("SLURM_PROCID", "2")
        assert is_local_rank_zero()
        assert not is_rank_zero()
        for name, value in (("SLURM_JOB_NAME", "interactive"), ("SLURM_NTASKS", "1")):
            with monkeypatch.context() as patch:  # one task: the engine starts the others itself
                patch.setenv(name, value)
                assert fit_to_launcher(spec.model_copy(update={"devices": 2})).devices == 2
                assert launcher() is None


@pytest.mark.slow  # what the launchers set is tested above, real processes in test_objective_gather
def test_torchrun_starts_two_processes(spec, tiny_store, tmp_path):
    """One step; the number of processes comes from the launcher, and only rank zero reports."""
    run = RunDir(tmp_path / "run")
    options = torchrun("--standalone", "--nproc-per-node", "2")
    [(out, err)] = finished(start([*options, *arguments(tmp_path, spec, tiny_store, run, "--steps", "1")]))
    assert out.count("trained") == err.count("1/1") == 1
    assert run.info().spec.devices == 2


def without_code(monkeypatch):
    """Let torch.compile use a backend that generates no code and needs no compiler."""
    for module in (engine, session):
        monkeypatch.setattr(module, "require_compiler", lambda _: None)
    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, options: whole(f, backend="aot_eager"))


def compiles_and_agrees(tmp_path, spec, store):
    """A compiled run equals an eager one, compiles only once, and each resumes as the other."""
    torch._dynamo.reset()
    counters.clear()
    spec = spec.model_copy(update={"objective": CCUA})
    eager, compiled = (trained(tmp_path / f"{c}", spec, store, compile=c) for c in (False, True))
    graphs = counters["stats"]["unique_graphs"]
    assert graphs > 0
    assert same_losses(eager, compiled, 1e-4)
    torch.testing.assert_close(prediction(eager), prediction(compiled), rtol=1e-4, atol=1e-4)
    assert weights(eager).keys() == weights(compiled).keys()
    assert weights(eager, "ema").keys() == weights(compiled, "ema").keys()
    for run, other in ((compiled, False), (eager, True)):
        longer = spec.model_copy(update={"steps": 5, "compile": other})
        assert run_training(run, longer, store).step == 5
    assert same_losses(eager, compiled, 1e-4)
    assert counters["stats"]["unique_graphs"] <= 2 * graphs  # the new network was compiled once, not at each step
    assert counters["frames"]["total"] <= 2 * max(1, graphs) + 2


@pytest.mark.parametrize("model", [pytest.param(UNET, marks=pytest.mark.slow), SIT], ids=["unet", "sit"])
def test_a_compiled_network_trains_as_an_eager_one(spec, tiny_store, tmp_path, monkeypatch, model):
    """With the graph capture and autograd of torch.compile, without its code generator."""
    without_code(monkeypatch)
    compiles_and_agrees(tmp_path, spec.model_copy(update={"model": model}), tiny_store)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, and there is no g++")
@pytest.mark.parametrize("model", [UNET, SIT], ids=["unet", "sit"])
@pytest.mark.filterwarnings("ignore")  # of the code generator, about what it does not do on a CPU
def test_code_that_torch_compile_writes_trains_alike(spec, tiny_store, tmp_path, model):
    compiles_and_agrees(tmp_path, spec.model_copy(update={"model": model}), tiny_store)


def test_without_a_compiler_compile_is_refused(spec, tiny_store, tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(engine.shutil, "which", lambda _: None)
    with pytest.raises(SpecError, match=r"--compile needs a C compiler \(g\+\+"):
        trained(tmp_path / "run", spec, tiny_store, compile=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "model", [UNET, SIT, SIT.model_copy(update={"checkpointing": True})], ids=["unet", "sit", "sit-checkpointing"]
)
@pytest.mark.parametrize("parts", [1, 2])
def test_bf16_stays_near_float32(spec, tiny_store, tmp_path, monkeypatch, model, parts):
    """Losses float32 and near, gradients too; every weight that is saved is float32."""
    totals, forward = [], Objective.forward

    def watched(self, denoiser, batch, draws):
        loss = forward(self, denoiser, batch, draws)
        totals.append((loss.total.dtype, loss.per_sample.dtype))
        return loss

    monkeypatch.setattr(Objective, "forward", watched)
    spec = spec.model_copy(update={"model": model, "objective": CCUA, "accumulate": parts})
    full, half = (trained(tmp_path / p, spec, tiny_store, precision=p) for p in ("32-true", "bf16-mixed"))
    assert set(totals) == {(torch.float32, torch.float32)}
    assert not same_losses(full, half, 1e-6)  # it does something
    for a, b in zip(lines(full), lines(half), strict=True):
        assert b["terms"] == pytest.approx(a["terms"], rel=0.02)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=0.05)
    assert {w.dtype for kind in ("ema", "raw") for w in weights(half, kind).values()} == {torch.float32}
    assert {entry["dtype"] for name in checkpoint_bytes(half, 3) for entry in header(half, name)} <= {"F32", "I64"}


def header(run, name):
    """The tensors listed in the header of a safetensors file."""
    data = checkpoint_bytes(run, 3)[name]
    return [
        entry for key, entry in json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).items() if key[0] != "_"
    ]


def test_nodes_and_compile_may_change_and_parts_may_not(spec, tiny_store, tmp_path):
    run = RunDir(tmp_path / "run")
    run_training(run, spec, tiny_store, StopRule(step=1))
    check_same(run, spec, spec.model_copy(update={"nodes": 4, "devices": 2, "compile": True}))
    thrifty = SiTSpec(checkpointing=True)
    check_same(run, spec.model_copy(update={"model": SiTSpec()}), spec.model_copy(update={"model": thrifty}))
    with pytest.raises(RunError, match="accumulate: 1 -> 2"):
        run_training(run, spec.model_copy(update={"accumulate": 2}), tiny_store)
