"""docs/coming-from.md: our side of every row has an option that exists, with the value that the recipe has."""

import re
import shlex
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from cli.calls import call, without_places
from taildiff.cli import encode, evaluate, sample, train
from taildiff.cli.data import _with_options
from taildiff.cli.options import Option, options_of
from taildiff.data.formats import importers
from taildiff.recipes import recipe
from taildiff.spec import RunSpec

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text(encoding="utf-8")
RECIPES = {
    "CBDM": recipe("cifar100lt", method="cbdm"),
    "OC (T2H)": recipe("cifar10lt", method="t2h"),
    "CCUA": recipe("cifar10lt"),
    "SiT": recipe("imagenetlt256-sit-xl2", method="plain"),
    "DiT": recipe("imagenetlt256-sit-xl2", method="plain"),
}
SECTIONS: dict[str, str] = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
COMMANDS = re.findall(r"^    (taildiff train .*)$", PAGE, re.M)


def rows(title: str) -> list[list[str]]:
    """The cells of the rows of a section, without the heading."""
    lines = [line for line in SECTIONS[title].splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def options(title: str) -> dict[str, Option]:
    """The options of train by flag, with the values of the section's recipe, and those that turn switches off."""
    known = options_of(train.Options, train.Options(spec=RECIPES.get(title, RunSpec())))
    return {each.flag: each for each in known}


def all_options() -> dict[str, dict[str, Option]]:
    kinds = {
        "sample": sample.Options,
        "evaluate": evaluate.Evaluate,
        "data encode": encode.Encode,
        "data prepare": _with_options([*importers().values()]),
    }
    return {verb: {each.flag: each for each in options_of(kind)} for verb, kind in kinds.items()}


@pytest.mark.parametrize("title", SECTIONS)
def test_our_options_exist_and_take_these_values(title: str):
    verbs = all_options()
    checked = 0
    for row in rows(title):
        for span in re.findall(r"`([^`]*)`", row[1 if title == "Terms" else 2]):
            words = shlex.split(span)
            verb, known = "train", options(title)
            if words[0] == "taildiff":
                verb = words[1] if words[1] != "data" else " ".join(words[1:3])
                known = verbs.get(verb, known)
            elif not words[0].startswith("--"):
                continue
            if verb == "sample" or (title == "Terms" and words[0] == "--guidance"):
                known = verbs["sample"]
            known = known | (verbs["sample"] if words[0] in ("--omega", "--guidance") else {})
            for flag, value in _pairs(words):
                assert flag in known, (span, flag)
                if value:
                    _check_value(known[flag], value)
                checked += 1
    assert checked >= {"Terms": 6, "DiT": 6}.get(title, 7)


def _pairs(words: list[str]) -> list[tuple[str, list[str]]]:
    """The flags among the words, with the values behind each."""
    places = [k for k, word in enumerate(words) if word.startswith("--")]
    return [(words[k], words[k + 1 : end]) for k, end in zip(places, [*places[1:], len(words)], strict=False)]


def _check_value(option: Option, value: list[str]) -> None:
    if option.key.endswith(".kind"):
        assert value[0] in ("unet", "sit", "ddpm", "flow")
    elif value != ["None"]:
        TypeAdapter(option.hint).validate_python(value if option.is_list else value[0])


@pytest.mark.parametrize("title", [title for title in RECIPES if title != "DiT"])
def test_the_values_are_those_of_the_recipe(title: str):
    known, checked = options(title), 0
    for row in rows(title):
        if value := row[3] if len(row) > 3 else "":
            for flag in re.findall(r"`(--[\w.-]+)", row[2]):
                if flag == "--method":
                    continue
                assert known[flag].default == value, flag
                checked += 1
    assert checked >= 3


def test_the_commands_can_be_run_and_follow_their_script(capsys: pytest.CaptureFixture[str]):
    specs: dict[str, RunSpec] = {}
    for command in COMMANDS:
        words = shlex.split(command)
        assert call(*without_places(words)[1:], "--dry-run") == 0, capsys.readouterr().err
        specs[words[-1].removeprefix("runs/")] = RunSpec.model_validate_json(capsys.readouterr().out)
    assert set(specs) == {"cbdm", "t2h", "sit", "dit"}
    assert (specs["cbdm"].batch_size, specs["cbdm"].steps, specs["cbdm"].objective.cbdm.weight) == (128, 800_000, 1)
    assert specs["cbdm"].objective.drop.policy == specs["t2h"].objective.drop.policy == "per_batch"
    assert specs["t2h"].objective.transfer.mode == "t2h"
    assert (specs["sit"].path.kind, specs["sit"].data.resample, specs["sit"].objective.terms) == ("flow", None, {})
    assert specs["dit"].path.kind == "ddpm"
    assert specs["dit"].model.model_dump()["embed"] == "dit"
