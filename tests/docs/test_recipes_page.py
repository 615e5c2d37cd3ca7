"""The page on recipes is what its script counts, its commands run, and the recipes' descriptions agree with it."""

import json
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest

from cli.calls import call, without_places
from taildiff.cli.data import parse_prepare
from taildiff.cli.encode import Encode
from taildiff.cli.parsing import parse_options
from taildiff.data.formats import importers
from taildiff.recipes import FIXED, METHODS, describe

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
TRAIN = re.compile(r"^ *(taildiff train [^\n\\]*(?:\\\n[^\n\\]*)*)$", re.MULTILINE)
DATA = re.compile(TRAIN.pattern.replace("train", "data"), re.MULTILINE)
TEXTS = [PAGE, *map(describe, FIXED)]
COMMANDS = sorted({command for text in TEXTS for command in TRAIN.findall(text)})


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "recipe_cost.py"))


@pytest.fixture(scope="module")
def costs(script: dict[str, Any]) -> dict[str, Any]:
    return {name: script["cost"](name) for name in FIXED}


def test_the_table_is_what_the_script_counts(script: dict[str, Any], costs: dict[str, Any]):
    again = "run: python benchmarks/recipe_cost.py --out benchmarks/results/recipe_cost.json, and put the table here"
    assert script["table"](list(costs.values())) in PAGE, again
    record = json.loads((ROOT / "benchmarks" / "results" / "recipe_cost.json").read_text())
    assert record["recipes"] == [script["asdict"](cost) for cost in costs.values()], again


def test_descriptions_state_the_cost(costs: dict[str, Any]):
    stated = 0
    for name, made in FIXED.items():
        text = describe(name)
        if "Cost:" not in text:
            assert name.startswith("mnist5k") or "Equal to cifar10lt" in text, name
            continue
        stated += 1
        c, spec = costs[name], made.spec
        assert (
            f"Cost: {c.parameters / 1e6:.2f} M parameters, {spec.steps:,} steps of {spec.batch_size}: "
            f"{c.images / 1e6:.1f} M images, {c.pflop:,.0f} PFLOP (plain {c.plain_pflop:,.0f}).\n"
        ) in text, name
        assert "Published FID" in text, name
    assert stated == 11


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_can_be_run(command: str, capsys: pytest.CaptureFixture[str]):
    words = without_places(shlex.split(command.replace("\\\n", " ")))
    assert call(*words[1:], "--dry-run") == 0, capsys.readouterr().err


@pytest.mark.parametrize("command", sorted({command for text in TEXTS for command in DATA.findall(text)}))
def test_commands_for_the_data_have_these_options(command: str):
    _, _, verb, *words = shlex.split(command.replace("\\\n", " "))
    if verb == "prepare":
        assert parse_prepare(words).importer in importers()
    else:
        assert verb == "encode"
        parse_options(Encode, words, "taildiff data")


def test_every_method_has_a_row_and_every_recipe_with_published_numbers_too():
    for method in METHODS:
        assert f"\n| `{method}` | " in PAGE
    for name in FIXED:
        published = re.findall(r"\d+\.\d\d\b", describe(name).partition("Published FID")[2])
        assert all(number in PAGE for number in published)
        assert bool(published) == (f"\n| `{name}` | " in PAGE.partition("## Published numbers")[2]), name
