"""A folder is replaced as a whole, and leftovers of a killed process are put back or removed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from taildiff.data.formats.digits import find_digits
from taildiff.data.prepare import prepare
from taildiff.data.store import Store
from taildiff.errors import DataError
from taildiff.io import staging

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
    assert {name.rsplit(".", 1)[1] for name in names(tmp_path)} == {"old", "lock", "partial"}
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


def test_preparing_the_same_again_finds_the_store_that_was_put_aside(tmp_path: Path):
    out = tmp_path / "mnist"
    made = prepare(find_digits(), out)
    out.rename(tmp_path / f".mnist.{_dead_process()}.old")
    before = made.meta
    assert prepare(find_digits(), out).meta == before
    assert names(tmp_path) == ["mnist"]


def test_other_processes_and_other_names_are_left_alone(tmp_path: Path):
    living, dead = os.getppid(), _dead_process()
    kept = [f".store.{living}.partial", f".store.{living}.old", f".store2.{dead}.partial", f".store.{dead}.other"]
    gone = [f".store.{dead}.partial", f".store.{os.getpid()}.partial"]
    for name in [*kept, *gone]:
        (tmp_path / name).mkdir()
    staging.sweep(tmp_path / "store")
    assert names(tmp_path) == sorted(kept)


def test_a_replacement_that_fails_leaves_the_old(tmp_path: Path):
    target, new = tmp_path / "store", staging.lasting_partial(tmp_path / "store")
    (target / "old one").mkdir(parents=True)
    with pytest.raises(FileNotFoundError):
        staging.replace(new, target)
    assert names(target) == ["old one"]
    assert names(tmp_path) == ["store"]


def _dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
