"""`taildiff recipes NAME`: one recipe with its settings, and its spec as JSON."""

from pathlib import Path

import pytest

from cli.calls import call, said
from taildiff.cli.settings import order, settings, tail, terms
from taildiff.data.store import Store
from taildiff.recipes import FIXED, NAMES, auto_ccua, describe, recipe
from taildiff.spec import CBDMSpec, DataSpec, ObjectiveSpec, RunSpec, TransferSpec, UCLSpec


@pytest.mark.parametrize("name", NAMES)
def test_one_recipe_is_described(name: str, capsys: pytest.CaptureFixture[str]):
    assert call("recipes", name) == 0
    text = said(capsys)
    assert " ".join(describe(name).split()) in text
    assert f"taildiff train {name} --help" in text
    others = [other for other in FIXED if not (name.startswith(other) or other.startswith(name))]
    assert not [other for other in others if f"{other} {FIXED[other].title}" in text]
    if name in FIXED:
        assert all(" ".join(line.split()) in text for line in settings(recipe(name)))
    else:
        assert "--data STORE" in text


def test_its_spec_is_a_recipe_for_train(tmp_path: Path, tiny_store: Store, capsys: pytest.CaptureFixture[str]):
    assert call("recipes", "imagenetlt256-sit-b2", "--json") == 0
    printed = capsys.readouterr().out
    assert RunSpec.model_validate_json(printed) == recipe("imagenetlt256-sit-b2")
    (tmp_path / "spec.json").write_text(printed)
    assert call("train", tmp_path / "spec.json", "--dry-run") == 0
    assert capsys.readouterr().out == printed
    assert call("recipes", "auto-ccua", "--data", tiny_store.root, "--json") == 0
    assert RunSpec.model_validate_json(capsys.readouterr().out) == auto_ccua(tiny_store.facts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cifar10l"], "unknown recipe 'cifar10l': did you mean 'cifar10lt'?"),
        (["--json"], "name the recipe: taildiff recipes NAME --json"),
        (["auto-ccua", "--json"], "add --data STORE"),
        (["cifar10lt", "--data", "x"], "cifar10lt is the same for all data: remove --data"),
        (["cifar10lt", "more"], "more"),
    ],
)
def test_what_recipes_refuses(words: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert call("recipes", *words) == 2
    assert message in said(capsys)


def test_settings_in_words():
    assert order(DataSpec()) == "epochs"
    assert order(DataSpec(resample=0.1)) == "class resampling f = 0.1"
    assert order(DataSpec(resample_power=0.5)) == "class resampling by size, power 0.5"
    assert tail(DataSpec()) == "all images, as they are"
    assert tail(DataSpec(tail="list", list=Path("l.txt"))) == "the images listed in l.txt"
    assert tail(DataSpec(tail="step", ratio=0.1)) == "step, ratio 0.1: the last 0.5 of the classes keep 0.1 of the rest"
    assert terms(ObjectiveSpec()) == "denoising alone"
    objective = ObjectiveSpec(ucl=UCLSpec(weight=0.2), cbdm=CBDMSpec(weight=1), transfer=TransferSpec(mode="t2h"))
    assert terms(objective) == "UCL 0.2, CBDM 1, targets t2h"
