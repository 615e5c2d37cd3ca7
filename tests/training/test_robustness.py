"""Crashes, precision, failing first starts, and starting from other weights."""

import json
import time

import numpy as np
import pytest
import torch

from taildiff import build
from taildiff.data.batches import Batches, to_tensor
from taildiff.diffusion.process import DDPM
from taildiff.engine import Engine
from taildiff.errors import CheckpointError, RunError, SpecError
from taildiff.objectives.objective import Streams
from taildiff.run.layout import RunDir
from taildiff.run.weights import read_weights
from taildiff.sampling.generate import load_model
from taildiff.spec import DDPMSpec, SamplingSpec, SiTSpec, UCLSpec
from taildiff.training import loop
from taildiff.training.request import StopRule
from taildiff.training.session import run_training


def changed(spec, part, **fields):
    return spec.model_copy(update={part: getattr(spec, part).model_copy(update=fields)})


def newest(run, kind="ema"):
    return read_weights(run.weights(run.weight_steps(kind)[-1], kind))[0]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_bf16_rounds_neither_noise_levels_nor_images(tiny_store, tiny_spec, tmp_path, monkeypatch):
    spec = tiny_spec.model_copy(update={"precision": "bf16-mixed", "path": DDPMSpec(), "steps": 1})
    seen = {}
    original = loop.Objective.forward

    def watch(self, denoiser, batch, draws):
        hook = denoiser.net.conv_in.register_forward_hook(lambda _m, _a, out: seen.update(network=out.dtype))
        seen.update(s=draws.s, x=batch.x, eps=draws.eps.dtype)
        loss = original(self, denoiser, batch, draws)
        seen.update(loss=loss.total.dtype)
        hook.remove()
        return loss

    monkeypatch.setattr(loop.Objective, "forward", watch)
    run_training(RunDir(tmp_path / "run"), spec, tiny_store)
    assert (seen["network"], seen["eps"], seen["loss"]) == (torch.bfloat16, torch.float32, torch.float32)
    expected = DDPM().draw(8, Streams(spec.seed, 0)("level"))
    assert torch.equal(seen["s"], expected)
    assert torch.equal(DDPM().index(seen["s"]), DDPM().index(expected))
    assert seen["x"].dtype == torch.float32
    assert (seen["x"] * 127.5 + 127.5 - (seen["x"] * 127.5 + 127.5).round()).abs().max() < 1e-4


def test_resuming_writes_weights_lost_by_a_kill_after_the_checkpoint(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store)
    before = newest(run)
    run.weights(12).unlink()
    run.weights(12, "raw").unlink()
    run_training(run, tiny_spec, tiny_store)
    assert load_model(run).step == 12
    assert same(before, newest(run))


