"""Download a weights file of another project, verified before it is kept."""

import hashlib
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from taildiff.errors import InputError
from taildiff.io.atomic import write_atomic
from taildiff.io.staging import one_writer
from taildiff.log import Progress, silent

_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 30


def fetch(url: str, path: Path, sha256: str, advice: str, progress: Progress = silent) -> None:
    """Download to `path`, which appears only if the checksum matches; `InputError` with `advice` on failure."""

    def download(out: BinaryIO) -> None:
        digest, done = hashlib.sha256(), 0
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
                total = int(response.headers.get("Content-Length") or 0)
                while block := response.read(_BLOCK):
                    digest.update(block)
                    done += out.write(block)
                    progress("downloading the extractor", done, max(total, done))
        except (OSError, HTTPException) as error:  # a server that ends a chunk early raises the second
            raise InputError(f"{url} could not be downloaded ({error}). {advice}") from None
        if (actual := digest.hexdigest()) != sha256:
            raise InputError(f"{url} returned a file with sha256 {actual}, expected {sha256}; discarded. {advice}")

    try:
        with one_writer(path):
            if not path.exists():
                write_atomic(path, download)
    except OSError as error:
        raise InputError(f"{path.parent} cannot be written ({error}). {advice}") from None
