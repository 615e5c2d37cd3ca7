"""`taildiff train --method`: any method in any recipe's setting, and recipes that are for other data."""

from pathlib import Path

import numpy as np
import pytest

from cli.calls import call, said, tree
from data.latent_sources import make_store, run
from taildiff.data.store import Store
from taildiff.recipes import recipe, with_method
from taildiff.run.layout import RunDir
from taildiff.spec import RunSpec, SiTSpec

NARROW = ["--model.depth", "2", "--model.width", "16", "--model.heads", "2", "--model.patch", "1", "--batch-size", "4"]


def resolved(capsys: pytest.CaptureFixture[str], *args: object) -> RunSpec:
    assert call("train", *args, "--dry-run") == 0
    return RunSpec.model_validate_json(capsys.readouterr().out)


def test_the_last_method_counts_and_options_come_on_top(capsys: pytest.CaptureFixture[str]):
    assert resolved(capsys, "cifar100lt") == recipe("cifar100lt")
    assert resolved(capsys, "cifar100lt", "--method=cbdm") == recipe("cifar100lt", method="cbdm")
    spec = resolved(
        capsys, "mnist5k-plain", "--method", "t2h", "--method=cbdm", "--objective.al.weight", 3, "--method", "ccua"
    )
    assert (spec.objective.ucl.weight, spec.objective.al.weight, spec.objective.cbdm.weight) == (0.05, 3, 0)
    assert spec.objective.transfer.mode == "none"


def test_a_printed_spec_takes_a_method_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    spec = recipe("imagenetlt256-sit-s2")
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    changed = resolved(capsys, tmp_path / "spec.json", "--method", "dispersive")
    assert changed == with_method(spec, "dispersive")
    assert changed.objective.dispersive.tap == "depth.1"


def test_help_and_usage_name_the_methods(capsys: pytest.CaptureFixture[str]):
    assert call("train", "placeslt", "--method", "coral", "--help-all") == 0
    text = said(capsys)
    assert "--method {plain,ccua,ccua-cheap,ccua-shared,cbdm,t2h,dispersive,diffrop,coral}" in text
    assert "(default: release)" in text
    assert call("train", "--help") == 0
    names = "plain, ccua, ccua-cheap, ccua-shared, cbdm, t2h, dispersive, diffrop, coral."
    assert f"METHOD, for every recipe, is one of {names}" in said(capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "cbmd"], "unknown method 'cbmd': did you mean 'cbdm'? Choices: plain, ccua, ccua-cheap,"),
        (["--method=CCUA"], "unknown method 'CCUA'"),
        (["--method"], "--method needs a value"),
        (["--methd", "cbdm"], "--method"),
    ],
)
def test_wrong_methods(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("imagenetlt64", "mnist5k-ccua"):
        assert call("train", name, "--out", tmp_path / "run", *words) == 2
        assert message in said(capsys)
    assert not (tmp_path / "run").exists()


def test_an_auto_recipe_says_what_the_method_adds(
    tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    start = ["train", "auto-ccua", "--data", tiny_store.root, "--batch-size", 4, "--stop-at", 1]
    for method, words in [
        ("cbdm", "objective CBDM 1 "),
        ("t2h", "objective targets t2h "),
        ("plain", "objective denoising alone "),
        ("ccua", "objective UCL 0.05, AL 0.05 "),
        ("ccua-cheap", "objective UCL 0.05, AL 0.05, null rows 0.25 "),
        ("ccua-shared", "objective UCL 0.05, AL 0.05, shared null rows 0.1 "),
    ]:
        assert call(*start, "--method", method, "--out", tmp_path / method) == 0
        assert words in said(capsys)


def test_a_run_is_one_method(tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    start = ["train", "auto-ccua", "--data", tiny_store.root, "--batch-size", 4, "--out", tmp_path / "run"]
    assert call(*start, "--method", "diffrop", "--stop-at", 1) == 0
    before = tree(tmp_path)
    capsys.readouterr()
    assert call(*start, "--method", "cbdm", "--stop-at", 2) == 2
    text = said(capsys)
    assert "objective.cbdm.weight: 0.0 -> 1.0" in text
    assert "objective.diffrop.weight: 0.1 -> 0.0" in text
    assert tree(tmp_path) == before
    assert call(*start, "--method", "diffrop", "--stop-at", 2) == 0


@pytest.mark.parametrize("name", ["imagenetlt256-sit-s2", "imagenetlt256-oltr-sit-s2"])
def test_a_recipe_for_latents_trains_on_them_and_refuses_pixels(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The recipe itself (bf16, class resampling, its tail) on a network that a CPU can train."""
    pixels = make_store(tmp_path / "pixels", np.zeros(12, bool))
    run(pixels.root, tmp_path / "latents")
    start = ["train", name, *NARROW, "--data.ratio", 0.5, "--out", tmp_path / "run"]
    assert call(*start, "--data", pixels.root) == 2
    assert f"{name} trains on latents, but toy has pixels (8x8, 64 tokens per image)" in said(capsys)
    assert not (tmp_path / "run").exists()
    assert call(*start, "--data", tmp_path / "latents", "--stop-at", 2) == 0
    trained = RunDir(tmp_path / "run")
    info = trained.info()
    assert trained.weight_steps() == [2]
    assert info.facts.codec is not None
    assert isinstance(info.spec.model, SiTSpec)
    assert (info.spec.recipe, info.spec.precision, info.spec.data.resample) == (name, "bf16-mixed", 0.1)
    assert info.spec.data.tail == ("natural" if "oltr" in name else "exp")
