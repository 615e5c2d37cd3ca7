"""A whole evaluation on a tiny store: known images give known numbers; nothing is done twice; nothing wrong is kept."""

from pathlib import Path

import numpy as np
import pytest

from evaluation import tiny
from taildiff.data.store import Store
from taildiff.errors import RunError
from taildiff.evaluation import classifier_network
from taildiff.evaluation import evaluate as module
from taildiff.evaluation.evaluate import evaluate
from taildiff.evaluation.table import Table
from taildiff.run.layout import RunDir
from taildiff.run.weights import read_weights, write_weights
from taildiff.spec import CHEAP, DataSpec, EvalSpec, SamplingSpec

SPEC = EvalSpec(guidance=(1.0, 2.0), per_class=40, sampling=SamplingSpec(sampler="euler", steps=1))
TAIL = DataSpec(tail="exp", ratio=0.1)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (40, 40))
    monkeypatch.setattr(classifier_network, "_BATCH", 32)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny.make_store(tmp_path_factory.mktemp("data") / "store", (60, 60, 60), (20, 20, 20))


@pytest.fixture
def run(tmp_path: Path, store: Store) -> RunDir:
    return tiny.make_run(tmp_path / "run", store, data=TAIL)


class Fake:
    """Instead of sampling: fresh images of the right classes; at guidance 2 the first class looks like the second."""

    def __init__(self) -> None:
        self.guidances: list[float] = []

    def __call__(
        self, model, labels, sampling, guidance, batch_size=256, progress=None, array=None, engine=None
    ) -> np.ndarray:
        self.guidances.append(guidance)
        pictures, made = tiny.images((40, 40, 40), seed=9)
        np.testing.assert_array_equal(made, labels)
        if guidance == 2:
            pictures[labels == 0] = pictures[labels == 1]
        return pictures


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(module, "generate", made)
    return made


def test_known_images_give_known_numbers(run: RunDir, store: Store, fake: Fake):
    table = Table.read(evaluate(run, store, SPEC))
    assert [note.split(":")[0] for note in table.notes] == ["fewer than 64 images for 32 dimensions"]
    good, wrong = table.value("accuracy", "all", 1.0), table.value("accuracy", "all", 2.0)
    assert good is not None
    assert wrong is not None
    assert good > 0.95
    assert wrong == pytest.approx(2 / 3, abs=0.05)
    assert table.value("accuracy", "class", 2.0, "left") == pytest.approx(0, abs=0.05)
    (judged,) = table.select("classifier_accuracy", "all")
    assert (judged.guidance, judged.n_real, judged.n_generated) == (None, 60, 0)
    for group in ("all", "head"):  # the tail leaves most of the first class, so it is the head
        right, mixed = table.value("frechet", group, 1.0), table.value("frechet", group, 2.0)
        assert right is not None
        assert mixed is not None
        assert mixed > 3 * right
    precision = table.select("precision", "all", 1.0)[0]
    assert (precision.n_real, precision.n_generated) == (120, 120)
    frechet = table.select("frechet", "all", 1.0)[0]
    assert (frechet.n_real, frechet.n_generated) == (180, 120)
    assert table.groups == ("all", "head", "body", "tail", "medium", "few")
    assert table.metrics == ("classifier_accuracy", *CHEAP)
    assert len(table.rows) == (1 + 2 * len(CHEAP)) * (6 + 3)
    assert len({(r.metric, r.group, r.class_name, r.guidance) for r in table.rows}) == len(table.rows)


def test_a_finished_evaluation_is_returned_and_an_interrupted_one_resumes(run: RunDir, store: Store, fake: Fake):
    folder = evaluate(run, store, SPEC)
    first = folder.table_json.read_bytes()
    assert evaluate(run, store, SPEC) == folder
    assert fake.guidances == [1.0, 2.0]
    folder.table_json.unlink()  # stopped after the first guidance
    folder.images(2.0).unlink()
    evaluate(run, store, SPEC)
    assert fake.guidances == [1.0, 2.0, 2.0]
    assert folder.table_json.read_bytes() == first
    folder.table_json.write_text("{")
    folder.images(1.0).write_bytes(folder.images(1.0).read_bytes()[:-30])
    evaluate(run, store, SPEC)
    assert fake.guidances == [1.0, 2.0, 2.0, 1.0]
    assert folder.table_json.read_bytes() == first


def test_one_more_guidance_samples_only_that_one(run: RunDir, store: Store, fake: Fake):
    first = evaluate(run, store, SPEC)
    more = evaluate(run, store, SPEC.model_copy(update={"guidance": (1.0, 2.0, 3.0)}))
    assert more != first
    assert fake.guidances == [1.0, 2.0, 3.0]
    kept = Table.read(more)
    assert kept.value("frechet", "all", 2.0) == Table.read(first).value("frechet", "all", 2.0)
    assert np.load(more.images(1.0))["images"].shape == (120, 8, 8, 1)


def test_other_weights_are_evaluated_again(run: RunDir, store: Store, fake: Fake):
    folder = evaluate(run, store, SPEC)
    tensors, meta = read_weights(run.weights(5))
    write_weights(run.weights(5), {name: value + 1 for name, value in tensors.items()}, meta)
    assert evaluate(run, store, SPEC) == folder  # the name is the same, so that runs can be compared by it
    assert fake.guidances == [1.0, 2.0, 1.0, 2.0]