def test_a_damaged_newest_checkpoint_never_costs_the_good_one(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    spec = changed(tiny_spec, "every", keep=1, save=0)
    run_training(run, changed(tiny_spec, "every", keep=2), tiny_store, StopRule(step=8))
    (run.state(8) / "ema.safetensors").write_bytes(b"")
    run_training(run, spec, tiny_store, StopRule(step=6))
    assert run.checkpoint_steps() == [6]
    assert run.weight_steps() == [6]  # those of step 8 had no checkpoint any more
    assert (run.states / "damaged-step-0000008").is_dir()
    assert run_training(run, spec, tiny_store).step == 12


def test_a_first_start_that_fails_leaves_nothing_behind(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    with pytest.raises(SpecError, match="did you mean 'middle'"):
        run_training(run, changed(tiny_spec, "objective", ucl=UCLSpec(weight=1, tap="midle")), tiny_store)
    with pytest.raises(CheckpointError, match="does not exist"):
        run_training(run, tiny_spec, tiny_store, start_from=tmp_path / "none.safetensors")
    assert not run.root.exists()
    assert run_training(run, tiny_spec, tiny_store, StopRule(step=1)).step == 1
    assert run.info().start_from is None


def test_fine_tuning_resumes_without_the_weights_it_started_from(tiny_store, tiny_spec, tmp_path):
    first, run = RunDir(tmp_path / "first"), RunDir(tmp_path / "run")
    run_training(first, tiny_spec, tiny_store)
    start = first.weights(12)
    frozen = changed(tiny_spec, "optimizer", lr=1e-30)
    run_training(run, frozen, tiny_store, StopRule(step=2), start_from=start)
    expected = newest(first)
    start.unlink()  # the other run's weights may be deleted
    run_training(run, frozen, tiny_store, StopRule(step=3), start_from=start)
    run_training(run, frozen, tiny_store, StopRule(step=4))
    assert same(expected, newest(run, "raw"))
    assert run.info().start_from == str(start)


def test_weights_of_another_size_are_named_in_three_lines(tiny_store, tiny_spec, tmp_path):
    first = RunDir(tmp_path / "first")
    run_training(first, tiny_spec, tiny_store, StopRule(step=1))
    wider = changed(tiny_spec, "model", channels=(16, 32))
    with pytest.raises(CheckpointError, match=r'(?s)does not fit.*"channels":\[8,16\].*"channels":\[16,32\]') as caught:
        run_training(RunDir(tmp_path / "second"), wider, tiny_store, start_from=first.weights(1))
    assert len(str(caught.value).splitlines()) == 3


def test_lost_metrics_are_not_replaced_and_the_file_stays_text(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store, StopRule(step=6))
    run.metrics.unlink()
    run_training(run, tiny_spec, tiny_store)
    assert [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()] == [8, 9, 12]


def test_training_seconds_count_the_wait_for_data_but_not_saving(tiny_store, tiny_spec, tmp_path, monkeypatch):
    read = Batches.read
    monkeypatch.setattr(Batches, "read", lambda self, step: (time.sleep(0.02), read(self, step))[1])
    save = loop.save_checkpoint
    monkeypatch.setattr(loop, "save_checkpoint", lambda *args: (time.sleep(0.2), save(*args))[1])
    run = RunDir(tmp_path / "run")
    run_training(run, changed(tiny_spec, "every", samples=0, save=4), tiny_store)
    seconds = json.loads(run.metrics.read_text().splitlines()[-1])["seconds"]
    assert seconds >= 0.2
    state = json.loads((run.state(12) / "state.json").read_text())
    assert state["seconds"] == pytest.approx(seconds, abs=0.01)


def test_short_processes_can_draw_their_grids(tiny_store, tiny_spec, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SamplingSpec", SamplingSpec)  # with more steps than the process has
    run = RunDir(tmp_path / "run")
    outcome = run_training(run, tiny_spec.model_copy(update={"path": DDPMSpec(timesteps=10)}), tiny_store)
    assert outcome.reason == "finished"
    assert run.sample_grid(12).exists()


def test_a_time_limit_reached_at_the_last_step_is_no_stop(tiny_store, tiny_spec, tmp_path):
    outcome = run_training(
        RunDir(tmp_path / "run"), tiny_spec.model_copy(update={"steps": 1}), tiny_store, StopRule(seconds=0.0)
    )
    assert outcome.reason == "finished"


def test_fewer_steps_than_trained_are_refused(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store)
    with pytest.raises(RunError, match="is at step 12, beyond --steps 6"):
        run_training(run, tiny_spec.model_copy(update={"steps": 6}), tiny_store)
    assert run.info().spec.steps == 12


def test_checkpoints_without_run_json_are_not_trusted(tiny_store, tiny_spec, tmp_path):
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store, StopRule(step=1))
    run.spec.unlink()
    with pytest.raises(RunError, match=r"no run\.json"):
        run_training(run, tiny_spec, tiny_store)


def test_images_become_tensors_and_back():
    from taildiff.data.batches import to_images

    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    x = to_tensor(images)
    assert x.shape == (1, 3, 16, 16)
    assert (x.min(), x.max()) == (-1, 1)
    assert np.array_equal(to_images(x), images)
    assert build.parameters(torch.nn.Linear(2, 3)) == 9


def test_a_run_starts_from_an_official_checkpoint(tiny_store, tiny_spec, tmp_path):
    """SiT's names in a torch file; seven classes there, three here: a new label table with the old null row."""
    model = SiTSpec(depth=1, width=24, heads=3, patch=4, learn_sigma=True)
    torch.manual_seed(3)
    official = build.denoiser(model, tiny_store.facts.model_copy(update={"class_names": tuple("abcdefg")})).state_dict()
    torch.save({"model": {}, "ema": official}, tmp_path / "official.pt")
    spec = changed(tiny_spec.model_copy(update={"model": model}), "optimizer", lr=1e-30)
    run = RunDir(tmp_path / "run")
    run_training(run, spec, tiny_store, StopRule(step=1), start_from=tmp_path / "official.pt")
    trained = newest(run, "raw")
    table = "y_embedder.embedding_table.weight"
    trained_row, official_row = trained.pop(table), official.pop(table)
    torch.testing.assert_close(dict(trained), dict(official), rtol=0, atol=1e-20)
    torch.testing.assert_close(trained_row[-1], official_row[-1], rtol=0, atol=1e-20)
    assert len(trained_row) == 4
    with pytest.raises(
        CheckpointError, match=r"--from .*official\.pt does not fit this network: none of its 22 parameters"
    ):
        run_training(RunDir(tmp_path / "other"), tiny_spec, tiny_store, start_from=tmp_path / "official.pt")


def test_processes_that_see_different_checkpoints_stop(tiny_store, tiny_spec, tmp_path, monkeypatch):
    """--out on a local disk of each node: rank zero resumes after step 2, the others would start with new weights."""
    run = RunDir(tmp_path / "run")
    run_training(run, tiny_spec, tiny_store, StopRule(step=2))
    monkeypatch.setattr(Engine, "any", lambda _, flag: flag)  # one process; only the checkpoints differ
    monkeypatch.setattr(Engine, "max", lambda _, value: max(value, 3.0))
    with pytest.raises(RunError, match=r"do not see the same checkpoints .*step 2.* file system that all nodes share"):
        run_training(run, tiny_spec, tiny_store)
    assert run.checkpoint_steps() == [2]


def test_running_out_of_memory_suggests_options_that_need_less(tiny_store, tiny_spec, tmp_path, monkeypatch):
    def full(*_: object) -> bool:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(loop, "_step", full)
    with pytest.raises(RunError, match=r"out of memory on cpu; try --accumulate 4.*--model\.checkpointing"):
        run_training(RunDir(tmp_path / "run"), tiny_spec, tiny_store)


def test_a_run_with_checkpointing_starts_from_weights_without(tiny_store, tiny_spec, tmp_path):
    first, second = RunDir(tmp_path / "first"), RunDir(tmp_path / "second")
    model = SiTSpec(depth=1, width=24, heads=3, patch=4)
    spec = changed(tiny_spec.model_copy(update={"model": model}), "optimizer", lr=1e-30)
    run_training(first, spec, tiny_store, StopRule(step=1))
    saving = changed(spec, "model", checkpointing=True)
    run_training(second, saving, tiny_store, StopRule(step=1), start_from=first.weights(1))
    assert newest(second, "raw").keys() == newest(first).keys()
