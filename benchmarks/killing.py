"""Work in forked processes that are killed at random moments: what `soak.py` and `soak_verbs.py` share.

A process that has imported everything forks each piece of work. Its progress is measured in its own CPU time and in its
file operations (opening a file to write, renaming, removing, making a folder), so that the load of the machine changes
nothing. Linux only.
"""

import json
import os
import random
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

LIMIT_S, HUNG = 300.0, 124
"""Work that takes longer is killed and has this exit code, as under timeout(1)."""
OPERATIONS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate")
CHANGING = {"seconds", "milliseconds", "waiting", "created", "crc", "sha256", "metrics_bytes", "order"}
"""Fields that a repetition may change: times, durations, the order of evaluations, and what depends on these."""
CHANGING_HTML = re.compile(rb"(<li>.* training time .*|.*>started</th>.*)\n|<td>\d+[^<\d]+s</td>")
"""The same on a page."""


class Work:
    """Work in a process and process group of its own."""

    def __init__(self, work: Callable[[], int], log: Path):
        """Start it; its output is appended to `log`."""
        self._told, write = os.pipe()
        self._operations, self._cpu = 0, 0.0
        self._code: int | None = None
        self.id = os.fork()
        if not self.id:
            _child(work, log, write)
        os.close(write)
        os.set_blocking(self._told, False)
        with suppress(OSError):  # it did so itself, or has ended
            os.setpgid(self.id, self.id)  # includes its child processes (git)

    def ended(self) -> int | None:
        """The exit code; None while it runs."""
        if self._code is None:
            done, status, usage = os.wait4(self.id, os.WNOHANG)
            if done:
                self.operations()
                os.close(self._told)
                self._code, self._cpu = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        return self._code

    def until(self, due: Callable[[], bool]) -> int | None:
        """Wait until `due`; the exit code if it ends before that."""
        begun = time.monotonic()
        while (code := self.ended()) is None and not due():
            if time.monotonic() - begun > LIMIT_S:
                self._kill()
                self._code = HUNG
            time.sleep(0.002)
        return code

    def wait(self) -> int:
        """The exit code."""
        code = self.until(lambda: False)
        assert code is not None
        return code

    def kill_at_random(self, rng: random.Random, cpu_seconds: float, operations: int) -> bool:
        """Kill it within so much CPU time or, every second time, so many file operations; False if it ends first."""
        part = rng.random()
        if rng.random() < 0.5:
            self.until(lambda: self.cpu_seconds() >= part * cpu_seconds)
        else:
            self.until(lambda: self.operations() > part * operations)
            time.sleep(rng.uniform(0, 0.003))
        if self.ended() is not None:
            return False
        self._kill()
        return self._code == -signal.SIGKILL

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.id, signal.SIGKILL)  # with its child processes
        while self.ended() is None:
            time.sleep(0.001)

    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        if self._code is None:
            with suppress(OSError):  # it ends at this moment
                self._cpu = time.clock_gettime((~self.id << 3) | 2)  # clock_getcpuclockid(3)
        return self._cpu

    def operations(self) -> int:
        """File operations so far."""
        if self._code is None:
            with suppress(BlockingIOError):
                self._operations += len(os.read(self._told, 2**16))
        return self._operations


def _child(work: Callable[[], int], log: Path, write: int) -> None:
    """Do the work, telling of each file operation by one byte, and end the process."""

    def tell(event: str, args: tuple) -> None:
        if event in OPERATIONS or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)):
            with suppress(OSError):
                os.write(write, b".")

    code = 1
    try:
        os.setpgid(0, 0)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
        os.set_blocking(write, False)
        sys.addaudithook(tell)
        code = work()
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def left_over(place: Path) -> list[str]:
    """Temporary files, unfinished folders and locks anywhere below."""
    found: list[str] = []
    for root, folders, files in os.walk(place):
        found += [f"{root}/{name}" for name in (*folders, *files) if name.startswith(".") and name != ".cache"]
    return found


def half_written(place: Path) -> bool:
    """Whether something below is being written, or was when its process was killed."""
    return any(not name.endswith(".lock") for name in left_over(place))


def content(place: Path) -> dict[str, bytes]:
    """Every file below by its path, without what a repetition changes."""
    return {str(path.relative_to(place)): _lasting(path) for path in sorted(place.rglob("*")) if path.is_file()}


def _lasting(path: Path) -> bytes:
    data = path.read_bytes()
    with suppress(ValueError):  # of a torn file
        return _stripped(path, data)
    return data


def _stripped(path: Path, data: bytes) -> bytes:
    if path.suffix == ".safetensors":  # the order of its metadata changes
        size = int.from_bytes(data[:8], "little") + 8
        return json.dumps(json.loads(data[8:size]), sort_keys=True).encode() + data[size:]
    if path.suffix == ".json":
        return json.dumps(_without(json.loads(data))).encode()
    if path.suffix == ".jsonl":
        return json.dumps([_without(json.loads(line)) for line in data.splitlines()]).encode()
    return CHANGING_HTML.sub(b"", data) if path.suffix == ".html" else data


def _without(value: object) -> object:
    """JSON without `CHANGING` fields."""
    if isinstance(value, dict):
        return {key: _without(each) for key, each in value.items() if key not in CHANGING}
    return [_without(each) for each in value] if isinstance(value, list) else value
