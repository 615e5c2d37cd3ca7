"""Text from elsewhere (names of files, classes and stores, messages of libraries) made safe to show."""

import codecs
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but line feed and tab: ESC starts a terminal's commands
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"  # invisible, or changing the direction of what follows
    "\ud800-\udfff]"  # bytes of a path that are not UTF-8, and halves of surrogate pairs
)
_ASCII = str.maketrans(
    {"…": "...", "–": "-", "−": "-", "─": "-", "×": "x", "±": "+-", "·": ".", "•": "*", "²": "^2", "³": "^3"}
    | {"█": "#", "▏": "|", "↓": "(low)", "↑": "(high)", "→": "->", "\N{NO-BREAK SPACE}": " "}
)
"""What our own messages and tables contain, for terminals that have ASCII alone."""
_ERRORS = "taildiff-shown"


def shown(text: str) -> str:
    r"""`text` with every character escaped that a terminal would obey or hide: ESC as `\x1b`, a stray byte as `\xff`.

    Line feeds and tabs stay. Applying it twice changes nothing.
    """
    return _UNSAFE.sub(_escaped, text)


def one_line(text: object, most: int = 300) -> str:
    """The text, shown, on one line of at most `most` characters."""
    line = shown(" ".join(str(text).split()))
    return line if len(line) <= most else f"{line[:most]}…"


def spreadsheet_cell(value: object) -> object:
    """A CSV cell: text that a spreadsheet would run as a formula gets an apostrophe in front; numbers stay.

    Source: OWASP, "CSV Injection".
    """
    if not isinstance(value, str):
        return value
    text = shown(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\n")) and not _is_number(text) else text


def show_everything() -> None:
    """Make standard output and error replace characters that they cannot encode, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=_ERRORS)


@contextmanager
def forgiving(stream: TextIO) -> Iterator[None]:
    """Print to `stream`; once its terminal or pipe is gone, this and all later output goes nowhere."""
    try:
        yield
    except (OSError, SystemExit):  # rich exits where a pipe is closed
        with suppress(OSError, ValueError):  # no file behind it, as in notebooks
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())  # also for what the stream still holds, which exiting would write
            os.close(nowhere)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii()


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds byte code - 0xDC00 of a path that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """The codec error handler: our own characters as ASCII, others escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = shown(error.object[error.start : error.end]).translate(_ASCII)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error(_ERRORS, _replaced)
