"""docs/walkthrough.md: its commands are understood, and docs/transcripts.py writes what commands print into a page."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from cli.calls import call, said

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = re.findall(r"^\$ taildiff (.*)$", (DOCS / "walkthrough.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_lacks_nothing_but_its_files(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    assert call(*shlex.split(command)) == 2
    assert re.search(r"error: .*(photos|runs|filled)", text := said(capsys)), text
    assert "nrecognized" not in text
    assert [path.name for path in tmp_path.rglob("*")] == ["runs", "demo"]


def test_what_commands_print_is_written_below_them(tmp_path: Path):
    transcripts = runpy.run_path(str(DOCS / "transcripts.py"))
    page = "text\n\n```\n$ echo one\nold\nolder\n$ {}\n```\n\n```\n$ plain\n```\n\n```\n$ echo three\n```\nend\n"
    page = page.format("printf 'a\\nstage: 3/4 (2/s, 1 s left), loss 2\\n\\n  b\\n\\nnext\\n  more\\n'")
    *_, last = transcripts["renewed"](page, tmp_path, range(1, 3))
    assert "$ echo one\none\n$ printf" in last
    assert "\\n'\na\n  b\n```\n\n```\n$ plain\n```\n\n```\n$ echo three\n```\nend\n" in last
    lasted = transcripts["lasted"]
    assert [*lasted(9), *lasted(10), *lasted(125)] == ["(10 s)", "(2 min 5 s)"]
