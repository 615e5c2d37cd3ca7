"""Download a weights file of another project, verified before it is kept."""

import os
import tempfile
import urllib.request
from http.client import HTTPException
from pathlib import Path

from taildiff.errors import InputError
from taildiff.io.checksum import file_sha256
from taildiff.log import Progress, silent

_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 30


def fetch(url: str, path: Path, sha256: str, advice: str, progress: Progress = silent) -> None:
    """Download to `path`, which appears only if the checksum matches; `InputError` with `advice` on failure."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InputError(f"{path.parent} cannot be written ({error}). {advice}") from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as out, urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            total, done = int(response.headers.get("Content-Length") or 0), 0
            while block := response.read(_BLOCK):
                done += out.write(block)
                progress("downloading the extractor", done, max(total, done))
        if (actual := file_sha256(temporary)) != sha256:
            raise InputError(f"{url} returned a file with sha256 {actual}, expected {sha256}; discarded. {advice}")
        temporary.replace(path)
    except (OSError, HTTPException) as error:  # a server that ends a chunk early raises the second
        raise InputError(f"{url} could not be downloaded ({error}). {advice}") from None
    finally:
        temporary.unlink(missing_ok=True)
