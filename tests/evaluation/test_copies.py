"""Exact copies: in an oversampled tail, among held-out images, and in batches of other sizes."""

from pathlib import Path

import numpy as np
import pytest

from evaluation import tiny
from taildiff.data.copies import same_content
from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.evaluation import classifier_network
from taildiff.evaluation.image_sets import TrainingImages, evaluate_images
from taildiff.evaluation.image_sources import ImageSource
from taildiff.evaluation.images import in_batches
from taildiff.evaluation.pipeline import EvaluationsDir
from taildiff.evaluation.table import Row, Table
from taildiff.spec import EvalSpec


def write(path: Path, parts: list[tuple[np.ndarray, np.ndarray]], names: bool = False) -> Store:
    """A store of a training and perhaps a held-out part, each images and labels."""
    with StoreWriter(path, path.name, tiny.NAMES, (tiny.SIZE, tiny.SIZE, 1), SourceMeta(source=path.name)) as writer:
        for held_out, (images, labels) in enumerate(parts):
            texts = [f"{('train', 'test')[held_out]}/{i}.png" for i in range(len(labels))] if names else []
            writer.append(images, labels, np.full(len(labels), bool(held_out)), texts)
        return writer.close()


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """The training images once more, as if learnt by heart; six of the last class, four copies of each, one leaks."""
    monkeypatch.setattr(classifier_network, "_STEPS", (20, 20))
    images, labels = tiny.images((24, 24, 24))
    images[48:] = np.tile(images[48:54], (4, 1, 1, 1))
    held_out, held_out_labels = tiny.images((24, 24, 24), seed=1)
    held_out[3] = images[3]
    store = write(tmp_path / "real", [(images, labels), (held_out, held_out_labels)], names=True)
    made = write(tmp_path / "made", [(images, labels)])
    spec = EvalSpec(guidance=(), per_class=24, metrics=("precision", "recall", "density", "coverage", "memorized"))
    trained = TrainingImages((24, 24, 24), store.train_index)
    source = ImageSource("made", made, np.asarray(made.labels), ())
    return Table.read(evaluate_images(source, store, spec, EvaluationsDir(tmp_path / "evals"), trained))


def test_an_oversampled_tail_keeps_its_neighbourhoods_and_n_counts_different_images(table: Table):
    values = {row.metric: row for row in table.select(class_name="top")}
    assert [values[name].value for name in ("precision", "recall", "coverage")] == [1, 1, 1]
    assert values["density"].value == pytest.approx(1.2, abs=0.3)
    assert all((values[name].n_real, values[name].n_generated) == (6, 6) for name in ("recall", "density"))
    (whole,) = table.select("recall", "all")
    assert (whole.value, whole.n_real, whole.n_generated) == (1, 54, 54)
    assert "exact copies count once as neighbours; different images, real: top 6 of 24; generated: top 6 of 24" in (
        table.notes
    )


def test_a_leaked_held_out_image_is_named_and_left_out(table: Table):
    def shares(rows: tuple[Row, ...]) -> list[float | None]:
        return [row.value for row in rows]

    assert shares(table.select("memorized", "class")) == [1, 1, 1]
    (note,) = (note for note in table.notes if "memorized" in note)
    assert note.startswith("1 held-out image is a copy of a training image")
    assert note.endswith(": test/3.png")


def test_copies_have_equal_features_in_any_batch():
    images = np.repeat(np.arange(6, dtype=np.uint8), 3).reshape(-1, 1, 1, 1)

    def rounding(part: np.ndarray) -> np.ndarray:
        return (part.reshape(-1, 1) + 1e-6 * len(part)).astype(np.float32)

    assert len(np.unique(in_batches(images, 1, 4, rounding))) == 6


def test_content_is_that_of_the_pixels_and_cached(tmp_path: Path):
    images, labels = tiny.images((4, 4, 4))
    images[5] = images[0]
    store = write(tmp_path / "store", [(images, labels)])
    for _ in range(2):
        content = same_content(store)
        assert len(np.unique(content)) == 11
        assert content[5] == content[0]
    assert len(list(store.cache_dir.glob("content-*.npz"))) == 1
