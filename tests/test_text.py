"""Names that act on terminals, spreadsheets and streams are shown instead."""

import io
import sys

import pytest

from taildiff.text import one_line, show_everything, shown, spreadsheet_cell


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b2J \x07 \r\x00\x7f", r"\x9b2J \x07 \x0d\x00\x7f"),
        ("evil\u202egnp.exe", r"evil\u202egnp.exe"),
        ("a\u2028b\u200bc\ufeff", r"a\u2028b\u200bc\ufeff"),
        ("caf\udcff", r"caf\xff"),
        ("\ud800", r"\ud800"),
        ("first\nsecond\tthird", "first\nsecond\tthird"),
        ("café 猫 👩\u200d🚀 [bold] ×", "café 猫 👩\u200d🚀 [bold] ×"),
    ],
)
def test_shown(text: str, safe: str):
    assert shown(text) == safe
    assert shown(safe) == safe


def test_one_line():
    assert one_line("a\n b \x1b\t c") == r"a b \x1b c"
    assert one_line("x" * 400) == "x" * 300 + "…"


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "=-1", "-", "-1e", "−\n="])
def test_formulas_are_text(text: str):
    cell = spreadsheet_cell(text)
    assert cell == ("'" + text if text[0] in "=+-@\t" else text)


@pytest.mark.parametrize("value", [-1.5, 7, None, True, "-1", "+1.5", "-1e-3", "cat", "a=b", "nan", "-inf"])
def test_numbers_and_plain_text_stay(value: object):
    assert spreadsheet_cell(value) == value


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "utf-16"])
def test_streams_replace_what_they_cannot_show(encoding: str, monkeypatch: pytest.MonkeyPatch):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
    show_everything()
    sys.stdout.write("8×8 … café 猫 \udcff ↓")
    sys.stdout.flush()
    text = raw.getvalue().decode(encoding)
    assert text == {
        "ascii": r"8x8 ... caf\xe9 \u732b \xff (low)",
        "latin-1": r"8×8 ... café \u732b \xff (low)",
        "cp1252": r"8×8 … café \u732b \xff (low)",
    }.get(encoding, r"8×8 … café 猫 \xff ↓")
