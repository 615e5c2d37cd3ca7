"""Weights from elsewhere: where they are kept, their checksums, how they are fetched once."""

import hashlib
import json
import os
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from taildiff.errors import InputError
from taildiff.log import Progress, silent

_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 30


def cache_dir() -> Path:
    """`~/.cache/taildiff/extractors`, or below `XDG_CACHE_HOME`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "taildiff" / "extractors"


def sha256_of(path: Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*values: object) -> str:
    """Twelve hexadecimal digits for an extractor's identity."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def fetch(url: str, path: Path, sha256: str, advice: str, progress: Progress = silent) -> None:
    """Download to `path`, which appears only when the checksum holds; `InputError` with `advice` when it fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InputError(f"{path.parent} cannot be written ({error}). {advice}") from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            _copy(url, out.write, progress)
        if (found := sha256_of(temporary)) != sha256:
            raise InputError(f"{url} gave a file with sha256 {found}, expected {sha256}; it was not kept. {advice}")
        temporary.replace(path)
    except OSError as error:  # urllib's errors are OSErrors
        raise InputError(f"{url} could not be downloaded ({error}). {advice}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _copy(url: str, write: Callable[[bytes], object], progress: Progress) -> None:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
        total, done = int(response.headers.get("Content-Length") or 0), 0
        while block := response.read(_BLOCK):
            write(block)
            done += len(block)
            progress("downloading the extractor", done, max(total, done))
