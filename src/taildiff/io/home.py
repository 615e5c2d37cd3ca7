"""The user's home folder, and the cache in it."""

import os
from pathlib import Path

from taildiff.errors import InputError


def cache_root() -> Path:
    """$TAILDIFF_CACHE, $XDG_CACHE_HOME/taildiff or ~/.cache/taildiff; `InputError` where the home folder is unknown."""
    if given := os.environ.get("TAILDIFF_CACHE"):
        return Path(given)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "taildiff"
    return _home("set TAILDIFF_CACHE to a folder for cached files") / ".cache" / "taildiff"


def extractor_cache() -> Path:
    """Where downloaded weights of feature extractors are kept."""
    return cache_root() / "extractors"


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with ~ and ~USER replaced; `InputError` where that home folder is unknown."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: the home folder that ~ stands for is unknown; write the whole path") from None


def _home(advice: str) -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise InputError(f"the home folder of this user is unknown (HOME is not set); {advice}") from None
