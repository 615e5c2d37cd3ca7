"""What a run has logged: the lines of metrics.jsonl, as training/tracking.py writes them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taildiff.errors import RunError


def logged_lines(log: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a metrics.jsonl, without their checksums; `RunError` names a damaged one."""
    if not log.is_file():
        return
    with log.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):  # the last may be half written
                yield _values(log, number, line)


def _values(log: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        values = {name: value for name, value in json.loads(line).items() if name != "crc"}
    except (ValueError, AttributeError, RecursionError):
        values = {}
    if not isinstance(values.get("step"), int):
        raise RunError(f"{log}, line {number} is damaged")
    return values
