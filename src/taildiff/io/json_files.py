"""Read JSON of any origin: a file of bounded size, integers of 64 bits, and text that can be printed."""

import json
from pathlib import Path
from typing import Any

from taildiff.errors import SpecError
from taildiff.io.paths import reason, whole
from taildiff.spec.base import INTEGERS


def read_json(path: Path) -> Any:
    """The content of a JSON file; `SpecError` if it is missing or not JSON."""
    try:
        text = whole(path).read_text(encoding="utf-8")
        values = json.loads(text, parse_int=_integer)
        if "\\u" in text:  # half of a surrogate pair cannot be printed
            json.dumps(values, ensure_ascii=False).encode()
        return values
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON
        raise SpecError(f"{path} is not readable JSON: {reason(error)}") from None


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) <= 20 else None  # Python refuses more than 4,300 digits with advice of its own
    if value is None or value not in INTEGERS:  # causes errors far from the file
        raise ValueError(f"an integer of {len(digits)} digits")
    return value
