"""Model folders by path or by name on the Hugging Face Hub; nothing but JSON and safetensors is downloaded."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from taildiff.errors import InputError
from taildiff.io.home import expanded
from taildiff.io.paths import reason

FILES = ("*.json", "*.safetensors")
"""What is downloaded; in subfolders as well, as the Hub's patterns match across them."""


def is_hub_name(source: str | os.PathLike[str]) -> bool:
    """Whether a source means a model on the Hub: OWNER/NAME where nothing of that name, nor a folder OWNER, exists."""
    text = os.fspath(source)
    if text.startswith((".", "/", "~")) or text.count("/") != 1 or "\\" in text or not all(text.split("/")):
        return False
    return not Path(text).exists() and not Path(text).parent.exists()


def find_folder(source: str | os.PathLike[str]) -> Path:
    """The local folder of a path or of a name on the Hub, downloaded if need be; `InputError` where there is none."""
    if is_hub_name(source):
        return download(os.fspath(source))
    place = expanded(source)
    if not place.is_dir():
        raise InputError(f"{source} is neither a folder nor OWNER/NAME on the Hugging Face Hub; check the path")
    return place


def download(name: str) -> Path:
    """A model's folder in the local cache of the Hub, with missing files downloaded; `InputError` where that fails."""
    hub: Any = import_module("huggingface_hub")
    with quiet(hub):
        with suppress(Exception):  # nothing in the cache: its type depends on the hub library's version
            cached = Path(hub.snapshot_download(name, allow_patterns=FILES, local_files_only=True))
            if next(cached.rglob("*.safetensors"), None):  # else another download took a few files
                return cached
        try:  # a quick check; the download would retry for half a minute
            hub.utils.get_session().head(hub.constants.ENDPOINT, timeout=5)
        except Exception as error:
            raise InputError(
                f"{name} is not a local folder and the Hugging Face Hub cannot be reached ({reason(error)}). On a "
                f"machine with network: hf download {name} --local-dir model; copy the folder here and give its path"
            ) from None
        try:
            return Path(hub.snapshot_download(name, allow_patterns=FILES))
        except Exception as error:  # unknown name, no access, a broken connection, a full disk
            raise InputError(f"{name} could not be downloaded from the Hugging Face Hub: {reason(error)}") from None


@contextmanager
def quiet(hub: Any) -> Iterator[None]:
    """Silence the hub library's progress bars and warnings: problems are reported as one error."""
    import_module("huggingface_hub.utils")  # no attribute of the package until then
    logger, hidden = logging.getLogger("huggingface_hub"), hub.utils.are_progress_bars_disabled()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if not hidden:
            hub.utils.enable_progress_bars()
