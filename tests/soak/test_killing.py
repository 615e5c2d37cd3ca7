"""The campaigns' tools: what they count, kill and compare."""

import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import benchmarking

killing = benchmarking.load("killing")
Work, content, half_written, left_over = killing.Work, killing.content, killing.half_written, killing.left_over


@pytest.fixture
def start(tmp_path: Path) -> Callable[[Callable[[], int]], Any]:
    return lambda work: Work(work, tmp_path / "log.txt")


def test_work_counts_operations_and_cpu_time(start, tmp_path: Path):
    def renames() -> int:
        for number in range(10):
            sum(range(100_000))
            (tmp_path / f"{number}.tmp").write_text("half")
            (tmp_path / f"{number}.tmp").rename(tmp_path / str(number))
        return 0

    work = start(renames)
    assert work.wait() == 0
    assert work.operations() == 20
    assert 0.002 < work.cpu_seconds() < 5


def test_the_exit_code_and_output_of_work(start, tmp_path: Path):
    def fails() -> int:
        print("before")  # noqa: T201
        raise ValueError("what went wrong")

    assert start(lambda: 3).wait() == 3
    assert start(lambda: sys.exit(2)).wait() == 2
    assert start(fails).wait() == 1
    assert "before" in (tmp_path / "log.txt").read_text()
    assert "ValueError: what went wrong" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("seed", [3, 4])  # by file operations, by CPU time
def test_work_is_killed_or_ends_first(seed: int, start, tmp_path: Path):
    def stays() -> int:
        (tmp_path / "written").touch()
        while True:
            sum(range(10_000))

    killed = start(stays)
    assert killed.kill_at_random(random.Random(seed), 0.05, 1)
    assert killed.ended() == -9
    assert not start(lambda: 3).kill_at_random(random.Random(seed), 1e9, 10**9)


def test_work_that_hangs_is_killed(start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(killing, "LIMIT_S", 0.1)
    work = start(lambda: time.sleep(60) or 0)
    assert work.wait() == killing.HUNG
    with pytest.raises(ProcessLookupError):
        os.kill(work.id, 0)


def test_what_counts_as_left_over(tmp_path: Path):
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".out.lock").touch()
    assert left_over(tmp_path) == [f"{tmp_path}/.out.lock"]
    assert not half_written(tmp_path)
    (tmp_path / ".out.partial").mkdir()
    assert half_written(tmp_path)


@pytest.mark.parametrize(
    ("name", "one", "other", "equal"),
    [
        ("run.json", '{"a": [{"seconds": 1, "b": 2}]}', '{"a": [{"b": 2, "seconds": 3}]}', True),
        ("run.json", '{"a": [{"seconds": 1, "b": 2}]}', '{"a": [{"seconds": 1, "b": 3}]}', False),
        ("metrics.jsonl", '{"loss": 1, "crc": 2}\n', '{"loss": 1, "crc": 3}\n', True),
        ("metrics.jsonl", '{"loss": 1}\n', '{"loss": 1}\n{"loss": 1}\n', False),
        ("metrics.jsonl", '{"loss": 1}\n', '{"loss": 1}\n{"lo', False),
        ("page.html", "<p>a</p>\n<td>1\N{NO-BREAK SPACE}s</td>", "<p>a</p>\n<td>2\N{NO-BREAK SPACE}s</td>", True),
        ("page.html", "<td>33 %</td>\n", "<td>34 %</td>\n", False),
        ("images.npy", "a", "b", False),
    ],
)
def test_files_are_equal_but_for_times(name: str, one: str, other: str, equal: bool, tmp_path: Path):
    def written(text: str) -> dict[str, bytes]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return content(tmp_path)

    assert (written(one) == written(other)) == equal


def test_only_the_order_of_metadata_may_differ(tmp_path: Path):
    def written(metadata: dict[str, str], data: bytes) -> dict[str, bytes]:
        header = json.dumps({"__metadata__": metadata}).encode()
        (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
        return content(tmp_path)

    assert written({"a": "1", "b": "2"}, b"x") == written({"b": "2", "a": "1"}, b"x")
    assert written({"a": "1"}, b"x") != written({"a": "2"}, b"x")
    assert written({"a": "1"}, b"x") != written({"a": "1"}, b"y")
