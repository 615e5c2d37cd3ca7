"""A file is complete or absent, and what a killed writer left is removed by the next one."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from taildiff.io.atomic import remove_temporary, write_atomic

KILLED = """
import os, signal, sys
from pathlib import Path
from taildiff.io.atomic import write_atomic
write_atomic(Path(sys.argv[1]), lambda file: (file.write(b"half"), file.flush(), os.kill(os.getpid(), signal.SIGKILL)))
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed_while_writing(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    for name in ("a.txt", "b.txt"):
        killed_while_writing(tmp_path / name)
    (tmp_path / ".a.txt.backup.tmp").touch()  # of somebody else
    assert len(names(tmp_path)) == 3
    write_atomic(tmp_path / "a.txt", b"whole")
    assert (tmp_path / "a.txt").read_bytes() == b"whole"
    assert [name[:7] for name in names(tmp_path)] == [".a.txt.", ".b.txt.", "a.txt"]
    remove_temporary(tmp_path)
    assert names(tmp_path) == [".a.txt.backup.tmp", "a.txt"]


def test_what_is_being_written_stays(tmp_path):
    path = tmp_path / "a.txt"

    def write(file):
        write_atomic(path, b"meanwhile")
        remove_temporary(tmp_path)
        file.write(b"last")

    write_atomic(path, write)
    assert path.read_bytes() == b"last"
    assert names(tmp_path) == ["a.txt"]


def test_many_writers_of_one_file_leave_one_of_their_contents(tmp_path):
    path, until = tmp_path / "a.txt", time.monotonic() + 1

    def work(letter: bytes):
        while time.monotonic() < until:
            write_atomic(path, letter * 10_000)

    threads = [threading.Thread(target=work, args=(letter,)) for letter in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        if path.exists():
            content = path.read_bytes()
            assert content == content[:1] * 10_000
    for thread in threads:
        thread.join()
    assert names(tmp_path) == ["a.txt"]


def test_an_error_leaves_the_old_file_and_names_it(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as raised:
        write_atomic(path, full)
    assert raised.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]
