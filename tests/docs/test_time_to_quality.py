"""Time to quality: when a run ends, what the table says of levers, what is resumed and refused."""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import benchmarking
from taildiff.api.training import starting_spec, with_changes
from taildiff.errors import NonFiniteError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "time_to_quality.py"
quality = benchmarking.load("time_to_quality")
GOOD, POOR = [1.2, 0.6, 0.95], [1.5, 0.6, 0.95]


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., argparse.Namespace]:
    def read(*words: str) -> argparse.Namespace:
        monkeypatch.setattr(sys, "argv", ["time_to_quality.py", "--out", str(tmp_path), *words])
        return quality.parsed()

    return read


def found(lever: str, seed: int, step: int, numbers: list[float], seconds: float | None = None) -> dict[str, Any]:
    return {
        "lever": lever,
        "seed": seed,
        "step": step,
        "seconds": seconds or step / 5,
        "at": {"1": [9, 1, 1], "2": numbers},
    }


def test_the_thresholds_count_at_the_guidance_with_the_lowest_distance(options):
    read = options()
    assert quality.holds(found("base", 0, 200, GOOD), read)
    for numbers in ([1.28, 0.6, 0.95], [1.2, 0.54, 0.95], [1.2, 0.6, 0.92]):
        assert not quality.holds(found("base", 0, 200, numbers), read)  # although guidance 1 has the better shares
    assert quality.holds(found("base", 0, 200, [1.4, 0.6, 0.95]), options("--frechet", "1.5"))


def test_a_run_is_trained_until_it_reaches_them_and_resumed_after_its_last_evaluation(options, tmp_path, monkeypatch):
    read, calls = options("--first", "100", "--every", "50", "--most", "300"), []
    monkeypatch.setattr(quality.taildiff, "train", lambda recipe, **given: calls.append(given))
    monkeypatch.setattr(quality, "seconds_at", lambda log, step: step / 5)
    monkeypatch.setattr(quality, "numbers", lambda run, step, seed, o: {"1": GOOD if step == 200 else POOR})
    record = quality.Record(tmp_path / "quality.jsonl", {"recipe": "mnist5k-ccua"})
    quality.train_and_evaluate(read, record, "lr-2e-3", {"optimizer.lr": 2e-3}, 7)
    assert [call["stop_at"] for call in calls] == [100, 150, 200]
    assert {(call["seed"], call["steps"]) for call in calls} == {(7, 300)}
    assert all(call["changes"]["optimizer.lr"] == 2e-3 for call in calls)
    assert all(call["changes"]["optimizer.schedule"] == "constant" for call in calls)

    again = quality.Record(tmp_path / "quality.jsonl", {"recipe": "mnist5k-ccua"})
    quality.train_and_evaluate(read, again, "lr-2e-3", {}, 7)
    assert len(calls) == 3
    harder = options("--first", "100", "--every", "50", "--most", "300", "--frechet", "1.1")
    quality.train_and_evaluate(harder, again, "lr-2e-3", {}, 7)
    assert [call["stop_at"] for call in calls[3:]] == [250, 300]
    assert quality.ended(again, "lr-2e-3", 7, harder)
    assert quality.reached(again, "lr-2e-3", 7, harder) is None
    with pytest.raises(SystemExit, match="has recipe mnist5k-ccua, not mnist5k-plain: give another --out"):
        quality.Record(tmp_path / "quality.jsonl", {"recipe": "mnist5k-plain"})


def test_a_run_that_diverges_counts_as_not_reached(options, tmp_path, monkeypatch):
    def diverging(recipe: str, **given: Any) -> None:
        raise NonFiniteError("training stopped in step 3")

    monkeypatch.setattr(quality.taildiff, "train", diverging)
    record = quality.Record(tmp_path / "quality.jsonl", {})
    quality.train_and_evaluate(options(), record, "base", {}, 0)
    again = quality.Record(tmp_path / "quality.jsonl", {})
    assert quality.table(again, ["base"], options()).endswith(
        "| base | 0 of 1 | not reached | not reached | inf |  |  |"
    )


def test_the_table_has_medians_and_differences_by_seed(options, tmp_path):
    read, record = options("--most", "400", "--every", "200"), quality.Record(tmp_path / "quality.jsonl", {})
    for seed, step in enumerate((200, 400, 400)):
        record.add(found("base", seed, step, GOOD))
        record.add(found("faster", seed, step, GOOD, seconds=step / 10))
    for seed, numbers in enumerate((GOOD, GOOD, POOR)):
        record.add(found("mixed", seed, 400, numbers, seconds=70))
    record.add(found("slower", 0, 400, GOOD))
    record.add(found("running", 0, 200, POOR))
    lines = quality.table(record, ["base", "faster", "mixed", "slower", "running"], read).splitlines()[2:]
    assert lines == [
        "| base | 3 of 3 | 80 | 400 | 200 |  |  |",
        "| faster | 3 of 3 | 40 | 400 | 100 | -20, -40, -40 | faster with every seed |",
        "| mixed | 2 of 3 | 70 | 400 | 175 | +30, -10, only the base | seeds disagree |",
        "| slower | 1 of 1 | 80 | 400 | 200 | +40 | slower with every seed |",
    ]


@pytest.mark.parametrize("recipe", ["mnist5k-plain", "mnist5k-sit-ccua"])
def test_every_lever_changes_the_recipe(options, recipe: str):
    spec = starting_spec(recipe)
    levers = quality.levers_of(options(), spec)
    assert next(iter(levers)) == "base"
    assert ("muon" in levers) == (spec.model.kind == "sit")
    changed = [with_changes(spec, changes).model_dump_json() for changes in levers.values()]
    assert len({*changed}) == len(changed)
    assert changed[0] == spec.model_dump_json()


def test_levers_are_chosen_by_name_or_given(options):
    spec = starting_spec("mnist5k-plain")
    assert list(quality.levers_of(options("--levers", "batch-32"), spec)) == ["base", "batch-32"]
    own = quality.levers_of(options("--lever", "narrow", "model.channels=[8, 16]", "path.times=logit-normal"), spec)
    assert own == {"base": {}, "narrow": {"model.channels": [8, 16], "path.times": "logit-normal"}}
    with pytest.raises(SystemExit, match="unknown lever muon for this network"):
        quality.levers_of(options("--levers", "muon"), spec)
    with pytest.raises(SystemExit, match="write FIELD=VALUE instead of narrow"):
        quality.levers_of(options("--lever", "x", "narrow"), spec)


@pytest.mark.slow
def test_the_quick_run_measures_and_resumes(tmp_path):
    words = [sys.executable, str(SCRIPT), "--quick", "--out", str(tmp_path / "q"), "--frechet", "0"]
    first, second = (subprocess.run(words, check=True, capture_output=True, text=True).stdout for _ in range(2))
    assert first.count(", seed 0, step ") == 6
    assert second.count(", seed 0, step ") == 0
    assert "| base | 0 of 1 | not reached | not reached |" in second
    assert second.strip() == first[first.index("mnist5k-ccua: training until") :].strip()
