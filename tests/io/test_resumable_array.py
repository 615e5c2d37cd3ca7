"""Committed rows survive an interruption, and rows that do not match are discarded; kill tests are in tests/data."""

import errno
from pathlib import Path

import numpy as np
import pytest

import taildiff
from evaluation import tiny
from taildiff.errors import DataError
from taildiff.io import resumable_array, staging
from taildiff.io.lock import locked
from taildiff.io.resumable_array import Header, ResumableArray, read_shards
from taildiff.sampling.generate import generate, image_array, load_model
from taildiff.spec import SamplingSpec


@pytest.fixture(autouse=True)
def _always_due(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resumable_array, "SHARD_SECONDS", 0.0)


class StopError(Exception):
    pass


def open_array(out: Path, key: str = "key", shape: tuple[int, ...] = (4, 4, 1)) -> ResumableArray:
    return ResumableArray(out, "rows.npy", np.dtype(np.uint8), Header(key={"rows": key}, shape=shape), BaseException)


def stop_after_two_shards(out: Path) -> None:
    """Rows of value 1 and 2 are committed, those of value 3 are not."""
    array = open_array(out)
    array.__enter__()
    for value in (1, 2, 3):
        array.append(np.full((2, 4, 4, 1), value, np.uint8))
        if value < 3:
            array.commit({"value": value})
    array.__exit__(StopError, StopError(), None)


def test_interrupted_sampling_resumes_with_the_same_images(tmp_path):
    store = tiny.make_store(tmp_path / "store", (6, 6, 6), (2, 2, 2))
    model = load_model(tiny.make_run(tmp_path / "run", store))
    labels, sampling = np.repeat(np.arange(3), 5), SamplingSpec(steps=2)
    expected = generate(model, labels, sampling, 1.5, batch_size=4)
    place = tmp_path / "evals" / "images-g1.5.npz"

    def stop(_: str, done: int, total: int) -> None:
        if done == 12:  # before this batch is appended
            raise StopError

    with pytest.raises(StopError), image_array(place, model.facts, 15, "key") as array:
        generate(model, labels, sampling, 1.5, batch_size=4, progress=stop, array=array)
    assert [path.name for path in place.parent.iterdir()] == [".images-g1.5.npz.partial"]
    progress: list[int] = []
    with image_array(place, model.facts, 15, "key") as array:
        assert array.rows == 8
        images = generate(
            model, labels, sampling, 1.5, batch_size=4, progress=lambda _, done, __: progress.append(done), array=array
        )
    np.testing.assert_array_equal(images, expected)
    assert progress == [12, 15]
    assert not place.parent.exists() or not list(place.parent.iterdir())


def test_an_interrupted_sample_call_resumes(tmp_path):
    run = tiny.make_run(tmp_path / "run", tiny.make_store(tmp_path / "store", (6, 6, 6), (2, 2, 2))).root
    options = {"per_class": 4, "batch_size": 2, "format": "npz", "steps": 2}
    taildiff.sample(run, out=tmp_path / "whole.npz", **options)

    def stop(_: str, done: int, total: int, /) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        taildiff.sample(run, out=tmp_path / "a.npz", progress=stop, **options)
    assert (tmp_path / ".a.npz.partial").is_dir()
    progress: list[int] = []
    taildiff.sample(run, out=tmp_path / "a.npz", progress=lambda _, done, __: progress.append(done), **options)
    assert progress == [8, 10, 12]
    with np.load(tmp_path / "a.npz") as resumed, np.load(tmp_path / "whole.npz") as whole:
        np.testing.assert_array_equal(resumed["images"], whole["images"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "run", "store", "whole.npz"]


def test_rows_notes_and_hash_are_those_of_an_uninterrupted_array(tmp_path):
    stop_after_two_shards(tmp_path / "a")
    with open_array(tmp_path / "a") as array, open_array(tmp_path / "b") as whole:
        assert [shard.note for shard in array.shards] == [{"value": 1}, {"value": 2}]
        array.append(np.full((2, 4, 4, 1), 3, np.uint8))
        whole.append(np.full((4, 4, 6), [1, 1, 2, 2, 3, 3], np.uint8).transpose(2, 0, 1)[..., None])
        assert array.hash.hexdigest() == whole.hash.hexdigest()
        assert array.finish().tobytes() == whole.finish().tobytes()
        array.publish()
        whole.publish()
    assert (tmp_path / "a" / "rows.npy").read_bytes() == (tmp_path / "b" / "rows.npy").read_bytes()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "rows.npy", "rows.npy"]


@pytest.mark.parametrize(
    ("spoil", "rows"),
    [("key", 0), ("shape", 0), ("array cut off", 2), ("bit", 2), ("note", 2), ("no JSON", 0), ("array is gone", 0)],
)
def test_what_does_not_fit_is_discarded(tmp_path, spoil, rows):
    out, key, shape = tmp_path / "a", "key", (4, 4, 1)
    stop_after_two_shards(out)
    file, log = tmp_path / ".a.partial" / "rows.npy", tmp_path / ".a.partial" / "shards.jsonl"
    assert len(read_shards(file.parent)[1]) == 2
    match spoil:
        case "key":
            key = "other"
        case "shape":
            shape = (8, 2, 1)
        case "array cut off":
            file.write_bytes(file.read_bytes()[: 128 + 63])
        case "bit":
            file.write_bytes(file.read_bytes()[: 128 + 63] + b"\0")
        case "note":
            log.write_text(log.read_text().replace('{"value":2}', '{"value":9}'))
        case "no JSON":
            log.write_text("{")
        case "array is gone":
            file.unlink()
    with open_array(out, key, shape) as array:
        assert array.rows == rows
        assert len(array.shards) == rows // 2
    assert not list(tmp_path.iterdir())


def test_one_process_at_a_time(tmp_path):
    out = tmp_path / "a"
    with (
        locked(staging.lock_of(out), RuntimeError),
        pytest.raises(DataError, match=r"a is being written by process \d+ on \S+; wait until it ends"),
        open_array(out),
    ):
        pass


def test_a_full_disk_is_reported_before_and_while_writing(tmp_path, monkeypatch):
    store = tiny.make_store(tmp_path / "store", (6, 6, 6), (2, 2, 2))
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 9})())
    with pytest.raises(DataError, match=r"images needs 0\.0 GB, but .* has 0\.0 GB left"):
        image_array(tmp_path / "images", store.facts, 15, "key")
    with pytest.raises(DataError, match=r"cannot write .*a: .*No space left"), open_array(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported_when_the_log_of_shards_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(resumable_array, "write_atomic", lambda path, _: path.symlink_to("/dev/full"))
    with pytest.raises(DataError, match=r"cannot write .*a: .*No space left"), open_array(tmp_path / "a") as array:
        array.commit()
    assert not list(tmp_path.iterdir())
