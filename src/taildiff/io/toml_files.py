"""Read TOML of any origin: a file of bounded size."""

import tomllib
from pathlib import Path
from typing import Any

from taildiff.errors import SpecError
from taildiff.io.paths import reason, whole


def read_toml(path: Path, kind: str = "TOML file") -> tuple[dict[str, Any], str]:
    """The values of a TOML file, and its text; `FileNotFoundError`, or `SpecError` for what is no `kind`."""
    try:
        text = whole(path).read_text(encoding="utf-8")
        return tomllib.loads(text), text
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, not TOML
        raise SpecError(f"{path} is not a readable {kind}: {reason(error)}") from None
