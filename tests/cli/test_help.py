"""`--help` and `--help-all`: the options that the parser has, with defaults that say what they resolve to."""

import re
from typing import Any

import pytest
import tyro

from cli.calls import call, said
from taildiff.cli import (
    compare,
    data,
    data_show,
    demo,
    encode,
    evaluate,
    export,
    export_data,
    fill,
    gallery,
    recipes,
    report,
    sample,
    study,
    train,
)
from taildiff.cli.options import options_of
from taildiff.cli.parsing import _registry
from taildiff.data.formats import importers
from taildiff.recipes import METHODS, recipe

KINDS: dict[str, tuple[type, Any]] = {
    "sample": (sample.Options, None),
    "evaluate": (evaluate.Evaluate, None),
    "fill": (fill.Options, None),
    "export": (export.Export, None),
    "data export": (export_data.Export, None),
    "data encode": (encode.Encode, None),
    "data prepare": (data._with_options([*importers().values()]), None),
    "data show": (data_show.Show, None),
    "demo": (demo.Options, None),
    "study new": (study.New, None),
    "study run": (study.Run, None),
    "study status": (study.StatusOf, None),
    "study report": (study.ReportOf, None),
    "report": (report.Report, None),
    "gallery": (gallery.Options, None),
    "compare": (compare.Compare, None),
    "recipes": (recipes.Recipes, None),
    "train mnist5k-ccua": (train.Options, train.Options(spec=recipe("mnist5k-ccua"))),
    "train cifar10lt": (train.Options, train.Options(spec=recipe("cifar10lt"))),
    "train imagenetlt256-sit-s2": (train.Options, train.Options(spec=recipe("imagenetlt256-sit-s2"))),
}


@pytest.mark.parametrize(
    "verb", [pytest.param(verb, marks=pytest.mark.slow if "train m" in verb else ()) for verb in KINDS]
)
def test_help_lists_the_flags_of_the_parser(verb: str, capsys: pytest.CaptureFixture[str]):
    kind, default = KINDS[verb]
    with pytest.raises(SystemExit):
        tyro.cli(kind, args=["--help"], default=default, config=(tyro.conf.AvoidSubcommands,), registry=_registry())
    parser = {*re.findall(r"(?<![\w-])--[a-z][\w.-]*", "\n".join(_invocations(capsys.readouterr().out)))} - {"--help"}
    ours = {each.flag for each in options_of(kind, default) if not each.positional}
    assert ours == {flag for flag in parser if not re.search(r"(--|\.)no-", flag) or flag in ours}


def _invocations(text: str) -> list[str]:
    """The lines of tyro's help that name an option."""
    return [line for line in text.splitlines() if re.match(r"[│ ]*--", line)]


@pytest.mark.parametrize("verb", KINDS)
def test_every_option_has_a_text_and_says_what_it_is_without(verb: str, capsys: pytest.CaptureFixture[str]):
    kind, default = KINDS[verb]
    for option in options_of(kind, default):
        assert option.text, option.key
        unset = option.value is None or option.value in ((), "")
        assert option.stated or not (unset or option.optional), option.key
        assert not re.search(r"[Dd]efault:|[Ii]f omitted|\bNone\b", option.text), option.key
    assert call(*verb.split(), "--help-all") == 0
    text = said(capsys)
    assert "default: None" not in text
    assert "[default" not in text
    shown = [each for each in options_of(kind, default) if each.default != "required"]
    assert text.count("(default: ") >= len(shown)


