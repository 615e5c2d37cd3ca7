"""How long a run had trained at a step, from its log."""

import json
from pathlib import Path

from taildiff.errors import RunError


def seconds_at(log: Path, step: int) -> float:
    """Training seconds at the last logged step up to `step`; `RunError` without such a line."""
    seconds = None
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
        try:
            values = json.loads(line)
            if int(values["step"]) <= step:
                seconds = float(values["seconds"])
        except (ValueError, KeyError, TypeError):
            continue  # being written, or cut off by a crash
    if seconds is None:
        raise RunError(f"{log} does not tell how long training took up to step {step}: compare --at steps or images")
    return seconds
