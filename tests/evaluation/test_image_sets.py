"""Folders and npz files from any source: each scores as it should, and pitfalls are noted."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from taildiff.data.formats.digits import find_digits
from taildiff.data.prepare import prepare
from taildiff.errors import DataError, InputError
from taildiff.evaluation import classifier_network
from taildiff.evaluation.image_sets import TrainingImages, evaluate_images, evaluate_statistics
from taildiff.evaluation.image_sources import ImageSource, open_images, read_statistics, to_store
from taildiff.evaluation.overview import overview
from taildiff.evaluation.pipeline import EvaluationsDir
from taildiff.evaluation.table import Table
from taildiff.metrics import GaussianStatistics
from taildiff.run.layout import EvalDir
from taildiff.spec import EvalSpec

N = 60
SPEC = EvalSpec(guidance=(), per_class=0)
FOLDERS = tuple("0123456789")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """uint8 (10, 2N, 28, 28): real digits by class."""
    store = prepare(find_digits(), tmp_path_factory.mktemp("mnist") / "store")
    return np.stack([store.images[store.labels == label][: 2 * N, ..., 0] for label in range(10)])


def write(root: Path, images: np.ndarray) -> Path:
    for label, own in enumerate(images):
        (root / str(label)).mkdir(parents=True)
        for number, image in enumerate(own):
            Image.fromarray(image).save(root / str(label) / f"{number:03d}.png")
    return root


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, digits: np.ndarray) -> Path:
    return write(tmp_path_factory.mktemp("real") / "real", digits[:, :N])


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (60, 60))
    monkeypatch.setattr(classifier_network, "_BATCH", 32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def evaluated(source: Path, real: Path, cache: Path, spec: EvalSpec = SPEC) -> tuple[EvalDir, Table]:
    store, _ = to_store(real, cache)
    home = EvaluationsDir(source.with_name(f"{source.name}-evals"))
    folder = evaluate_images(open_images(source, store, FOLDERS, home.cache), store, spec, home)
    return folder, Table.read(folder)


def blur(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2)))


def test_real_blurred_and_repeated_images_score_as_they_should(
    tmp_path: Path, digits: np.ndarray, real: Path, cache: Path
):
    other = digits[:, N:]
    _, half = evaluated(write(tmp_path / "half", other), real, cache)
    _, blurred = evaluated(
        write(tmp_path / "blurred", np.array([[blur(i) for i in own] for own in other])), real, cache
    )
    _, repeated = evaluated(write(tmp_path / "repeated", np.repeat(other[:, :1], N, axis=1)), real, cache)

    def values(table: Table) -> dict[str, float]:
        return {row.metric: row.value for row in table.select(group="all") if row.value is not None}

    good, soft, same = values(half), values(blurred), values(repeated)
    assert min(good["precision"], good["recall"], good["coverage"]) > 0.75
    assert good["frechet"] < 0.1 * min(soft["frechet"], same["frechet"])
    assert abs(good["kernel_distance"]) < 0.1 * min(soft["kernel_distance"], same["kernel_distance"])
    assert good["accuracy"] > 0.75
    assert soft["precision"] < 0.5 * good["precision"]
    assert soft["accuracy"] < 0.7 * good["accuracy"]
    assert same["recall"] < 0.02
    assert same["coverage"] < 0.2
    assert half.guidances == ()
    assert half.definition.drawn == (N,) * 10
    assert half.groups == ("all",)  # the training set is unknown


def test_a_second_evaluation_reuses_cached_results_and_an_interrupted_one_resumes(
    tmp_path: Path, digits: np.ndarray, real: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    source = write(tmp_path / "half", digits[:, N:])
    folder, first = evaluated(source, real, cache)
    stages: list[str] = []
    store, _ = to_store(real, cache)
    home = EvaluationsDir(folder.root.parent)
    subject = open_images(source, store, FOLDERS, home.cache)
    folder.table_json.unlink()
    part = min(home.cache.glob("part-*.npz"))
    part.unlink()  # stopped before this family of metrics

    def note(stage: str, done: int, total: int, /) -> None:
        stages.append(stage)

    evaluate_images(subject, store, SPEC, home, progress=note)
    assert Table.read(folder) == first
    assert set(stages) == {"metrics of the images"}
    assert len(stages) == 11  # one family of six, in each scope
    stages.clear()
    evaluate_images(subject, store, SPEC, home, progress=note)
    assert not stages
    fewer = SPEC.model_copy(update={"metrics": ("recall",)})
    evaluate_images(subject, store, fewer, home, progress=note)
    assert not stages


def test_what_a_model_was_trained_on_decides_the_groups(tmp_path: Path, digits: np.ndarray, real: Path, cache: Path):
    source = write(tmp_path / "half", digits[:, N : N + 30])
    store, _ = to_store(real, cache)
    home = EvaluationsDir(tmp_path / "evals")
    subject = open_images(source, store, FOLDERS, home.cache)
    index = np.concatenate([np.flatnonzero(store.labels == label)[: 30 - 3 * label] for label in range(10)])
    trained = TrainingImages(tuple(30 - 3 * label for label in range(10)), index)
    spec = EvalSpec(per_class=20, metrics=("accuracy", "memorized"))
    table = Table.read(evaluate_images(subject, store, spec, home, trained))
    assert {"head", "tail", "many", "few"} - set(table.groups) == {"many"}
    assert table.definition.drawn == (20,) * 10
    copied = table.value("memorized", "all")
    assert copied is not None
    assert copied < 0.1
    with pytest.raises(InputError, match="only 30 images of a class"):
        evaluate_images(subject, store, EvalSpec(per_class=31), home)


def test_one_class_is_shown_alone(tmp_path: Path, digits: np.ndarray, real: Path, cache: Path):
    for number, image in enumerate(digits[3, N:]):
        (tmp_path / "one" / "3").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "one" / "3" / f"{number}.png")
    _, table = evaluated(tmp_path / "one", real, cache)
    assert table.definition.drawn == (0, 0, 0, N, 0, 0, 0, 0, 0, 0)
    accuracy = table.value("accuracy", "class", class_name="3")
    assert accuracy is not None
    assert accuracy > 0.7
    assert [row[:2] for row in overview(table).rows] == [("3", f"{accuracy:.0%}")]
    assert any(note.startswith("no images of 9 classes: 0, 1, 2, 4, 5 …") for note in table.notes)


def test_unequal_classes_get_a_note(tmp_path: Path, digits: np.ndarray, real: Path, cache: Path):
    source = write(tmp_path / "unequal", digits[:, N:])
    for file in sorted((source / "3").iterdir())[10:]:
        file.unlink()
    _, table = evaluated(source, real, cache)
    assert any(note.startswith("label priors differ") for note in table.notes)
    assert table.definition.drawn == (60, 60, 60, 10, 60, 60, 60, 60, 60, 60)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda x: x, ""),
        (lambda x: x / 255, "not 8 bit (in [0, 1])"),
        (lambda x: x / 127.5 - 1, "not 8 bit (in [-1, 1])"),
        (lambda x: x.astype(np.uint16) * 257, "not 8 bit (16 bit)"),
        (lambda x: x.transpose(0, 3, 1, 2), ""),
    ],
)
def test_npz_files_of_all_kinds_give_the_same_images(tmp_path: Path, change, note: str):
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    np.savez(tmp_path / "x.npz", arr_0=change(images), arr_1=np.arange(12) % 3)
    store, notes = to_store(tmp_path / "x.npz", tmp_path / "cache", None, ("a", "b", "c"))
    np.testing.assert_array_equal(store.images, images)
    assert store.meta.class_names == ("a", "b", "c")
    assert note in " ".join(notes)
    assert bool(notes) == bool(note)


def test_other_sizes_are_resized_once_with_a_note(tmp_path: Path):
    np.savez(tmp_path / "x.npz", images=np.full((4, 16, 16), 99, np.uint8), labels=[0, 0, 1, 1])
    store, notes = to_store(tmp_path / "x.npz", tmp_path / "cache", 8)
    assert store.images.shape == (4, 8, 8, 1)
    assert "resize them a second time" in notes[0]
    folder = write(tmp_path / "folder", np.zeros((2, 3, 16, 16), np.uint8))
    store, notes = to_store(folder, tmp_path / "cache", 8)
    assert "resize them a second time" in notes[0]
    assert to_store(folder, tmp_path / "cache")[0].meta.height == 16


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros(3)}, "has no arr_0"),
        ({"images": np.zeros((2, 4, 4, 5), np.uint8), "labels": np.zeros(2, int)}, "images must be"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.zeros(3, int)}, "one integer per image"),
        ({"images": np.full((2, 4, 4), 900.0), "labels": np.zeros(2, int)}, r"use 8 bits"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array([0, 7])}, "labels 0..7"),
    ],
)
def test_an_npz_that_cannot_be_evaluated_is_named(tmp_path: Path, arrays: dict[str, np.ndarray], message: str):
    np.savez(tmp_path / "x.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match=message):
        to_store(tmp_path / "x.npz", tmp_path / "cache", None, ("a", "b"))


def test_an_unknown_class_is_named(tmp_path: Path, digits: np.ndarray, real: Path, cache: Path):
    source = write(tmp_path / "odd", digits[:2, :3])
    (source / "1").rename(source / "one")
    with pytest.raises(DataError, match="unknown class 'one'"):
        open_images(source, to_store(real, cache)[0], FOLDERS, cache)


def pixels(images: np.ndarray) -> np.ndarray:
    """A custom extractor: means of four quarters, and of the whole."""
    x = images.astype(np.float32).mean(axis=3) / 255
    a, b = x[:, :14], x[:, 14:]
    return np.stack([part.mean(axis=(1, 2)) for part in (a[..., :14], a[..., 14:], b[..., :14], b[..., 14:])], axis=1)


def test_statistics_of_other_tools_give_the_frechet_distance_alone(
    tmp_path: Path, digits: np.ndarray, real: Path, cache: Path
):
    source = write(tmp_path / "half", digits[:, N:])
    store, _ = to_store(real, cache)
    features = pixels(np.asarray(store.images))
    np.savez(tmp_path / "s.npz", mu=features.mean(axis=0), sigma=np.cov(features, rowvar=False))
    known = read_statistics(tmp_path / "s.npz")
    assert known is not None
    mine, notes = to_store(source, cache)
    subject = ImageSource("half", mine, np.asarray(mine.labels), notes)
    spec = EvalSpec(features="evaluation.test_image_sets:pixels")
    table = Table.read(evaluate_statistics(subject, known, spec, EvaluationsDir(tmp_path / "evals")))
    (row,) = table.rows
    assert row.value is not None
    assert row.value < 0.01
    assert any("only statistics" in note for note in table.notes)
    with pytest.raises(InputError, match="name it, as in --features inception"):
        evaluate_statistics(subject, known, EvalSpec(), EvaluationsDir(tmp_path / "evals"))
    wrong = GaussianStatistics(np.zeros(3), np.eye(3), 9)
    with pytest.raises(InputError, match="3 dimensions"):
        evaluate_statistics(subject, wrong, spec, EvaluationsDir(tmp_path / "evals"))
