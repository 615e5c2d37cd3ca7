"""Terms of the user's own: named, recorded, and needed for training alone."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import taildiff
from cli.calls import call, said, tree
from taildiff import build
from taildiff.data.store import Store
from taildiff.diffusion.process import Flow
from taildiff.errors import InputError, SpecError
from taildiff.evaluation import classifier_network
from taildiff.objectives.custom import custom_term
from taildiff.run.info import RunInfo
from taildiff.run.layout import RunDir
from taildiff.spec import ObjectiveSpec, RunSpec, parse

MODULE = '''
from taildiff.objectives.objective import Need, Term
from taildiff.objectives.views import GIVEN

class Small(Term):
    """Mean square of the prediction."""
    name = "small"

    def __init__(self, power: int = 2):
        super().__init__()
        self.power, self.needs = power, (Need(GIVEN),)

    def forward(self, step):
        return step.prediction(GIVEN).abs().pow(self.power).flatten(1).mean(1)

class Broken(Small):
    def __init__(self):
        raise RuntimeError("no luck")

class Nameless(Small):
    name = None

class Loud(Small):
    name = "denoising"

other = 3
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`my_terms.py` in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "my_terms.py"
    path.write_text(MODULE)
    yield path
    sys.modules.pop("my_terms", None)


def options(spec: RunSpec, store: Store, folder: Path, **custom: Any) -> list[str]:
    """The command that trains a small run with the term."""
    values = json.loads(spec.model_dump_json()) | {"steps": 2, "optimizer": {"schedule": "constant"}}
    file = folder / "spec.json"
    file.write_text(json.dumps(values))
    return [
        *("train", str(file), "--data", str(store.root), "--out", "run"),
        *(word for name, value in custom.items() for word in (f"--objective.custom.{name}", str(value))),
    ]


def test_a_run_records_it_and_needs_its_module_for_training_alone(
    module: Path,
    tiny_store: Store,
    tiny_spec: RunSpec,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(classifier_network, "_STEPS", (2, 2))
    command = options(tiny_spec, tiny_store, module.parent, term="my_terms:Small", weight=0.5, args='{"power": 3}')
    assert call(*command) == 0, said(capsys)
    run = taildiff.Run(Path("run"))
    block = run.info.spec.objective.custom
    assert (block.term, block.weight, block.arguments) == ("my_terms:Small", 0.5, {"power": 3})
    assert run.info.custom_sha256
    assert run.metrics[-1]["weighted"]["small"] == pytest.approx(0.5 * run.metrics[-1]["terms"]["small"])

    module.unlink()
    del sys.modules["my_terms"]
    assert run.load().sample([0, 1], steps=1, format="uint8").shape == (2, 8, 8, 1)
    evaluated = taildiff.evaluate(run, guidance=1, per_class=2, metrics=("diversity",), sampler="euler", steps=1)
    assert evaluated.table.value("diversity", "all", 1.0) is not None
    said(capsys)
    before = tree(Path("run"))
    assert call(*command, "--steps", "4") == 2
    shown = said(capsys)
    assert shown.count("error:") == 1
    assert "module my_terms of --objective.custom.term my_terms:Small cannot be imported" in shown
    assert "sampling and evaluating need no module" in shown
    assert tree(Path("run")) == before
    assert run.steps[-1] == 2

    module.write_text(MODULE.replace("mean(1)", "mean(1) * 2"))
    assert call(*command, "--steps", "3") == 0
    assert "the file of my_terms:Small has changed since" in said(capsys)
    assert run.steps[-1] == 3


def test_weight_0_needs_no_module_and_equals_plain(tiny_store: Store, tiny_spec: RunSpec, tmp_path: Path):
    changes = {"objective.custom": {"term": "nowhere:Nothing", "weight": 0.0}}
    runs = [
        taildiff.train(tiny_spec, out=tmp_path / name, data=tiny_store, stop_at=2, changes=each)
        for name, each in (("plain", {}), ("off", changes))
    ]
    files = [RunDir(run.path).weights(2, "raw") for run in runs]
    from safetensors.torch import load_file

    first, second = map(load_file, files)
    assert all(first[name].equal(second[name]) for name in first)


@pytest.mark.parametrize(
    ("place", "arguments", "message"),
    [
        ("my_terms:Smal", {}, "module my_terms has no function or class 'Smal'"),
        ("my_terms:other", {}, "is not a subclass of taildiff.objectives.objective.Term"),
        ("my_terms:Small", {"powre": 3}, "cannot be made with --objective.custom.args.*unexpected keyword"),
        ("my_terms:Broken", {}, r"RuntimeError: no luck \(.*my_terms.py, line 18\)"),
        ("my_terms:Nameless", {}, "the term needs a `name` and `needs`"),
        ("none_of_these:X", {}, "can only be trained where this module can be imported"),
    ],
)
def test_what_is_wrong_is_said(module: Path, place: str, arguments: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        custom_term(place, arguments)


def test_a_name_that_is_taken_is_refused(module: Path, tiny_store: Store, tiny_spec: RunSpec):
    spec = ObjectiveSpec.model_validate({"custom": {"term": "my_terms:Loud", "weight": 1}})
    network = build.denoiser(tiny_spec.model, tiny_store.facts)
    with pytest.raises(SpecError, match="two terms of the loss have the name 'denoising'"):
        build.objective(spec, Flow(), tiny_store.facts.counts, network)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"weight": 1}, "a weight needs a term"),
        ({"term": "my_terms"}, "must be MODULE:CLASS"),
        ({"term": "a/b:C"}, "must be MODULE:CLASS"),
        ({"term": "a:B", "args": "[1]"}, "must be a JSON object"),
        ({"term": "a:B", "args": "{1}"}, "must be a JSON object"),
    ],
)
def test_a_block_that_cannot_be_is_refused(block: dict[str, Any], message: str):
    with pytest.raises(SpecError, match=message):
        parse(ObjectiveSpec, {"custom": block})


def test_arguments_have_one_form():
    blocks = [
        ObjectiveSpec.model_validate({"custom": {"term": "a:B", "weight": 1, "args": args}}).custom
        for args in ('{"b": 1,   "a": 2}', {"a": 2, "b": 1})
    ]
    assert blocks[0] == blocks[1]
    assert blocks[0].arguments == {"a": 2, "b": 1}


def test_older_runs_have_none(tiny_store: Store, tiny_spec: RunSpec, tmp_path: Path):
    info = RunInfo.model_fields["custom_sha256"]
    assert info.default is None
    values = tiny_spec.model_dump(mode="json")
    del values["objective"]["custom"]
    assert parse(RunSpec, values) == tiny_spec
