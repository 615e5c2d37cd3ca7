"""Did it help: the interval, the verdict in words, and a whole check with its interruption."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from filling.made import Filling
from taildiff.data.longtail import Split
from taildiff.errors import InputError
from taildiff.evaluation import classifier_network
from taildiff.evaluation.utility import _paired
from taildiff.filling import check
from taildiff.filling.check import Accuracy, CheckResult, check_possible, gain_interval, run_check
from taildiff.filling.request import Amounts


def test_of_one_class_and_seed_the_interval_is_that_of_paired_shares():
    difference = np.repeat([1.0, -1.0, 0.0], [9, 3, 28])[None]
    known = _paired(9, 3, 40)
    np.testing.assert_allclose(gain_interval(difference, np.zeros(40, int), [0]), (known.low, known.high))


def test_chance_gains_are_rarely_called_real_and_large_ones_are():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [60, 12, 2])

    def excludes_0(gain: float) -> bool:
        before = rng.random((3, len(labels))) < 0.6
        after = rng.random((3, len(labels))) < 0.6 + gain
        low, _ = gain_interval(after.astype(float) - before, labels, [0, 1, 2])
        return low > 0

    assert sum(excludes_0(0.0) for _ in range(400)) <= 10
    assert sum(excludes_0(0.39) for _ in range(50)) >= 40


@pytest.mark.parametrize(
    ("low", "high", "says", "recommended"),
    [
        (0.01, 0.09, "help", True),
        (-0.01, 0.09, "add nothing that can be measured", False),
        (-0.09, -0.01, "do harm", False),
    ],
)
def test_the_verdict_in_words(low: float, high: float, says: str, recommended: bool):
    result = CheckResult(0.5, {}, (Accuracy("all", "all classes", 40, 0.6, 0.7, 0.74, 0.04, low, high),))
    assert says in result.verdict
    assert result.recommended is recommended


def test_a_check_uses_held_out_images_resumes_and_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (6, 6))
    monkeypatch.setattr(classifier_network, "_BATCH", 8)
    filling = Filling(tmp_path, {"cat": 15, "dog": 10, "owl": 6})
    out = tmp_path / "filled"
    filling.into(out, least=0)
    job = filling.job(out)
    trained: list[str] = []

    def stop_after(count: int):
        def progress(stage: str, done: int, total: int, /) -> None:
            if done == total:
                trained.append(stage)
            if len(trained) == count:
                raise KeyboardInterrupt

        return progress

    with pytest.raises(KeyboardInterrupt):
        run_check(job, progress=stop_after(5))
    result = run_check(job, progress=stop_after(99))
    assert len(trained) == 5 + 14  # four of the five were kept
    assert len({*trained}) == 18
    assert [row.name for row in result.rows] == ["all classes", "head", "body", "tail", "cat", "dog", "owl"]
    assert result.rows[0].images == filling.store.test.sum()
    assert result.share in check.SHARES
    assert (tmp_path / "filled-info" / "check.json").is_file()
    again = run_check(job, progress=stop_after(0))
    assert again == result


def test_without_images_that_are_new_to_the_generator_there_is_no_check(tmp_path: Path):
    filling = Filling(tmp_path, {"cat": 20, "dog": 12}, amounts=Amounts(to=40))
    job = filling.job(tmp_path / "out")
    assert len(check_possible(job)) == 6
    seen = Split(job.split.store_hash, "", np.arange(32), (20, 12), "")
    with pytest.raises(InputError, match="holds out none; prepare with --hold-out"):
        check_possible(replace(job, split=seen))
