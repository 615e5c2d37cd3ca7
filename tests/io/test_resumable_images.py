"""Sampling that is stopped goes on, and gives what it would have given."""

import errno
import os

import numpy as np
import pytest

from evaluation import tiny
from taildiff.io import resumable_images
from taildiff.io.resumable_images import Unfinished
from taildiff.sampling.generate import generate, load_model
from taildiff.spec import SamplingSpec


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resumable_images, "_SECONDS", 0.0)


class StopError(Exception):
    pass


def test_sampling_goes_on_where_it_was_stopped(tmp_path):
    store = tiny.make_store(tmp_path / "store", (6, 6, 6), (2, 2, 2))
    model = load_model(tiny.make_run(tmp_path / "run", store))
    labels, sampling = np.repeat(np.arange(3), 5), SamplingSpec(steps=2)
    whole = generate(model, labels, sampling, 1.5, batch_size=4)
    place = tmp_path / "evals" / "images-g1.5.npz"

    def stop(_: str, done: int, total: int) -> None:
        if done == 12:  # before this batch is kept
            raise StopError

    def begin() -> Unfinished:
        return Unfinished.open(place, "key", whole.shape)

    with pytest.raises(StopError):
        generate(model, labels, sampling, 1.5, batch_size=4, progress=stop, kept=begin())
    kept = begin()
    assert kept.done == 8
    said: list[int] = []
    images = generate(
        model, labels, sampling, 1.5, batch_size=4, progress=lambda _, done, __: said.append(done), kept=kept
    )
    np.testing.assert_array_equal(images, whole)
    assert said == [12, 15]
    kept.remove()
    assert not list(place.parent.iterdir())


@pytest.mark.parametrize("spoil", ["other key", "other shape", "array cut off", "note is no JSON", "array is gone"])
def test_what_does_not_fit_is_not_taken_over(tmp_path, spoil):
    place, shape, key = tmp_path / "images-g1.npz", (6, 4, 4, 1), "key"
    kept = Unfinished.open(place, key, shape)
    kept.images[:4] = 7
    kept.keep(4)
    assert Unfinished.open(place, key, shape).done == 4
    array, note = tmp_path / ".images-g1.npy", tmp_path / ".images-g1.json"
    match spoil:
        case "other key":
            key = "other"
        case "other shape":
            shape = (6, 8, 8, 1)
        case "array cut off":
            array.write_bytes(array.read_bytes()[:-5])
        case "note is no JSON":
            note.write_text("{")
        case "array is gone":
            array.unlink()
    fresh = Unfinished.open(place, key, shape)
    assert (fresh.done, fresh.images.shape) == (0, shape)


def test_room_is_taken_before_sampling(tmp_path, monkeypatch):
    """Writing to mapped memory that the disk has no room for is SIGBUS."""
    place, array, shape = tmp_path / "images-g1.npz", tmp_path / ".images-g1.npy", (64, 32, 32, 3)
    Unfinished.open(place, "key", shape).remove()
    Unfinished.open(place, "key", shape)
    assert array.stat().st_blocks * 512 >= array.stat().st_size
    array.unlink()

    def refuse(reason: int) -> None:
        def allocate(*_: int) -> None:
            raise OSError(reason, os.strerror(reason))

        monkeypatch.setattr(os, "posix_fallocate", allocate)

    refuse(errno.EOPNOTSUPP)
    Unfinished.open(place, "key", shape).remove()
    refuse(errno.ENOSPC)
    with pytest.raises(OSError, match=r"No space left .*\.images-g1\.npy"):
        Unfinished.open(place, "key", shape)
    assert not array.exists()