@pytest.mark.parametrize("name", ["mnist5k-ccua", "cifar100lt", "imagenetlt256-sit-xl2", "auto-sit-ccua"])
def test_help_of_a_recipe_is_short(name: str, capsys: pytest.CaptureFixture[str]):
    assert call("train", name, "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert 35 <= len(lines) <= 54
    assert max(map(len, lines)) <= 80  # as wide as the console of the tests
    assert lines[-1].startswith(f"taildiff train {name} --help-all lists all ")
    assert call("train", name, "--help-all") == 0
    everything = capsys.readouterr().out
    assert len(everything.splitlines()) > 150
    assert "--objective.dispersive.tap" in everything
    assert "--objective.dispersive.tap" not in "\n".join(lines)
    assert all(flag in everything for flag in re.findall(r"--[a-z][\w.-]*", "\n".join(lines[:-1])))


def test_help_shows_the_weights_of_the_terms_in_use(capsys: pytest.CaptureFixture[str]):
    for method, words in {
        "plain": "--objective.drop.p X Probability of dropping a label (default: 0.1)",
        "cbdm": "--objective.cbdm.weight X Weight of CBDM, tau in the paper, which uses 1 (default: 1)",
        "t2h": "--objective.transfer.mode",
    }.items():
        assert call("train", "cifar10lt", "--method", method, "--help") == 0
        text = said(capsys)
        assert words in text
        assert "ucl.weight" not in text
    assert f"--method {{{','.join(METHODS)}}}" in text


def test_defaults_are_those_of_the_recipe(capsys: pytest.CaptureFixture[str]):
    assert call("train", "mnist5k-coral", "--help") == 0
    text = said(capsys)
    assert "--data STORE The store to train on (default: the embedded digits)" in text
    assert "for this network (default: coral)" in text
    assert "(default: 0.1; None: shuffled by epoch)" in text
    assert call("train", "cifar10lt", "--help") == 0
    text = said(capsys)
    assert "(default: none; needed for a new run)" in text
    assert "Class resampling (default: shuffled by epoch)" in text
    assert "--data.flip, --data.no-flip Mirror each image with probability 0.5 (default: on)" in text


@pytest.mark.parametrize(
    ("words", "held"),
    [
        ((), ("usage: taildiff VERB", "usage: taildiff sample RUN", "--repel-radius", "taildiff study run FILE")),
        (("data",), ("usage: taildiff data prepare IMPORTER", "usage: taildiff data export STORE")),
        (("study",), ("usage: taildiff study new FILE", "--retry-failed", "usage: taildiff study report FILE")),
    ],
)
def test_help_all_without_a_verb_is_that_of_every_verb(
    words: tuple[str, ...], held: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    assert call(*words, "--help-all") == 0
    text = said(capsys)
    assert all(each in text for each in held)
    assert "--help-all lists all" not in text


def test_help_of_one_importer_is_about_it_alone(capsys: pytest.CaptureFixture[str]):
    for flag in ("--help", "--help-all"):
        assert call("data", "prepare", "imagenet", flag) == 0
        assert "tinyimagenet" not in said(capsys)


def test_help_stands_before_a_verb_as_well(capsys: pytest.CaptureFixture[str]):
    assert call("help", "study", "run") == 0
    assert "usage: taildiff study run FILE" in said(capsys)


def test_help_of_sampling_is_in_two_parts(capsys: pytest.CaptureFixture[str]):
    assert call("sample", "--help") == 0
    text = said(capsys)
    assert "usage: taildiff sample RUN --out PATH [OPTIONS]" in text
    assert "How a step is made (default: dpm2m)" in text
    assert "--repel-radius" not in text
    assert "taildiff sample --help-all lists all" in text
    assert call("sample", "--help-all") == 0
    assert "--repel-radius X Of `repel`" in said(capsys)


def test_both_forms_of_a_switch_are_accepted(capsys: pytest.CaptureFixture[str]):
    """Whatever the recipe's own value is."""
    for recipe_name, flag, value in (
        ("mnist5k-plain", "--data.flip", "true"),
        ("mnist5k-plain", "--data.no-flip", "false"),
        ("cifar10lt", "--data.flip", "true"),
    ):
        assert call("train", recipe_name, flag, "--dry-run") == 0
        assert f'"flip": {value}' in capsys.readouterr().out
