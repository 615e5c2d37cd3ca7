"""What the benchmark of throughput says is what was measured and counted."""

import runpy
import sys
from pathlib import Path

import pytest

from taildiff.spec import ALSpec, CodecFacts, DataFacts, ObjectiveSpec, RunSpec, SiTSpec, UCLSpec

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
DEPTH, WIDTH, TOKENS, OUT = 2, 48, 16, 4 * 4


@pytest.fixture
def script(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    return lambda name: runpy.run_path(str(BENCHMARKS / f"{name}.py"))


def facts():
    codec = CodecFacts(source="", kind="AutoencoderKL", hash="", channels=4, height=8, width=8, scaling=1)
    return DataFacts(height=64, width=64, channels=3, class_names=("a", "b"), counts=(9, 3), codec=codec)


def spec(objective, batch):
    return RunSpec(batch_size=batch, model=SiTSpec(depth=DEPTH, width=WIDTH, heads=3, patch=2), objective=objective)


def by_hand(rows):
    """Forward and backward of matrix products; there is no gradient to the patches and to the time's sinusoids."""
    token = DEPTH * (12 * WIDTH**2 + 2 * TOKENS * WIDTH) + WIDTH * OUT
    condition = WIDTH**2 + DEPTH * 6 * WIDTH**2 + 2 * WIDTH**2
    return rows * 2 * (3 * (TOKENS * token + condition) + 2 * (TOKENS * 16 * WIDTH + 256 * WIDTH))


def test_the_work_of_a_step_is_that_of_its_matrix_products(script):
    work = script("work")
    assert work["counted"](spec(ObjectiveSpec(), 4), facts(), 4) == by_hand(4)
    assert work["step_tflop"](spec(ObjectiveSpec(), 7), facts()) * 1e12 == pytest.approx(by_hand(7))
    ccua = ObjectiveSpec(ucl=UCLSpec(weight=0.05), al=ALSpec(weight=0.05))
    pairs = 7 * 7 * TOKENS * WIDTH * 2 * 3
    assert work["step_tflop"](spec(ccua, 7), facts()) * 1e12 == pytest.approx(by_hand(14) + pairs)
    assert work["counted"](spec(ccua, 7), facts(), 7) == by_hand(14) + pairs


def test_the_table_has_ratios_and_says_what_failed(script):
    page = script("throughput")
    row, result = page["Row"], page["Result"]
    results = [
        result(row("S/2", 256, "plain", "float32"), "", 200.0, 9, 40.0, 10.0, 0.5),
        result(row("S/2", 256, "CCUA", "float32"), "out of memory"),
        result(row("S/2", 256, "plain", "bf16"), "", 50.0, 9, 20.0, 10.0, 0.25),
        result(row("S/2", 256, "CCUA", "bf16"), "", 100.0, 9, 30.0, 20.0, 0.25),
    ]
    text = page["table"](results, "a GPU", {"float32": 100.0, "bf16": 800.0})
    assert "a GPU; matrix products reach 100 TFLOP/s in float32, 800 TFLOP/s in bf16" in text
    assert "| SiT-S/2 | 256 | plain | float32 | 1280 | 200 | 1.00 | 1.00 | 40.00 | 50 | 50.0% |" in text
    assert "| SiT-S/2 | 256 | CCUA | float32 | out of memory | – | – | – | – | – | – |" in text
    assert "| SiT-S/2 | 256 | plain | bf16 | 5120 | 50 | 4.00 | 1.00 | 20.00 | 200 | 25.0% |" in text
    assert "| SiT-S/2 | 256 | CCUA | bf16 | 2560 | 100 | – | 0.50 | 30.00 | 200 | 25.0% |" in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {12}


def test_the_clock_starts_after_the_warm_up_and_reads_windows(script, monkeypatch):
    page = script("throughput")
    now = iter([100.0, 101.0, 103.0, 104.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    watch = page["Watch"](warmup=3, window=2, seconds=4)
    for step in range(1, 9):
        watch("training", step, 100)
    with pytest.raises(page["EnoughError"]):
        watch("training", 9, 100)
    assert watch.times == [0.5, 1.0, 0.5]
