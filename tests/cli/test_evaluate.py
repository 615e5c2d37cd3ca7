"""`taildiff evaluate` on the command line."""

from pathlib import Path

import pytest

from evaluation import tiny
from taildiff.cli.main import main
from taildiff.evaluation import classifier_network
from taildiff.run.layout import RunDir
from taildiff.spec import EvalSpec, SamplingSpec


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    store = tiny.make_store(tmp_path / "store", (40, 40, 40), (10, 10, 10))
    return tiny.make_run(tmp_path / "run", store)


def test_it_prints_numbers_place_and_next_command(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(classifier_network, "_STEPS", (20, 20))
    monkeypatch.setattr(classifier_network, "_BATCH", 32)
    command = [
        "evaluate",
        str(run.root),
        "--guidance",
        "1,2",
        "--per-class",
        "12",
        "--sampler",
        "euler",
        "--steps",
        "1",
    ]
    assert main(command) == 0
    shown = capsys.readouterr().out
    (folder,) = run.evaluations()
    for text in ("accuracy", "Fréchet", "precision", "recall", "head", "tail", "real images that it never saw"):
        assert text in shown
    assert str(folder.table_csv) in shown
    assert f"taildiff report {run.root}" in shown


@pytest.mark.parametrize(
    ("args", "guidance"),
    [
        ([], (1, 1.5, 2)),
        (["--guidance", "1,1.5,3"], (1, 1.5, 3)),
        (["--guidance", "1", "1.5", "3"], (1, 1.5, 3)),
        (["--guidance", "2,2", "2.0"], (2,)),
        (["--omega", "0,0.5"], (1, 1.5)),
    ],
)
def test_a_dry_run_shows_the_spec_and_does_nothing(
    run: RunDir, capsys: pytest.CaptureFixture[str], args: list[str], guidance: tuple[float, ...]
):
    assert main(["evaluate", str(run.root), *args, "--per-class", "7", "--seed", "3", "--steps", "9", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    expected = EvalSpec(guidance=guidance, per_class=7, sampling=SamplingSpec(seed=3, steps=9))
    assert EvalSpec.model_validate_json(shown[: shown.rindex("}") + 1]) == expected
    assert not run.evals.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--guidance", "1,x"], "not a list of numbers"),
        (["--guidance", "2", "--omega", "1"], "not both"),
        (["--omega", "-3"], "not a number from 0 up"),
        (["--per-class", "1"], "per_class"),
        (["--seeds", "1.5"], "--seeds are whole numbers"),
        (["--seeds", "inf"], "--seeds are whole numbers"),
        (["--data", "nowhere"], "nowhere does not exist"),
        (["--rho", "5"], "rho applies to spacing karras only; remove it"),
        (["--spacing", "grid"], "spacing grid needs integer timesteps"),
    ],
)
def test_wrong_options_end_with_exit_code_2(
    run: RunDir, capsys: pytest.CaptureFixture[str], args: list[str], message: str
):
    assert main(["evaluate", str(run.root), *args]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not run.evals.exists()


def test_a_misspelt_option_is_suggested(run: RunDir, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", str(run.root), "--guidence", "1"]) == 2
    assert "did you mean --guidance?" in capsys.readouterr().err


def test_not_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", str(tmp_path / "none")]) == 2
    assert "is not a run" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
