"""Paths that users give: one rule for every output and one for every input.

An output that is a link is followed, wherever it leads: the link stays, and what is written lies at its end, which
need not exist yet. An input is a regular file: a named pipe blocks until somebody writes into it, and a device may
never end.
"""

import errno
import os
import re
import stat
from pathlib import Path

from taildiff.errors import InputError

LARGEST_TEXT = 2**30
"""Bytes of a text file that is read as a whole; the annotations of iNaturalist 2018 have 125 MB."""
_OF_FILES = re.compile(
    r"\.(bmp|ckpt|csv|gif|gz|h5|hdf5|html|jpe?g|jsonl?|md|npy|npz|parquet|pdf|png|pth?|safetensors|svg|tar|tex|tgz|tiff?"
    r"|toml|txt|webp|ya?ml|zip)",
    re.IGNORECASE,
)
_KINDS = (
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
    (stat.S_ISSOCK, "socket"),
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


def output_folder(path: str | os.PathLike[str], option: str = "--out") -> Path:
    """Where to write a folder, with a link followed; `InputError` for a new one that is named like a file."""
    place = output_path(path, option)
    if _OF_FILES.fullmatch(place.suffix) and not place.is_dir():
        raise InputError(
            f"{option} {place} ends in {place.suffix}, but a folder is written there; name a folder, such as "
            f"{place.with_suffix('')}"
        )
    return place


def usable_folder(path: str | os.PathLike[str]) -> Path:
    """`output_folder`; also `OSError` where a new one cannot be made."""
    place = output_folder(path)
    if not place.exists():
        check_folder(place)
    return place


def check_folder(path: str | os.PathLike[str], in_place: bool = False) -> None:
    """`OSError` that names `path` where no folder can be made or written there; creates nothing.

    `in_place`: a folder that exists is written into, so that the one around it may be write-protected.
    """
    target = Path(path).resolve()
    try:
        exists = _exists(target)
        if exists and not target.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        check_writable(target / "x" if exists and in_place else target)
    except OSError as error:
        error.filename = os.fspath(path)
        raise


def check_writable(target: Path) -> None:
    """`OSError` where the system would refuse to write; a write-protected file is not replaced either."""
    place = next(parent for parent in target.parents if os.path.lexists(parent))
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{place} is a file, not a folder")
    for each in (place, target) if _exists(target) else (place,):
        if not os.access(each, os.W_OK):
            raise PermissionError(errno.EACCES, f"{each} is write-protected")


def _exists(path: Path) -> bool:
    """As `Path.exists`, but `OSError` for a name that is too long."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


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
        raise OSError(errno.EINVAL, f"it is a {kind}, not a regular file", str(path))
    return path


def whole(path: Path, largest: int = LARGEST_TEXT) -> Path:
    """`regular`, for a file to be read as a whole: `OSError` also for one of more than `largest` bytes."""
    if regular(path).stat().st_size > largest:
        raise OSError(errno.EFBIG, f"it is larger than {largest:,} bytes", str(path))
    return path


def special_kind(path: Path) -> str:
    """`named pipe`, `device` or `socket`, also behind links; empty for anything else."""
    try:
        return kind_of_mode(path.stat().st_mode)
    except (OSError, ValueError):  # ValueError: a null character
        return ""


def kind_of_mode(mode: int) -> str:
    """`special_kind` of a file whose mode is known."""
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "")


def reason(error: Exception) -> str:
    """Why a file could not be read, in one line, without its path."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return text.split("\n", 1)[0]
