"""docs/command-line.md: its file and commands work, and its table has every verb with --dry-run."""

import re
import shlex
from pathlib import Path

import pytest

from cli.calls import call
from cli.test_help import KINDS
from taildiff.cli.options import options_of
from taildiff.spec import RunSpec

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")


def test_the_file_is_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    example = re.search(r"```toml\n(.*?)```", PAGE, re.S)
    assert example
    Path("run.toml").write_text(example[1], encoding="utf-8")
    commands = re.findall(r"^    taildiff (train .*)$", PAGE, re.M)
    assert len(commands) == 2
    specs: list[RunSpec] = []
    for command in commands:
        assert call(*shlex.split(command), "--dry-run") == 0, capsys.readouterr().err
        specs.append(RunSpec.model_validate_json(capsys.readouterr().out))
    first, second = specs
    assert (first.recipe, first.steps, first.data.ratio, first.data.resample) == ("mnist5k-ccua", 2000, 0.05, None)
    assert (first.objective.ucl.weight, first.objective.al.weight, first.optimizer.lr) == (0.1, 0.1, 5e-4)
    assert second == first.model_copy(update={"seed": 1})


def test_every_verb_with_a_dry_run_is_in_the_table():
    having = {" ".join(verb.split()[:1]) if verb.startswith("train") else verb for verb in KINDS if _has_dry_run(verb)}
    table = PAGE.partition("## What would be refused")[2].partition("## Exit codes")[0]
    named = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([^`]*)`", line.split("|")[1])
    }
    assert having - named == {"demo"}
    assert named <= having


def _has_dry_run(verb: str) -> bool:
    return any(option.key == "dry_run" for option in options_of(*KINDS[verb]))
