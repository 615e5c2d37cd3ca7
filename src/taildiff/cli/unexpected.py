"""What the command line prints about errors that taildiff did not foresee, and the log with their traceback."""

import os
import platform
import re
import shlex
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from taildiff import __version__
from taildiff.text import one_line, shown

_ALLOCATE = re.compile(r"allocate (?:about )?([\d.]+ ?[KMGTPE]i?B|\d+ bytes)")
_NO_MEMORY = (
    *("DefaultCPUAllocator", "not enough memory", "Cannot allocate memory", "std::bad_alloc"),
    *("array is too big", "Maximum allowed dimension", "repeat count"),  # numpy's, of arrays that no machine could hold
    *("Storage size calculation overflowed", "integer multiplication overflow"),  # torch's
)
"""What libraries say when memory does not suffice."""
_AT_WORK = ("path", "file", "place", "folder", "out", "root", "run", "store", "target", "source", "self")
"""Names of local variables that hold the file or folder that a function works on."""


def memory_message(error: BaseException) -> str:
    """What is printed when memory ran out, on a CPU or GPU; empty for other errors."""
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which most verbs never import
        return "out of GPU memory; free the GPU, or use a smaller --batch-size (sample)"
    if not isinstance(error, MemoryError) and not any(mark in text for mark in _NO_MEMORY):
        return ""
    found = _ALLOCATE.search(text)
    size = f" ({found[1]} requested at once)" if found else ""
    return (
        f"out of memory{size}; use smaller numbers (--batch-size, --per-class, --steps, --size, the network's "
        "channels or width), or a machine with more memory"
    )


def at_work(trace: TracebackType | None) -> str:
    """The file or folder that the innermost function of taildiff worked on; empty where that is not known."""
    found = ""
    while trace:
        frame = trace.tb_frame
        if frame.f_globals.get("__name__", "").startswith("taildiff.") and frame.f_code.co_name != "main":
            values = (frame.f_locals.get(name) for name in _AT_WORK)
            paths = (value if isinstance(value, Path) else getattr(value, "root", None) for value in values)
            found = next((str(path) for path in paths if isinstance(path, Path)), found)
        trace = trace.tb_next
    return found


def unexpected(error: BaseException, args: Sequence[str]) -> str:
    """One line about an error: what, at which file, and the log that has the traceback, which this call writes."""
    what = one_line(f"{type(error).__name__}: {error}" if str(error).strip() else type(error).__name__)
    place = at_work(error.__traceback__)
    where = f" (at work on {one_line(place)})" if place else ""
    try:
        log = f"The traceback is in {one_line(_write_log(error, args))}"
    except OSError as problem:
        log = f"The traceback could not be written ({one_line(problem)})"
    verb = " ".join(shown(arg) for arg in args[:1])
    return (
        f"taildiff {verb} failed unexpectedly: {what}{where}. What was saved is intact; rerunning the same command "
        f"resumes. {log}: please report it"
    )


def _write_log(error: BaseException, args: Sequence[str]) -> Path:
    """A new file in the cache, or else in the temporary folder: nothing there belongs to a dataset, store or run."""
    lines = [
        f"taildiff {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}, in {Path.cwd()}" if _has_cwd() else "",
        shlex.join(["taildiff", *args]),
        *traceback.format_exception(error),
    ]
    content = shown("\n".join(lines)).encode()
    name = f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in _log_folders():
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
            return folder / name
    handle, path = tempfile.mkstemp(prefix="taildiff-", suffix=".log")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return Path(path)


def _log_folders() -> list[Path]:
    """Where logs go, in order of preference."""
    try:
        from taildiff.io.home import cache_root

        return [cache_root() / "errors"]
    except Exception:  # no home folder, or the module itself is what failed
        return []


def _has_cwd() -> bool:
    try:
        Path.cwd()
    except OSError:  # it was removed
        return False
    return True
