"""The loops that step times are compared with do what they stand for, and the scripts around them run."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from taildiff.data.store import SourceMeta, Store, StoreWriter

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    return lambda name: runpy.run_path(str(BENCHMARKS / f"{name}.py"))


def test_the_published_loop_has_the_loss_of_the_release(script, golden):
    """One step of the released code: UCL and AL weighted by t/T, in value and gradient."""
    step = {name: torch.from_numpy(value) for name, value in golden("ccua_step").items() if value.dtype.kind in "fi"}
    inputs = [step[name].double().requires_grad_() for name in ("eps_cond", "eps_uncond", "features_uncond")]
    published = script("loops")["Published"]
    w = step["t"].double() / 1000
    loss = published._ccua(None, *inputs, w, dropped=False)
    torch.testing.assert_close(loss, (step["loss_ucl"] + step["loss_al"]).double(), rtol=1e-6, atol=0)
    kept = published._ccua(None, *inputs, w, dropped=True)
    torch.testing.assert_close(kept, step["loss_ucl"].double(), rtol=1e-6, atol=0)


def test_resampling_by_a_scan_finds_images_of_the_class(script):
    loops = script("loops")
    store = loops["random_store"]((1, 4, 4), loops["tail"](60))
    images = loops["Images"](store, scan=True)
    labels = [images[k][1] for k in range(200)]
    assert len(set(labels)) == 10
    assert labels.count(0) < 100  # 200 times .25, and .46 without resampling


def test_a_ratio_that_fell_by_more_than_the_tolerance_fails(script):
    compared = script("bench")["compared"]
    committed = {"mnist5k": {"a / b": 1.0, "c / d": 2.0}}
    assert compared(committed, {"mnist5k": {"a / b": 0.86, "c / d": 2.9}})[1] is False
    lines, fell = compared(committed, {"mnist5k": {"a / b": 0.84, "c / d": 2.0}})
    assert fell
    assert [line.endswith("SLOWER") for line in lines] == [True, False]
    assert compared(committed, {"mnist5k": {"a / b": 1.0}})[1]


def test_the_cut_for_the_gpu_holds_the_tail_and_few_test_images(script, tmp_path):
    labels, test = np.repeat(np.arange(3), 250), np.arange(750) % 250 >= 100
    images = np.random.default_rng(0).integers(0, 256, (750, 4, 4, 1), dtype=np.uint8)
    with StoreWriter(tmp_path / "all", "a", ("a", "b", "c"), (4, 4, 1), SourceMeta(source="random")) as writer:
        writer.append(images, labels, test)
        writer.close()
    session = script("gpu_session")
    session["cut"].__globals__["PER_CLASS"] = 20
    session["cut"](tmp_path / "all", tmp_path / "cut")
    store = Store.open(tmp_path / "cut")
    assert np.bincount(store.labels[~store.test]).tolist() == [100, 10, 1]
    assert np.bincount(store.labels[store.test]).tolist() == [20, 20, 20]
    assert all((image == images).all((1, 2, 3)).any() for image in store.images)


@pytest.mark.slow
def test_the_comparison_with_the_loops_runs(tmp_path):
    out = tmp_path / "steps.json"
    words = [sys.executable, BENCHMARKS / "baseline.py", "--network", "mnist5k", "--batch-size", "4", "--rounds", "2"]
    subprocess.run([*map(str, words), "--out", str(out)], check=True, capture_output=True)
    record = json.loads(out.read_text())
    assert len(record["sides"]) == 7
    assert all(side["ms"] > 0 and not side["note"] for side in record["sides"])
    assert {"published ccua float32 / ccua-shared float32", "diffusers float32 / plain float32 (CPU)"} <= record[
        "ratio"
    ].keys()


@pytest.mark.slow
def test_the_gpu_session_runs_on_any_machine(tmp_path):
    words = [sys.executable, BENCHMARKS / "gpu_session.py", "--small", "--minutes", "60", "--out", tmp_path / "gpu"]
    result = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + (tmp_path / "gpu" / "log.txt").read_text()[-3000:]
    assert {"steps-float32.json", "throughput.json", "study.toml"} <= {p.name for p in (tmp_path / "gpu").iterdir()}
