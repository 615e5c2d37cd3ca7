"""Folders named after classes, whatever the classes are called."""

import re
import unicodedata
from collections.abc import Sequence

GRID = "grid.png"
"""Stands beside the folders of the classes, so no class gets this name."""
_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices on Windows
_MOST_BYTES = 200  # file systems allow 255; a number may follow


def folder_names(classes: Sequence[str]) -> tuple[str, ...]:
    """For each class a name that is one part of a path, on every system, and no other's; most keep their own.

    Upper and lower case are one, since they are on some file systems. What had to change takes a number where it would
    meet another: ("a/b", "a_b") gives ("a_b-2", "a_b").
    """
    taken = {_key(GRID)}
    chosen: dict[int, str] = {}
    safe = [_safe(name) for name in classes]
    for label in sorted(range(len(classes)), key=lambda label: safe[label] != classes[label]):
        name, number = safe[label], 2
        while _key(name) in taken:
            name, number = f"{safe[label]}-{number}", number + 1
        taken.add(_key(name))
        chosen[label] = name
    return tuple(chosen[label] for label in range(len(classes)))


def _safe(name: str) -> str:
    """One part of a path: not hidden, not above, not a device, not too long."""
    text = _FORBIDDEN.sub("_", name).rstrip(". ")
    text = re.sub(r"^[. ]+", lambda lead: "_" * len(lead[0]), text)
    text = text.encode("utf-8", "replace")[:_MOST_BYTES].decode("utf-8", "ignore")
    if not text:
        return "class"
    return f"{text}_" if _RESERVED.fullmatch(text) else text


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
