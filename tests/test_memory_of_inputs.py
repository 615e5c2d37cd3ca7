"""What is decoded and unpacked takes bounded memory."""

import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.calls import call, said
from taildiff.data import images
from taildiff.data.images import BrokenImageError, decode_frame
from taildiff.evaluation.image_sources import to_store
from taildiff.memory import Budget


def peak_of(work) -> int:
    """The largest number of bytes that Python and numpy held during `work()`."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_an_npz_is_never_in_memory_as_a_whole(dtype: type, tmp_path: Path):
    values = np.tile(np.linspace(0, 1, 256), (200, 256, 1)) * {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    array = np.rint(values).astype(dtype) if dtype != np.float32 else values.astype(dtype)
    np.savez_compressed(tmp_path / "x.npz", images=array, labels=np.arange(200) % 2)
    whole, some = array.nbytes, array[:5].copy()
    del array, values
    assert (tmp_path / "x.npz").stat().st_size < whole / 50
    assert peak_of(lambda: to_store(tmp_path / "x.npz", tmp_path / "cache", 32)) < 60e6
    store, _ = to_store(tmp_path / "x.npz", tmp_path / "cache", 32)
    assert store.images.shape == (200, 32, 32, 1)
    np.savez(tmp_path / "y.npz", images=some, labels=np.arange(5) % 2)
    assert (to_store(tmp_path / "y.npz", tmp_path / "cache", 32)[0].images == store.images[:5]).all()


def test_a_deep_image_is_converted_in_bands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4096, (2000, 2000)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png", compress_level=1)
    assert peak_of(lambda: decode_frame(tmp_path / "a.png", 32, 1, 4095)) < 16 * values.size
    small = decode_frame(tmp_path / "a.png", 32, 1, 4095)
    monkeypatch.setattr(images, "_BAND", 10**9)
    assert (decode_frame(tmp_path / "a.png", 32, 1, 4095).pixels == small.pixels).all()


def test_an_image_with_too_many_pixels_is_named_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 90).save(tmp_path / "photos" / name / "1.png")
    Image.new("L", (40, 30), 90).save(tmp_path / "photos" / "a" / "large.png")
    Image.new("L", (400, 300), 90).save(tmp_path / "photos" / "a" / "drafted.jpg")  # decoded at an eighth: 50x38
    monkeypatch.setattr(images, "MOST_PIXELS", 1000)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded") if _[0].width == 40 else None)
    with pytest.raises(BrokenImageError, match=r"^40x30 pixels, more than the limit of 1,000; make it smaller$"):
        decode_frame(tmp_path / "photos" / "a" / "large.png", 4, 1)
    monkeypatch.undo()
    monkeypatch.setattr(images, "MOST_PIXELS", 1000)
    limit = Image.MAX_IMAGE_PIXELS
    command = ("data", "prepare", "folder", tmp_path / "photos", "--size", 4)
    assert call(*command, "--out", tmp_path / "strict", "--strict") == 2
    assert "pixels, more than the limit of 1,000" in said(capsys)
    assert call(*command, "--out", tmp_path / "store") == 0
    assert "skipped a/large.png: 40x30 pixels, more than the limit of 1,000; make it smaller" in said(capsys)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_threads_share_a_budget_and_the_largest_works_alone():
    budget, inside, most = Budget(10), [], []

    def work(needed: int) -> None:
        with budget.spent(needed):
            inside.append(needed)
            time.sleep(0.01)
            most.append(sum(min(each, 10) for each in inside))
            inside.remove(needed)

    threads = [threading.Thread(target=work, args=(needed,)) for needed in (3, 4, 5, 6, 25, 7, 2, 10) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(most) == len(threads)
    assert max(most) <= 10
