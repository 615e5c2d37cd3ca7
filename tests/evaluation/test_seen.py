"""A run is judged on a store that was split, or grew, after its training."""

from pathlib import Path

import numpy as np
import pytest

from evaluation import tiny
from taildiff.data.longtail import Split
from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.errors import InputError
from taildiff.evaluation import classifier_network
from taildiff.evaluation.evaluate import evaluate
from taildiff.evaluation.seen import seen
from taildiff.evaluation.table import Table
from taildiff.spec import EvalSpec, SamplingSpec

COUNTS = (30, 26, 24)
SPEC = EvalSpec(
    guidance=(1.0,),
    per_class=12,
    metrics=("frechet", "precision", "recall", "accuracy", "memorized"),
    sampling=SamplingSpec(sampler="euler", steps=1),
)


def write(path: Path, images: np.ndarray, labels: np.ndarray, test: np.ndarray) -> Store:
    with StoreWriter(path, "halves", tiny.NAMES, (tiny.SIZE, tiny.SIZE, 1), SourceMeta(source="made")) as writer:
        writer.append(images, labels, test)
        return writer.close()


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that holds out nothing; `run` beside it was trained on it."""
    monkeypatch.setattr(classifier_network, "_STEPS", (6, 6))
    monkeypatch.setattr(classifier_network, "_BATCH", 8)
    store = tiny.make_store(tmp_path / "store", COUNTS)
    tiny.make_run(tmp_path / "run", store)
    return store


def later(old: Store, path: Path, new: int = 0) -> Store:
    """The same images with every fifth held out, and before them as many held-out ones that are `new`."""
    images, labels = np.asarray(old.images), np.asarray(old.labels)
    test = np.arange(len(labels)) % 5 == 0
    if new:
        more, more_labels = tiny.images((new, new, new), seed=9)
        images, labels = np.concatenate([more, images]), np.concatenate([more_labels, labels])
        test = np.concatenate([np.ones(3 * new, bool), test])
    return write(path, images, labels, test)


@pytest.mark.parametrize("gone", [False, True])
def test_on_a_later_split_memorised_and_utility_are_refused_with_the_reason(old: Store, tmp_path: Path, gone: bool):
    store, run = later(old, tmp_path / "later"), tiny.RunDir(tmp_path / "run")
    if gone:
        (old.root / "store.json").unlink()
    table = Table.read(evaluate(run, store, SPEC.model_copy(update={"reference": "all"})))
    values = {row.metric: row.value for row in table.select(group="all")}
    assert values["memorized"] is None
    assert all(values[name] is not None for name in ("frechet", "precision", "recall", "accuracy"))
    (note,) = (note for note in table.notes if "memorised" in note)
    assert "the generator has seen the held-out images" in note
    with pytest.raises(InputError, match="--utility: the generator has seen the held-out images"):
        evaluate(run, store, SPEC.model_copy(update={"utility": True}))


def test_photographs_that_are_new_to_the_run_give_everything(old: Store, tmp_path: Path):
    store, run = later(old, tmp_path / "grown", new=10), tiny.RunDir(tmp_path / "run")
    known = seen(run, Split.load(run.split), store)
    np.testing.assert_array_equal(known.index, np.arange(30, 110))
    assert not known.refused
    table = Table.read(evaluate(run, store, SPEC.model_copy(update={"utility": True})))
    values = {row.metric: row for row in table.select(group="all")}
    assert values["memorized"].value is not None
    assert values["memorized"].n_real == 30
    assert values["utility_gain"].value is not None
    assert values["utility_gain"].n_real == 30


def test_of_a_store_that_is_gone_nothing_is_known(old: Store, tmp_path: Path):
    store, run = later(old, tmp_path / "grown", new=10), tiny.RunDir(tmp_path / "run")
    (old.root / "store.json").unlink()
    known = seen(run, Split.load(run.split), store)
    assert known.index is None
    assert "it is not known which images" in known.refused


def test_the_runs_own_store_needs_no_comparison(old: Store, tmp_path: Path):
    run = tiny.RunDir(tmp_path / "run")
    split = Split.load(run.split)
    assert seen(run, split, old).index is split.index
    table = Table.read(evaluate(run, old, SPEC))
    (row,) = table.select("memorized", "all")
    assert row.value is not None  # each training image left out
    assert any("each left out" in note for note in table.notes)
