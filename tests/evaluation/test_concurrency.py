"""Two processes at one evaluation, one store or one output: each result is that of a process on its own."""

import multiprocessing
import shutil
import time

import numpy as np
import pytest

import taildiff
from evaluation import tiny
from taildiff.data import locate
from taildiff.errors import InputError
from taildiff.evaluation import classifier_network
from taildiff.evaluation.evaluate import evaluate, read_images
from taildiff.evaluation.pipeline import EvaluationsDir, one_evaluation
from taildiff.evaluation.table import Table
from taildiff.io import lock
from taildiff.io.lock import locked
from taildiff.io.staging import lock_of
from taildiff.spec import EvalSpec, SamplingSpec

SPEC = EvalSpec(guidance=(1.0, 2.0), per_class=24, sampling=SamplingSpec(sampler="euler", steps=2))
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path):
    return tiny.make_store(tmp_path / "store", (24, 24, 24), (4, 4, 4))


@pytest.fixture
def run(store, tmp_path, monkeypatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (3, 3))
    return tiny.make_run(tmp_path / "run", store)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("offset", [0.0, 0.2])
def test_two_evaluations_at_once_equal_one(run, store, offset):
    evaluate(run, store, SPEC)
    expected = files(run.evals)
    shutil.rmtree(run.evals)
    shutil.rmtree(store.cache_dir)
    processes = [FORK.Process(target=evaluate, args=(run, store, SPEC)) for _ in range(2)]
    for process in processes:
        process.start()
        time.sleep(offset)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert files(run.evals) == expected


def test_features_and_numbers_of_other_images_are_not_used(run, store):
    """As two processes at once left them: black images, measured and cached under the settings of the right ones."""
    first = evaluate(run, store, SPEC)
    expected = Table.read(first)
    path = first.images(2.0)
    with np.load(path) as arrays:
        kept = dict(arrays)
    np.savez_compressed(path, **(kept | {"images": np.zeros_like(kept["images"])}))
    first.table_json.unlink()
    black = Table.read(evaluate(run, store, SPEC))
    assert black.rows != expected.rows
    np.savez_compressed(path, **kept)
    first.table_json.unlink()
    assert Table.read(evaluate(run, store, SPEC)).rows == expected.rows


def test_the_second_evaluation_returns_the_table_that_the_first_wrote(run, store, monkeypatch):
    expected = evaluate(run, store, SPEC)
    definition = Table.read(expected).definition
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.01)
    with one_evaluation(EvaluationsDir(run.evals), definition):
        second = FORK.Process(target=evaluate, args=(run, store, SPEC))
        second.start()
        time.sleep(0.3)
        assert second.is_alive()
    second.join()
    assert second.exitcode == 0


def test_an_evaluation_removes_what_a_killed_one_left(run, store):
    folder = evaluate(run, store, SPEC)
    expected = files(run.evals)
    left = folder.root / ".images-g1.npz.partial"
    left.mkdir()
    (left / "images.npy").write_bytes(b"half")
    for path in (folder.root / ".table.csv.0a1b2c3d.tmp", run.evals / ".cache" / ".part-1.npz.00000000.tmp"):
        path.write_bytes(b"half")
    lock_of(folder.root).touch()
    assert evaluate(run, store, SPEC) == folder
    assert files(run.evals) == expected
    assert not left.exists()


def test_two_first_uses_of_the_digits_prepare_them_once(tmp_path):
    processes = [FORK.Process(target=locate.embedded_digits, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
        time.sleep(0.1)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["mnist5k"]


@pytest.mark.parametrize(("format", "name"), [("png", "out"), ("npz", "out.npz")])
def test_the_second_of_two_samples_to_one_output_is_refused(run, tmp_path, format, name):
    out = tmp_path / name
    with (
        locked(lock_of(out), InputError),
        pytest.raises(InputError, match=rf"{name} is being written by process \d+ on \S+; wait until it ends"),
    ):
        taildiff.sample(run.root, out=out, format=format, per_class=1, steps=2)


def test_images_that_came_while_sampling_stay(run, tmp_path):
    out = tmp_path / "a.npz"

    def meanwhile(*_):
        out.write_bytes(b"of somebody else")

    with pytest.raises(InputError, match="exists already"):
        taildiff.sample(run.root, out=out, format="npz", per_class=1, steps=2, progress=meanwhile)
    assert out.read_bytes() == b"of somebody else"
    assert read_images(out, "", np.zeros(3)) is None
