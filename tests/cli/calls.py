"""The command line called in this process, and what can be compared of a folder."""

from pathlib import Path

import pytest

from taildiff.cli.main import main


def call(*args: object) -> int:
    """The exit code of `taildiff ARGS`, whichever way it ends."""
    try:
        return main([str(arg) for arg in args])
    except SystemExit as stop:  # how the option parser ends
        return int(stop.code or 0)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Everything printed since the last call, on one line, without the frames of the option parser."""
    shown = capsys.readouterr()
    return " ".join((shown.out + " " + shown.err).replace("│", " ").split())


def tree(root: Path) -> dict[str, int]:
    """Every file below `root` with its time of change, and every folder, whose own time a passing lock file changes."""
    return {
        str(path.relative_to(root)): 0 if path.is_dir() else path.stat().st_mtime_ns for path in sorted(root.rglob("*"))
    }


def without_places(words: list[str]) -> list[str]:
    """A documented command without the data, weights, lists and terms that exist only for its reader."""
    custom = (f"--objective.custom.{name}" for name in ("term", "weight", "args"))
    places = ("--data", "--from", "--data.list", *custom)
    kept = [k for k, word in enumerate(words) if word not in places and (k == 0 or words[k - 1] not in places)]
    tail = [k for k in kept if not ("--data.list" in words and (words[k] == "list" or words[k] == "--data.tail"))]
    return [words[k] for k in tail]
