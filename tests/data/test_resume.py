"""A preparation that is killed, stopped or disturbed gives the store of an undisturbed one."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image
from sources import prepare_folder

from taildiff.data import prepare
from taildiff.data.store import Store
from taildiff.errors import DataError
from taildiff.io import resumable_array
from taildiff.io.lock import locked
from taildiff.io.staging import lock_of

FORK = multiprocessing.get_context("fork")
FILES = ("images.npy", "labels.npy", "test.npy", "names.txt", "store.json")


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(prepare, "_CHUNK", 4)
    monkeypatch.setattr(resumable_array, "SHARD_BYTES", 8 * 192)  # eight images


@pytest.fixture
def photos(tmp_path):
    """60 images in 3 classes; two are broken and two are animated, far apart."""
    random = np.random.default_rng(0)
    for label, name in enumerate(("ant", "bee", "cat")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(20):
            frames = [Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8)) for _ in range(2)]
            moving = {"save_all": True, "append_images": frames[1:]} if k == 5 and label != 1 else {}
            frames[0].save(tmp_path / "photos" / name / f"{k:02d}.png", **moving)
    for name in ("ant/03.png", "cat/11.png"):
        (tmp_path / "photos" / name).write_text("broken")
    return tmp_path / "photos"


def killed(source, out, at):
    """The exit code of a process that is killed while it prepares."""

    def tick(_stage, done, _total):
        if done >= at:
            os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=prepare_folder, args=(source, out, 8), kwargs={"progress": tick})
    process.start()
    process.join()
    return process.exitcode


def stop_at(position):
    def tick(_stage, done, _total):
        if done >= position:
            raise KeyboardInterrupt

    return tick


def starts(source, out, **options):
    """Where a preparation begins, and its store."""
    seen = []
    store = prepare_folder(source, out, 8, progress=lambda _stage, done, _total: seen.append(done), **options)
    return seen[0], store


def same(one, other):
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in FILES)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_result_after_many_kills_is_the_same(photos, tmp_path):
    whole = prepare_folder(photos, tmp_path / "whole", 8)
    assert whole.meta.count == 58
    assert whole.meta.skipped_names == (
        "ant/03.png: not a JPEG, PNG, WebP, TIFF or BMP image",
        "cat/11.png: not a JPEG, PNG, WebP, TIFF or BMP image",
    )
    assert whole.meta.notes == ("2 animated images: the first frame was taken",)
    for at in (4, 12, 24, 40, 60):
        assert killed(photos, tmp_path / "store", at) == -signal.SIGKILL
        assert not (tmp_path / "store").exists()
    begun, store = starts(photos, tmp_path / "store")
    assert begun >= 48
    assert store.meta == whole.meta
    assert same(tmp_path / "whole", tmp_path / "store")
    assert names(tmp_path) == ["photos", "store", "whole"]


def test_ctrl_c_is_resumed_and_the_old_store_stays(photos, tmp_path):
    old = prepare_folder(photos, tmp_path / "store", 9).meta
    with pytest.raises(KeyboardInterrupt):
        prepare_folder(photos, tmp_path / "store", 8, progress=stop_at(30), overwrite=True)
    assert Store.open(tmp_path / "store").meta == old
    begun, store = starts(photos, tmp_path / "store", overwrite=True)
    assert (begun, store.meta.height) == (28, 8)
    prepare_folder(photos, tmp_path / "whole", 8)
    assert same(tmp_path / "whole", tmp_path / "store")


def test_stopping_before_the_first_shard_leaves_nothing(photos, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        prepare_folder(photos, tmp_path / "store", 8, progress=stop_at(4))
    assert names(tmp_path) == ["photos"]


def interrupted(photos, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        prepare_folder(photos, tmp_path / "store", 8, progress=stop_at(40))
    return tmp_path / ".store.partial"


def test_another_source_size_or_time_begins_again(photos, tmp_path):
    for change in (
        lambda: (photos / "ant" / "00.png").unlink(),
        lambda: os.utime(photos / "bee" / "01.png", ns=(1, 1)),
    ):
        interrupted(photos, tmp_path)
        change()
        begun, store = starts(photos, tmp_path / "store")
        assert begun == 0
        prepare_folder(photos, tmp_path / "whole", 8, overwrite=True)
        assert same(store.root, tmp_path / "whole")
        shutil.rmtree(tmp_path / "store")
    interrupted(photos, tmp_path)
    assert prepare_folder(photos, tmp_path / "store", 16).meta.height == 16


@pytest.mark.parametrize("damage", ["a bit", "cut images", "cut log", "no log", "text", "no images"])
def test_what_a_crash_of_the_machine_leaves_is_checked(photos, tmp_path, damage):
    partial = interrupted(photos, tmp_path)
    images, log = partial / "images.npy", partial / "shards.jsonl"
    match damage:
        case "a bit":
            data = bytearray(images.read_bytes())
            data[128 + 20 * 192] ^= 1  # image 20, in the third shard
            images.write_bytes(data)
        case "cut images":
            images.write_bytes(images.read_bytes()[: 128 + 20 * 192])
        case "cut log":
            log.write_text(log.read_text()[:-30])
        case "no log":
            log.unlink()
        case "text":
            log.write_text("hello\n" * 9)
        case "no images":
            images.unlink()
    begun, _ = starts(photos, tmp_path / "store")
    assert begun == {"a bit": 20, "cut images": 20, "cut log": 28}.get(damage, 0)
    prepare_folder(photos, tmp_path / "whole", 8)
    assert same(tmp_path / "whole", tmp_path / "store")


def test_an_error_leaves_nothing(photos, tmp_path):
    interrupted(photos, tmp_path)
    with pytest.raises(DataError, match=r"broken image ant/03\.png"):
        prepare_folder(photos, tmp_path / "store", 8, strict=True)
    assert names(tmp_path) == ["photos"]


def test_the_second_of_two_waits_until_the_first_ends(photos, tmp_path, caplog):
    held = threading.Event()

    def first():
        with locked(lock_of(tmp_path / "store"), RuntimeError):
            held.set()
            time.sleep(0.3)

    thread = threading.Thread(target=first)
    thread.start()
    held.wait()
    begun = time.monotonic()
    assert prepare_folder(photos, tmp_path / "store", 8).meta.count == 58
    assert time.monotonic() - begun > 0.2
    thread.join()
    assert f"waiting for process {os.getpid()} on " in caplog.text
    assert f"which is writing {tmp_path / 'store'}" in caplog.text
    assert names(tmp_path) == ["photos", "store"]
    shutil.rmtree(tmp_path / "store")


def test_the_lock_of_a_killed_process_is_removed(photos, tmp_path):
    code = "import sys, os, signal; from pathlib import Path; from taildiff.io.lock import locked\n"
    code += "with locked(Path(sys.argv[1]), RuntimeError): os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", code, lock_of(tmp_path / "store")], check=False)
    assert names(tmp_path) == [".store.lock", "photos"]
    assert prepare_folder(photos, tmp_path / "store", 8).meta.count == 58
    assert names(tmp_path) == ["photos", "store"]


def test_the_order_of_the_images_is_the_names(photos, tmp_path):
    store = prepare_folder(photos, tmp_path / "store", 8)
    assert store.names is not None
    assert store.names[:4] == ("ant/00.png", "ant/01.png", "ant/02.png", "ant/04.png")
    assert [name.split("/")[0] for name in store.names] == [store.meta.class_names[k] for k in store.labels]
    (store.root / "names.txt").write_text("ant/00.png\n")
    with pytest.raises(DataError, match=r"names\.txt has 1 lines for 58 images"):
        _ = Store.open(store.root).names


def test_too_little_space_is_reported_before_writing(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("taildiff.io.staging.shutil.disk_usage", lambda _: type("Usage", (), {"free": 9})())
    with pytest.raises(DataError, match=r"needs 0\.0 GB, but .* has 0\.0 GB left"):
        prepare_folder(photos, tmp_path / "store", 8)
    assert names(tmp_path) == ["photos"]
