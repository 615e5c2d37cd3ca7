"""`--features` and `--utility` reach the table: another definition; classifiers by group, and what they lack."""

from pathlib import Path

import numpy as np
import pytest

from evaluation import tiny
from taildiff.evaluation import classifier_network
from taildiff.evaluation import evaluate as module
from taildiff.evaluation.evaluate import evaluate
from taildiff.evaluation.table import Table
from taildiff.spec import DataSpec, EvalSpec, SamplingSpec

SPEC = EvalSpec(guidance=(1.0,), per_class=40, metrics=("frechet",), sampling=SamplingSpec(sampler="euler", steps=1))


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (40, 40))
    monkeypatch.setattr(classifier_network, "_BATCH", 32)
    monkeypatch.setattr(module, "generate", lambda *_, **__: tiny.images((40, 40, 40), seed=9)[0])


def test_the_classifier_of_the_real_images_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """For all guidance values, and for another run of the same images; with the result of training it every time."""
    store = tiny.make_store(tmp_path / "store", (60, 60, 60), (20, 20, 20))
    stages: list[str] = []
    train = classifier_network.train
    monkeypatch.setattr(classifier_network, "_STEPS", (10, 10))
    monkeypatch.setattr(classifier_network, "train", lambda *args: (stages.append(args[6]), train(*args)))

    def real(name: str, ratio: float = 0.1, guidance: tuple[float, ...] = (1.0,)) -> list[float | None]:
        run = tiny.make_run(tmp_path / name, store, data=DataSpec(tail="exp", ratio=ratio))
        spec = SPEC.model_copy(update={"guidance": guidance, "utility": True})
        stages.clear()
        return [row.value for row in Table.read(evaluate(run, store, spec)).select("utility_real", guidance=1.0)]

    def trained(kind: str) -> int:
        return stages.count(f"utility: classifier on {kind} images")

    values = real("one", guidance=(1.0, 2.0))
    assert [trained(kind) for kind in ("real", "completed", "generated")] == [1, 2, 2]
    assert real("other") == values
    assert [trained(kind) for kind in ("real", "completed", "generated")] == [0, 1, 1]
    real("of-other-images", ratio=0.2)
    assert trained("real") == 1
    monkeypatch.setattr("taildiff.evaluation.utility.cached_array", lambda folder, key, make: make())
    assert real("without-a-cache") == values
    assert trained("real") == 1


def test_utility_and_own_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = tiny.make_store(tmp_path / "store", (60, 60, 60), (20, 20, 20))
    run = tiny.make_run(tmp_path / "run", store, data=DataSpec(tail="exp", ratio=0.1))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "td_features.py").write_text("def means(images):\n    return images.mean(axis=(1, 2))\n")
    plain = Table.read(evaluate(run, store, SPEC))
    other = Table.read(evaluate(run, store, SPEC.model_copy(update={"features": "td_features:means", "utility": True})))
    assert plain.definition.name != other.definition.name
    assert other.definition.extractor.dim == 1
    assert not plain.select("utility_real")
    for metric in ("utility_real", "utility_completed", "utility_generated"):
        (row,) = other.select(metric, "all")
        assert row.n_real == 60
        assert row.value is not None
        assert row.low is not None
        assert row.low < row.value
    completed, real = (other.value(name, "all", 1.0) for name in ("utility_completed", "utility_real"))
    assert completed is not None
    assert real is not None
    gain = other.value("utility_gain", "all", 1.0)
    assert gain is not None
    np.testing.assert_allclose(gain, completed - real, atol=1e-12)
    assert any("lack" in note and "--per-class 60" in note for note in other.notes)