def test_two_runs_share_a_definition(tmp_path: Path, run: RunDir, store: Store, fake: Fake):
    other = tiny.make_run(tmp_path / "other", store, data=TAIL)
    assert evaluate(run, store, SPEC).root.name == evaluate(other, store, SPEC).root.name
    changed = SPEC.model_copy(update={"k": 4})
    assert evaluate(run, store, changed).root.name != evaluate(run, store, SPEC).root.name


def test_with_the_real_sampler(run: RunDir, store: Store):
    spec = SPEC.model_copy(update={"per_class": 6, "guidance": (1.5,)})
    told: dict[str, tuple[int, int]] = {}
    folder = evaluate(run, store, spec, lambda stage, done, total: told.update({stage: (done, total)}))
    table = Table.read(folder)
    assert table.value("frechet", "class", 1.5, "top") is None
    assert [note.split()[0] for note in table.notes] == ["a", "k"]  # the Fréchet distance's; k is 3 of 6 images
    assert "left, right, top" in table.notes[0]
    with np.load(folder.images(1.5)) as file:
        assert file["images"].dtype == np.uint8
        assert file["labels"].tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert told
    assert all(done == total for done, total in told.values())
    assert not list(run.root.rglob("*.tmp"))


def test_too_few_generated_images_are_not_blamed_on_the_real_ones(run: RunDir, store: Store):
    table = Table.read(evaluate(run, store, SPEC.model_copy(update={"per_class": 2, "guidance": (1.0,)})))
    frechet, neighbours, near = table.notes
    assert near.startswith("k = 3 neighbours of only 4 images")
    assert "Fréchet distance needs more than 32" in frechet
    assert "precision and recall need more images than their k" in neighbours
    assert table.value("recall", "all", 1.0) is not None


@pytest.mark.parametrize("place", [10, 200, -200])
def test_flipped_bits_in_stored_images_are_found(run: RunDir, store: Store, fake: Fake, place: int):
    folder = evaluate(run, store, SPEC)
    folder.table_json.unlink()
    data = bytearray(folder.images(1.0).read_bytes())
    data[place] ^= 255
    folder.images(1.0).write_bytes(data)
    evaluate(run, store, SPEC)
    with np.load(folder.images(1.0)) as file:
        np.testing.assert_array_equal(file["images"], tiny.images((40, 40, 40), seed=9)[0])


def test_an_unbalanced_reference_is_noted(tmp_path: Path, fake: Fake):
    store = tiny.make_store(tmp_path / "store", (90, 40, 12))
    run = tiny.make_run(tmp_path / "run", store)
    table = Table.read(evaluate(run, store, SPEC))
    assert any("no balanced reference" in note for note in table.notes)
    few = "fewer than 20 real images, so no distances; accuracy with wide intervals: "
    assert any(note.startswith(few) and "top" in note for note in table.notes)
    rare = {row.metric: row for row in table.select(class_name="top", guidance=1.0)}
    assert len(rare) == len(CHEAP)
    accuracy = rare.pop("accuracy")
    assert accuracy.value is not None
    assert accuracy.low is not None
    assert accuracy.high is not None
    assert accuracy.high - accuracy.low > 0.2
    assert all(row.value is None and row.n_real == 12 for row in rare.values())
    assert table.value("frechet", "class", 1.0, "left") is not None
    assert table.select("frechet", "all", 1.0)[0].n_real == 142
    assert table.select("classifier_accuracy", "class", class_name="top")[0].n_real == 12  # cross-fitted


def test_another_store_is_refused_unless_it_is_of_the_same_kind(tmp_path: Path, run: RunDir, fake: Fake):
    similar = tiny.make_store(tmp_path / "similar", (50, 50, 50), (9, 9, 9))
    assert "not the store that the run was trained on" in Table.read(evaluate(run, similar, SPEC)).notes[0]
    colour = tiny.make_store(tmp_path / "colour", (50, 50, 50), (9, 9, 9), channels=3)
    with pytest.raises(RunError, match=r"8x8x3, the run has 3 classes .* of 8x8x1"):
        evaluate(run, colour, SPEC)


def test_a_store_with_the_other_unicode_form_of_a_class_name_fits(
    tmp_path: Path, store: Store, fake: Fake, monkeypatch: pytest.MonkeyPatch
):
    """macOS writes é as two characters; as two texts they are different, as names of a class they are not."""
    monkeypatch.setattr(tiny, "NAMES", ("caf\u00e9", "right", "top"))
    run = tiny.make_run(tmp_path / "run", tiny.make_store(tmp_path / "one", (50, 50, 50), (9, 9, 9)))
    monkeypatch.setattr(tiny, "NAMES", ("cafe\u0301", "right", "top"))
    other = tiny.make_store(tmp_path / "other", (50, 50, 50), (9, 9, 9))
    assert "not the store that the run was trained on" in Table.read(evaluate(run, other, SPEC)).notes[0]


def test_a_run_without_weights_is_refused(run: RunDir, store: Store):
    run.weights(5).unlink()
    with pytest.raises(RunError, match="weights"):
        evaluate(run, store, SPEC)
    assert not run.evals.exists()
