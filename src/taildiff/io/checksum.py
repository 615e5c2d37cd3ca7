"""sha256 of files and of JSON, and JSON records that carry the checksum of their other fields."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taildiff.io.paths import regular

CHECKSUM = "sha256"
"""The record's field that holds its checksum."""


def with_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its checksum, which depends neither on white space nor on the order of the keys."""
    return {**values, CHECKSUM: record_sha256(values)}


def checksum_matches(values: Any) -> bool:
    """Whether `values` is a record whose checksum fits its other fields."""
    return isinstance(values, dict) and values.get(CHECKSUM) == record_sha256(values)


def record_sha256(values: Mapping[str, Any]) -> str:
    """`json_sha256` of the record's fields without its checksum."""
    return json_sha256({name: value for name, value in values.items() if name != CHECKSUM})


def json_sha256(values: Any) -> str:
    """sha256 of a value as compact JSON with sorted keys, hexadecimal."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's content, hexadecimal."""
    with regular(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
