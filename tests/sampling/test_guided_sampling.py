"""Guidance by noise level, class and group, and by worse weights: what the network sees and what is recorded."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

import taildiff
from cli.calls import call, said
from evaluation import tiny
from taildiff.api.evaluation_request import request
from taildiff.errors import SpecError
from taildiff.evaluation.cache import cache_key
from taildiff.evaluation.table import Definition, ExtractorInfo
from taildiff.run.layout import RunDir
from taildiff.run.weights import WeightsMeta, write_weights
from taildiff.sampling.generate import generate, load_model
from taildiff.spec import EvalSpec, SamplingSpec, parse

LABELS = np.array([0, 1, 2])
FAST = {"sampler": "euler", "steps": 4, "spacing": "uniform"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    root = tmp_path_factory.mktemp("guided")
    run = tiny.make_run(root / "run", tiny.make_store(root / "store", (6, 4, 2)))
    model = load_model(run)
    torch.manual_seed(1)
    for p in model.denoiser.parameters():
        p.requires_grad_(False).add_(0.1 * torch.randn_like(p))
    meta = WeightsMeta(kind="ema", step=3, spec=model.spec, facts=model.facts)
    write_weights(run.weights(3), dict(model.denoiser.state_dict()), meta)
    return run


def images(run: RunDir, guidance: float = 2.0, **fields) -> np.ndarray:
    sampling = SamplingSpec(**FAST | fields)
    return generate(load_model(run, autoguide=sampling.autoguide), LABELS, sampling, guidance)


def test_outside_the_interval_nothing_runs_twice(run: RunDir, monkeypatch: pytest.MonkeyPatch):
    model, rows = load_model(run), list[int]()
    own = type(model.denoiser).predict
    monkeypatch.setattr(
        type(model.denoiser), "predict", lambda self, x, s, y: rows.append(len(x)) or own(self, x, s, y)
    )
    generate(model, LABELS, SamplingSpec(guidance_interval=(0.5, 0.75), **FAST), 2.0)
    assert rows == [3, 6, 6, 3]  # s = 1, 0.75, 0.5, 0.25
    rows.clear()
    fields = {"guidance_by_class": {"left": 1.0}, "guidance_interval": (0.0, 0.5)}
    generate(model, LABELS, SamplingSpec(**FAST, **fields), 2.0)
    assert rows == [3, 3, 5, 5]
    assert (images(run, guidance_interval=(0.0, 1.0)) == images(run)).all()
    assert (images(run, guidance_interval=(0.3, 0.3)) == images(run, 1.0)).all()


def test_a_class_has_the_scale_of_its_name_before_that_of_its_group(run: RunDir):
    own = images(run, 1.0, guidance_by_class={"top": 3.0}, guidance_by_group={"tail": 9.0, "head": 2.0})
    for row, g in enumerate((2.0, 1.0, 3.0)):  # left is the head, top the tail
        assert np.abs(own[row].astype(int) - images(run, g)[row]).max() <= 1
    assert (own[0] != images(run, 1.0)[0]).any()


def test_a_wrong_class_or_group_is_named(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SpecError, match=r"guidance by class: unknown class 'lft'.*left"):
        images(run, guidance_by_class={"lft": 2.0})
    with pytest.raises(SpecError, match="the groups are head, body, tail, not 'few'"):
        parse(SamplingSpec, {"guidance_by_group": {"few": 2.0}})
    with pytest.raises(SpecError, match="the lowest noise level comes first"):
        parse(SamplingSpec, {"guidance_interval": (0.5, 0.2)})
    for words in (["left"], ["left=x"]):
        assert call("sample", run.root, "--guidance-by-class", *words, "--out", tmp_path / "x") == 2
        assert "is not NAME=G" in said(capsys)


def test_the_command_line_equals_python(run: RunDir, tmp_path: Path):
    command = ("sample", run.root, "--per-class", 1, "--format", "npz", "--guidance", 1.5, "--sampler", "euler")
    options = ("--steps", 4, "--spacing", "uniform", "--guidance-interval", 0.2, 0.8, "--guidance-by-class", "top=3")
    assert call(*command, *options, "--guidance-by-group", "head=1", "--out", tmp_path / "a.npz") == 0
    fields = {"guidance_interval": (0.2, 0.8), "guidance_by_class": {"top": 3}, "guidance_by_group": {"head": 1}}
    with np.load(tmp_path / "a.npz") as archive:
        assert (archive["images"] == images(run, 1.5, **fields)).all()
        model = taildiff.load(run.root)
        assert (archive["images"] == model.sample([0, 1, 2], guidance=1.5, format="uint8", **FAST, **fields)).all()


def test_worse_weights_guide(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    guided, plain = images(run, 2.0, autoguide="3"), images(run, 1.0)
    assert (guided != plain).any()
    assert (images(run, 1.0, autoguide="3") == plain).all()
    assert (images(run, 2.0, autoguide=str(run.weights(3))) == guided).all()
    hashes = [load_model(run, autoguide=each).weights_hash for each in (None, "3", "5")]
    assert len(set(hashes)) == 3
    model = taildiff.load(run.root, autoguide="3")
    assert (model.sample([0, 1, 2], guidance=2, format="uint8", **FAST) == guided).all()
    with pytest.raises(SpecError, match="loaded without the weights that guide it"):
        generate(load_model(run), LABELS, SamplingSpec(autoguide="3"), 2.0)
    assert call("sample", run.root, "--autoguide", 3, "--out", tmp_path / "x") == 2
    assert "give --guidance with --autoguide" in said(capsys)
    assert call("sample", run.root, "--autoguide", 4, "--guidance", 2, "--out", tmp_path / "x") == 2
    assert "has no ema weights of step 4; it has 3, 5" in said(capsys)


def test_stochastic_samplers_give_an_image_its_own_noise(run: RunDir):
    """The same for the same seed, label and rank, whatever the batch."""
    model, labels = load_model(run), np.array([2, 0, 2, 1])
    for sampler in ("dpm2m-sde", "flow-sde"):
        sampling = SamplingSpec(sampler=sampler, steps=5, seed=4)
        together = generate(model, labels, sampling, 1.5)
        assert (generate(model, labels, sampling, 1.5) == together).all()
        assert np.abs(generate(model, labels, sampling, 1.5, batch_size=1).astype(int) - together).max() <= 1
        assert np.abs(generate(model, np.array([2, 2]), sampling, 1.5).astype(int) - together[[0, 2]]).max() <= 1
        assert (generate(model, labels, sampling.model_copy(update={"seed": 5}), 1.5) != together).any()
        assert (together[0] != together[2]).any()


def test_half_precision_is_near(run: RunDir):
    full, half = images(run).astype(int), images(run, precision="bf16-mixed")
    assert 0 < np.abs(half - full).max() < 40


# ---- what is recorded


def test_unset_fields_are_not_written_and_older_definitions_keep_their_names():
    old = {
        "sampler": "heun",
        "steps": 20,
        "spacing": "power",
        "exponent": 2.0,
        "rho": 7.0,
        "variance": "fixedsmall",
        "seed": 0,
        "weights": "ema",
        "clip": True,
    }
    spec = SamplingSpec(sampler="heun")
    assert spec.model_dump(mode="json") == old
    assert list(spec.model_dump()) == list(old)
    before = json.loads(EvalSpec().model_dump_json()) | {"sampling": old}
    assert cache_key(EvalSpec(sampling=spec).model_dump(mode="json")) == cache_key(before)
    assert SamplingSpec.model_validate(old) == spec


def test_set_fields_are_written_read_and_compared():
    spec = SamplingSpec(guidance_by_class={"b": 2, "a": 1}, guidance_interval=(0.1, 0.7), repel=True, compile=True)
    assert SamplingSpec.model_validate_json(spec.model_dump_json()) == spec
    assert spec == SamplingSpec(guidance_by_class={"a": 1, "b": 2}, **spec.model_dump(exclude={"guidance_by_class"}))
    assert "guidance for s in [0.1, 0.7], guidance 1 for a, guidance 2 for b, repelled" in spec.title
    methods = [
        Definition(
            name="x",
            run="r",
            step=1,
            spec=EvalSpec(sampling=sampling),
            weights_hash="",
            store_hash="",
            extractor=ExtractorInfo(name="e", dim=1, hash=""),
            class_names=("a", "b"),
            counts=(1, 1),
        ).method
        for sampling in (SamplingSpec(), spec)
    ]
    differ = {name for name in methods[1] if methods[0].get(name) != methods[1][name]}
    assert differ == {f"sampling.{n}" for n in ("guidance_by_class", "guidance_interval", "repel", "compile")}
    assert set(methods[0]) == set(methods[1])


def test_another_sampler_brings_its_spacing(run: RunDir):
    def spacing(spec: EvalSpec | None = None, sampler: Literal["dpm2m", "heun"] = "dpm2m") -> str:
        return request(run.root, {"sampler": sampler}, spec=spec).spec.sampling.spacing

    assert spacing() == spacing(EvalSpec(per_class=7)) == "logsnr"
    assert spacing(EvalSpec(sampling=SamplingSpec(spacing="power"))) == "power"
    assert spacing(EvalSpec(sampling=SamplingSpec(sampler="dpm2m")), "heun") == spacing(sampler="heun") == "power"
