"""What a terminal shows of what is written to it."""

import io
import re
import sys

import pytest

from taildiff.api.terminal import errors


class Terminal(io.StringIO):
    """A terminal that keeps what is written; `rows` is what it shows then."""

    def isatty(self) -> bool:
        return True

    @property
    def rows(self) -> list[str]:
        rows, at = [""], 0
        for code, plain in re.findall(r"(\x1b\[\??[\d;]*[A-Za-z]|\r|\n)|([^\x1b\r\n]+)", self.getvalue()):
            if code == "\n":
                at += 1
                rows += [""] * (at == len(rows))
            elif code.endswith("A"):
                at -= int(code[2:-1] or 1)
            elif code.endswith("K"):
                rows[at] = ""
            rows[at] += plain  # rich writes whole rows, from their beginning
        return rows


def terminal_for(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal in the place of stderr; to be called in the test, as pytest replaces stderr after fixtures."""
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(errors, "is_interactive", True)  # which it finds out when it is made
    for name, value in (("TERM", "xterm"), ("COLUMNS", "120"), ("LINES", "24")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return stderr
