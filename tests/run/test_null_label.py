"""Guidance needs a null label that was trained; the default of `sample` comes from the run's evaluations."""

import json
from pathlib import Path

import numpy as np
import pytest

import taildiff
from cli.calls import call, said
from evaluation import tiny
from reporting.fake_runs import make_run
from taildiff.data.store import Store
from taildiff.errors import SpecError
from taildiff.evaluation import classifier_network
from taildiff.evaluation.best_guidance import default_guidance
from taildiff.evaluation.table import Table
from taildiff.io.atomic import write_json
from taildiff.run.info import add_checksum
from taildiff.run.layout import RunDir
from taildiff.run.null_label import has_null, null_trained
from taildiff.run.weights import read_weights, write_weights
from taildiff.spec import EvalSpec, LabelDropSpec, ObjectiveSpec, RunSpec, UCLSpec, parse

NO_DROP = {"drop": {"p": 0}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny.make_store(tmp_path_factory.mktemp("null") / "store", (30, 24, 22))


def retold(run: RunDir, objective: dict[str, object], **info: object) -> RunDir:
    """The run as if it had been trained with another objective."""
    values = json.loads(run.spec.read_text())
    values["spec"]["objective"] = parse(ObjectiveSpec, objective).model_dump(mode="json")
    values.pop("sha256", None)
    write_json(run.spec, add_checksum(values | info))
    for step in run.weight_steps():
        tensors, meta = read_weights(run.weights(step))
        spec = meta.spec.model_copy(update={"objective": parse(ObjectiveSpec, objective)})
        write_weights(run.weights(step), tensors, meta.model_copy(update={"spec": spec}))
    return run


@pytest.mark.parametrize(
    ("objective", "trained"),
    [
        ({}, True),
        (NO_DROP, False),
        ({"drop": {"p": 0.1, "policy": "per_batch"}}, True),
        (NO_DROP | {"ucl": {"weight": 0.1}}, False),  # trains features of the null view alone
        (NO_DROP | {"al": {"weight": 0.1}}, True),
        (NO_DROP | {"al": {"weight": 0.1, "stop_gradient": True}}, False),
        (NO_DROP | {"ucl": {"weight": 0.1}, "al": {"weight": 0.2}}, True),
        (NO_DROP | {"cbdm": {"weight": 1}, "coral": {"weight": 1}, "dispersive": {"weight": 1}}, False),
        (NO_DROP | {"ucl": {"weight": 1}, "diffrop": {"weight": 1, "form": "permuted"}}, False),
    ],
)
def test_what_trains_the_null_label(objective: dict[str, object], trained: bool):
    assert parse(ObjectiveSpec, objective).trains_null is trained


def test_weights_to_start_from_bring_their_null_label(tmp_path: Path, store: Store):
    source = tiny.make_run(tmp_path / "source", store)
    spec = RunSpec(objective=ObjectiveSpec(drop=LabelDropSpec(p=0)))
    assert null_trained(spec, source.weights(5))
    assert null_trained(spec, tmp_path / "SiT-XL-2-256.pt")  # official, or gone: not known to be untrained
    assert not null_trained(spec, retold(source, NO_DROP).weights(5))
    assert not null_trained(spec, None)


def test_guidance_on_an_untrained_null_label_is_refused_everywhere(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(classifier_network, "_STEPS", (2, 2))
    run = retold(tiny.make_run(tmp_path / "run", store), NO_DROP | {"ucl": {"weight": 0.1}})
    fast = ("--sampler", "euler", "--steps", 2)
    for verb in (
        ("sample", run.root, "--out", tmp_path / "x", "--guidance", 1.5, *fast),
        ("sample", run.root, "--out", tmp_path / "x", "--omega", 0.5, "--dry-run"),
        ("evaluate", run.root, "--guidance", "1,2", *fast),
        ("evaluate", run.root, "--guidance", 0, "--dry-run"),
    ):
        assert call(*verb) == 2
        assert "the null label was never trained: objective.drop.p is 0" in said(capsys)
    assert not (tmp_path / "x").exists()
    with pytest.raises(SpecError, match=r"guidance 1.5 cannot be used .* Use guidance 1"):
        taildiff.load(run.root).sample([0], guidance=1.5, steps=1)
    with pytest.raises(SpecError, match="never trained"):
        taildiff.load(run.root).trajectory([0], guidance=2.0, steps=1)
    with pytest.raises(SpecError, match="never trained"):
        taildiff.evaluate(run.root, spec=EvalSpec(guidance=(1.0, 1.5)))
    assert taildiff.load(run.root).sample([0], steps=1, format="uint8").shape == (1, 8, 8, 1)

    assert call("sample", run.root, "--out", tmp_path / "y", "--per-class", 1, *fast) == 0
    text = said(capsys)
    assert "guidance 1 (the null label was never trained" in text
    assert "3 images at guidance 1 in" in text
    evaluation = taildiff.evaluate(run.root, metrics="accuracy", per_class=2, sampler="euler", steps=2)
    assert evaluation.table.guidances == (1.0,)


def evaluated(run: RunDir, name: str, values: dict[float, float | None], **changes: object) -> None:
    """Another evaluation of a fake run, with these Fréchet distances over all classes."""
    table = Table.read(next(run.evaluations()))
    spec = table.definition.spec.model_copy(update={"guidance": tuple(values)})
    definition = table.definition.model_copy(update={"spec": spec, "name": name, **changes})
    row = table.select("frechet", "all")[0]
    rows = tuple(row.model_copy(update={"guidance": g, "value": value}) for g, value in values.items())
    Table(rows, definition).write(run.evaluation(name))


def test_the_default_guidance_is_the_best_of_the_newest_evaluation(tmp_path: Path):
    run = make_run(tmp_path / "run")
    assert default_guidance(run).value == 2.0  # distances 15, 9, 15
    evaluated(run, "finer", {2.25: 8.7, 2.5: 8.8, 4.0: None})
    assert default_guidance(run).value == 2.25
    evaluated(run, "also", {1.25: 8.9})  # of the same weights and settings, so they are compared
    assert default_guidance(run).value == 2.25
    evaluated(run, "later", {1.0: 5.0, 1.75: 4.0, 3.0: 4.0}, weights_hash="later", step=900)
    assert default_guidance(run).value == 1.75  # of equal distances the lower guidance
    assert "Fréchet distance over all classes: 4" in default_guidance(run).reason
    evaluated(run, "undefined", {3.0: None}, weights_hash="last")
    assert default_guidance(run).value == 1.75
    run.evaluation("later").table_json.write_text("{")
    assert default_guidance(run).value == 2.25
    assert default_guidance(make_run(tmp_path / "new", evaluated=False)).value == 1.5


def test_sample_uses_and_prints_it(tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]):
    run = tiny.make_run(tmp_path / "run", store)
    assert has_null(run)
    fast = {"sampler": "euler", "steps": 2}
    assert call("sample", run.root, "--out", tmp_path / "x", "--dry-run") == 0
    assert "guidance 1.5 (not evaluated yet; taildiff evaluate" in said(capsys)
    table = taildiff.evaluate(run.root, guidance=(1, 3), per_class=12, metrics="frechet", **fast).table
    best = min((1.0, 3.0), key=lambda g: table.value("frechet", "all", g) or np.inf)
    options = ("--per-class", 1, "--sampler", "euler", "--steps", 2)
    assert call("sample", run.root, "--out", tmp_path / "x", *options) == 0
    text = said(capsys)
    assert f"guidance {best:g} (the best of its evaluation at step 5" in text
    assert f"3 images at guidance {best:g} in" in text


def test_a_null_view_of_features_is_no_trained_prediction():
    assert UCLSpec(weight=0.1, view="null").trains_null is False
