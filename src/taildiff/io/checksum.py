"""JSON files that notice when they were changed: a record carries the sha256 of all else in it.

A file without the seal is one of an older version, and believed; the readers' `format` says whether there must be one.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "sha256"


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its seal, which does not depend on spaces, line ends and the order of the keys."""
    return {**values, SEAL: digest(values)}


def intact(values: Any, needed: bool) -> bool:
    """Whether the seal fits; without one, whether none is `needed`."""
    if not isinstance(values, dict) or SEAL not in values:
        return not needed
    return values[SEAL] == digest({name: value for name, value in values.items() if name != SEAL})


def digest(values: Mapping[str, Any]) -> str:
    """sha256 of the record as JSON, hexadecimal."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
