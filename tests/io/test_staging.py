"""A folder is replaced as a whole, and leftovers of a killed process are put back or removed."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from taildiff.api.data import find_source
from taildiff.api.evaluation_request import is_images
from taildiff.data.formats.digits import find_digits
from taildiff.data.latents import open_data
from taildiff.data.prepare import prepare
from taildiff.data.store import Store, is_store
from taildiff.errors import DataError
from taildiff.io import staging
from taildiff.io.lock import locked

MAKE = """
import sys, numpy as np
from pathlib import Path
from taildiff.data.store import SourceMeta, StoreWriter
value, out = int(sys.argv[1]), Path(sys.argv[2])
with StoreWriter(out, "s", ("a", "b"), (4, 4, 1), SourceMeta(source=str(value))) as writer:
    writer.append(np.full((2, 4, 4, 1), value, np.uint8), np.arange(2), np.zeros(2, bool))
    {before}
    writer.close()
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
BETWEEN = f"""
    import os, signal
    def rename(self, target, real=Path.rename):
        real(self, target)
        {KILL}
    Path.rename = rename
"""
WHILE_WRITING = f"import os, signal; writer.array._file.flush(); {KILL}"


def make(value: int, out: Path, before: str = "pass") -> int:
    """A store of images of one grey, written by another process; its exit code."""
    done = subprocess.run([sys.executable, "-c", MAKE.format(before=before), str(value), str(out)], check=False)
    return done.returncode


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_store_survives_a_kill_between_the_renames(tmp_path: Path):
    out = tmp_path / "store"
    assert make(1, out) == 0
    assert make(2, out, BETWEEN) == -signal.SIGKILL
    assert "store" not in names(tmp_path)
    assert {name.rsplit(".", 1)[1] for name in names(tmp_path)} == {"replaced", "lock", "partial"}
    assert Store.open(out).images.max() == 1
    assert make(3, out) == 0
    assert names(tmp_path) == ["store"]
    assert Store.open(out).images.max() == 3


def test_what_a_killed_writer_left_is_swept_by_the_next(tmp_path: Path):
    out = tmp_path / "store"
    assert make(1, out, WHILE_WRITING) == -signal.SIGKILL
    assert sorted(names(tmp_path)) == [".store.lock", ".store.partial"]
    with pytest.raises(DataError, match="does not exist"):
        Store.open(out)
    assert len(names(tmp_path)) == 2  # a reader removes nothing
    assert make(2, out) == 0
    assert names(tmp_path) == ["store"]


@pytest.mark.parametrize("aside", [".mnist.replaced", ".mnist.1.old", ".mnist.4194305.old"])
def test_preparing_the_same_again_finds_the_store_that_was_put_aside(tmp_path: Path, aside: str):
    """Also as version 0.1 named it, whatever runs under that number now: in a container, 1 is every first process."""
    out = tmp_path / "mnist"
    made = prepare(find_digits(), out)
    out.rename(tmp_path / aside)
    before = made.meta
    assert prepare(find_digits(), out).meta == before
    assert names(tmp_path) == ["mnist"]


def test_every_reader_puts_back_what_a_killed_process_put_aside(tmp_path: Path, tiny_store: Store):
    out = tiny_store.root
    aside = out.with_name(".store.replaced")
    for read in (Store.open, open_data, is_store, is_images, lambda path: find_source("folder", path)):
        out.rename(aside)
        with suppress(DataError):  # a store is no folder of images
            read(out)
        assert names(tmp_path) == ["store"]


def test_a_reader_waits_for_the_second_rename_of_a_living_process(tmp_path: Path, tiny_store: Store):
    out, aside = tiny_store.root, tiny_store.root.with_name(".store.replaced")
    new, held = Path(shutil.copytree(out, staging.partial(out))), threading.Event()

    def swap():
        with locked(staging.lock_of(out), DataError):
            out.rename(aside)
            held.set()
            time.sleep(0.2)
            new.rename(out)
            shutil.rmtree(aside)

    thread = threading.Thread(target=swap)
    thread.start()
    held.wait()
    assert Store.open(out).meta == tiny_store.meta
    thread.join()
    assert names(tmp_path) == ["store"]


def test_other_names_and_unfinished_work_are_left_alone(tmp_path: Path):
    kept = [".store.partial", ".store2.1.partial", ".store.1.other", ".store.old"]
    for name in [*kept, ".store.1.partial", ".store.2.old", ".store.replaced"]:
        (tmp_path / name).mkdir()
    (tmp_path / "store").mkdir()
    staging.sweep(tmp_path / "store")
    assert names(tmp_path) == sorted([*kept, "store"])


def test_leftovers_of_a_living_process_stay(tmp_path: Path):
    (tmp_path / "store").mkdir()
    (tmp_path / ".store.partial").mkdir()
    with locked(staging.lock_of(tmp_path / "store"), DataError):
        staging.clear(tmp_path / "store")
        assert names(tmp_path) == [".store.lock", ".store.partial", "store"]
    (tmp_path / ".store.lock").touch()
    staging.clear(tmp_path / "store")
    assert names(tmp_path) == ["store"]


def test_a_replacement_that_fails_leaves_the_old(tmp_path: Path):
    target, new = tmp_path / "store", staging.partial(tmp_path / "store")
    (target / "old one").mkdir(parents=True)
    with pytest.raises(FileNotFoundError):
        staging.replace(new, target)
    assert names(target) == ["old one"]
    assert names(tmp_path) == ["store"]
