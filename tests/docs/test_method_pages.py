"""The pages of the methods name options that exist, all of them, and their commands can be run."""

import re
import shlex
from pathlib import Path

import pytest

from cli.calls import without_places
from taildiff.cli.main import main
from taildiff.recipes import FIXED
from taildiff.spec import ObjectiveSpec, RunSpec, field_names

FOLDER = Path(__file__).parents[2] / "docs" / "methods"
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md")))
LINES = re.findall(r"^    (taildiff train [^\n\\]*(?:\\\n[^\n\\]*)*)$", TEXT, re.MULTILINE)
CELLS = [f"taildiff train {cell}" for cell in re.findall(r"\| `((?:mnist5k|cifar10lt)-[^`]*)` \|", TEXT)]
COMMANDS = sorted({*LINES, *CELLS})


def test_every_option_of_the_objective_is_on_a_page_and_no_other():
    names = re.findall(r"--((?:objective|data|path)\.[\w.-]*\w)", TEXT)
    named = {name.replace(".no-", ".").replace("-", "_") for name in names}
    fields = {name for name in field_names(RunSpec) if "." in name}
    assert named <= fields
    assert {f"objective.{name}" for name in field_names(ObjectiveSpec)} <= named


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_can_be_run(command, capsys):
    words = without_places(shlex.split(command.replace("\\\n", " ")))
    assert main([*words[1:], "--dry-run"]) == 0, capsys.readouterr().err
    assert '"objective"' in capsys.readouterr().out


def test_every_recipe_of_a_method_is_in_a_command():
    assert {name for name in FIXED if name.startswith("mnist5k")} <= {command.split()[2] for command in COMMANDS}
