"""Paths that users give: one rule for every output and one for every input.

An output that is a link is followed, wherever it leads: the link stays, and what is written lies at its end, which
need not exist yet. An input is a regular file: a named pipe blocks until somebody writes into it, a device may never end.
"""

import errno
import os
import stat
from pathlib import Path

from taildiff.errors import InputError

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def output_path(path: str | os.PathLike[str], option: str = "--out") -> Path:
    """Where to write, with a link followed; `InputError` for links in a circle and for a path that is not UTF-8."""
    given = text_path(path, option)
    if not given.is_symlink():
        return given
    end = Path(os.path.realpath(given))
    if end.is_symlink():
        raise InputError(f"{option} {given} is a link that leads back to itself; remove it, or choose another {option}")
    return end


def text_path(path: str | os.PathLike[str], option: str) -> Path:
    """The path; `InputError` if it is not UTF-8, as it is recorded in files that are."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise InputError(f"{option} {shown} is not UTF-8, as every path that is recorded must be; rename it") from None
    return Path(path)


def regular(path: Path) -> Path:
    """The path, unless it leads to a pipe, device or socket: then `OSError` says which, before it is opened.

    A missing file and a folder are left to whatever opens them.
    """
    if kind := special_kind(path):
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))
    return path


def special_kind(path: str | os.PathLike[str]) -> str:
    """`a named pipe`, `a device` or `a socket`; empty for anything else."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (called for each of a million files)
    except (OSError, ValueError):  # ValueError: a null character
        return ""
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "")
