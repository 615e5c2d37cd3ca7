"""Guidance so large that images show nothing is an error, from the command line and from Python."""

from pathlib import Path

import numpy as np
import pytest
import torch

import taildiff
from cli.calls import call, said
from evaluation import tiny
from taildiff.errors import RunError
from taildiff.evaluation import classifier_network
from taildiff.run.layout import RunDir
from taildiff.sampling.generate import check_images

FAST = ("--sampler", "euler", "--steps", 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("run")
    return tiny.make_run(folder / "run", tiny.make_store(folder / "store", (9, 6, 4)))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--guidance", "1e30"), "is too large: 100.0 % of the values of these images are saturated or constant"),
        (("--guidance", "1e300", "--no-clip"), "values that are NaN or infinite. Use a smaller --guidance"),
    ],
)
def test_sample_says_so_and_leaves_nothing(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], message: str
):
    assert call("sample", run.root, "--per-class", 2, *FAST, *args, "--out", tmp_path / "x") == 2
    assert message in said(capsys)
    assert not (tmp_path / "x").exists()


def test_python_and_evaluate_say_so_too(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(classifier_network, "_STEPS", (2, 2))
    model = taildiff.load(run.root)
    with pytest.raises(RunError, match="is too large"):
        model.sample([0, 1, 2], guidance=1e30, sampler="euler", steps=2)
    with pytest.raises(RunError, match="is too large"):
        model.trajectory([0, 1, 2], guidance=1e30, sampler="euler", steps=2)
    assert model.sample([0], guidance=15.0, sampler="euler", steps=2).shape[0] == 1
    assert call("evaluate", run.root, "--per-class", 2, *FAST, "--guidance", "1,1e30") == 2
    assert "guidance 1e+30 is too large" in said(capsys)


def test_black_and_white_images_are_fine_at_a_usual_guidance():
    x = torch.from_numpy(np.sign(np.random.default_rng(0).normal(size=(4, 1, 8, 8)))).float()
    check_images(x, 5.0)
    check_images(-torch.ones(4, 1, 8, 8), 20.0)
    check_images(0.9 * x, 1000.0)
    for each in (x, torch.zeros(4, 1, 8, 8)):
        with pytest.raises(RunError, match="is too large"):
            check_images(each, 1000.0)
    x[2, 0, 0, 0] = float("nan")
    with pytest.raises(RunError, match=r"at guidance 1 gave values that are NaN or infinite\. Use more --steps"):
        check_images(x, 1.0)
