"""Errors that nobody foresaw, and memory that runs out: one line each, never a traceback on the terminal."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cli.calls import call
from taildiff.cli.unexpected import memory_message
from taildiff.io.home import cache_root
from taildiff.run.layout import RunDir


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(run: RunDir) -> None:
        raise error

    monkeypatch.setattr("taildiff.cli.data.main", lambda _: RunDir(Path("runs/a")).info())
    monkeypatch.setattr("taildiff.run.layout.RunDir.exists", fail)


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]):
    return lambda: capsys.readouterr().err.splitlines()


def test_an_unexpected_error_is_one_line_and_a_log(monkeypatch: pytest.MonkeyPatch, stderr):
    failing(monkeypatch, ZeroDivisionError("division\nby \x1bzero"))
    before = {*cache_root().glob("errors/*")}
    assert call("data", "show", "\x1bx") == 1
    (line,) = stderr()
    (log,) = {*cache_root().glob("errors/*")} - before
    assert line.startswith(r"error: taildiff data failed unexpectedly: ZeroDivisionError: division by \x1bzero")
    assert "(at work on runs/a)" in line
    assert str(log) in line
    text = log.read_text()
    assert "Traceback (most recent call last)" in text
    assert text.isprintable() or "\x1b" not in text
    assert "in info" in text
    log.unlink()


def test_without_a_cache_the_log_is_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stderr):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TAILDIFF_CACHE", str(tmp_path / "file"))
    failing(monkeypatch, RuntimeError())
    with monkeypatch.context() as patch:  # pytest's own capture needs temporary files later
        patch.setattr("tempfile.tempdir", str(tmp_path))
        assert call("data", "show", "x") == 1
        (log,) = tmp_path.glob("taildiff-*.log")
        (line,) = stderr()
        assert str(log) in line
        assert "failed unexpectedly: RuntimeError (at" in line
        patch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
        assert call("data", "show", "x") == 1
    (line,) = stderr()
    assert "could not be written" in line


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MemoryError(), 1, "error: out of memory; use smaller numbers"),
        (RuntimeError("bad"), 1, "error: taildiff data failed unexpectedly: RuntimeError: bad"),
        (OSError("cannot write mode F as PNG"), 1, "failed unexpectedly: OSError: cannot write mode F"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), 1, "error: out of memory; use smaller"),
        (OSError(errno.EIO, "I/O error"), 2, "error: runs/a: I/O error. Check the path"),
        (OSError(errno.EIO, "I/O error", b"/data/\xff"), 2, r"error: /data/\xff: I/O error. Check the path"),
        (OSError(errno.EBADF, "Bad file descriptor", 5), 2, "error: runs/a: Bad file descriptor"),
        (RecursionError("maximum"), 1, "failed unexpectedly: RecursionError: maximum"),
        (ValueError("embedded null byte"), 1, "failed unexpectedly: ValueError"),
    ],
)
def test_kinds_of_errors(monkeypatch: pytest.MonkeyPatch, stderr, error: BaseException, code: int, message: str):
    failing(monkeypatch, error)
    assert call("data", "show", "x") == code
    (line,) = stderr()
    assert message in line
    for log in cache_root().glob("errors/*"):
        log.unlink()


@pytest.mark.parametrize(
    "ask",
    [
        lambda: torch.empty(10**15),
        lambda: torch.empty(10**18, 10**18),
        lambda: np.empty(10**15),
        lambda: np.empty(10**19),
        lambda: np.repeat([0, 1], 10**18),
        lambda: bytearray(2**60),
    ],
)
def test_memory_that_does_not_suffice_is_recognised(ask):
    with pytest.raises((MemoryError, RuntimeError, ValueError, OverflowError)) as caught:
        ask()
    assert memory_message(caught.value).startswith("out of memory"), str(caught.value)


def test_other_errors_are_not_taken_for_memory():
    assert not memory_message(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
