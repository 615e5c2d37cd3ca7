"""The ready studies parse, are hashed, fit their recipes and dry-run."""

from pathlib import Path
from typing import Any

import pytest

from taildiff.cli.main import main
from taildiff.study import verbs
from taildiff.study.budget import ArmCost, Plan
from taildiff.study.cells import StudyDir, arms_of, cells_of
from taildiff.study.file import Study

FILES = sorted((Path(__file__).parents[2] / "examples" / "studies").glob("*.toml"))
MUST_HAVE = {
    "ccua-weights": ("objective.ucl.weight", "objective.al.weight"),
    "ccua-temperature": ("objective.ucl.temperature",),
    "ccua-features": ("objective.ucl.view", "objective.ucl.tap"),
    "ccua-gradient": ("objective.al.stop_gradient", "objective.ucl.noise_weight"),
    "resampling": ("data.resample",),
    "ratio-0.001": ("data.ratio",),
    "ccua-cheap": ("objective.null_fraction", "objective.shared_null"),
    "ccua-cheap-confirm": ("objective.null_fraction", "objective.shared_null"),
    "combinations": ("objective.cbdm.weight", "objective.transfer.mode", "objective.coral.weight"),
    "null": (),
    "digits": (),
    "cifar10lt-16": ("data.tail",),
}


def unmeasured(study: Study, *_: Any) -> Plan:
    """As if every step took 0.2 s."""
    steps = study.spec.budget.steps or 1000
    cost = ArmCost(milliseconds=200, flop=1e9, images=64, steps=dict.fromkeys(study.spec.budget.equal, steps))
    return Plan(hash=study.hash, arms={arm.key: cost for arm in arms_of(study)})


def test_every_ablation_that_reviewers_asked_for_is_there():
    assert {path.stem for path in FILES} == set(MUST_HAVE)
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert all(f'"{field}"' in text for field in MUST_HAVE[path.stem]), path.name


def test_the_choice_of_a_cheap_variant_is_confirmed_with_other_seeds_by_the_same_rule():
    chosen, confirmed = (
        Study.read(FILES[0].with_name(f"{name}.toml")).spec for name in ("ccua-cheap", "ccua-cheap-confirm")
    )
    assert chosen.margin
    assert (chosen.margin.reference, chosen.margin.group) == ("ccua", "tail")
    assert (chosen.margin.difference, chosen.margin.ratio) == ({"recall": 0.05, "accuracy": 0.05}, {"frechet": 1.1})
    assert not {*chosen.seeds.training} & {*confirmed.seeds.training}
    for field in ("datasets", "methods", "budget", "margin", "evaluation"):
        assert getattr(chosen, field) == getattr(confirmed, field)
    variants = {
        (spec.null_fraction, spec.shared_null, spec.shared_uniform)
        for spec in (arm.spec(None).objective for arm in arms_of(Study.read(FILES[0].with_name("ccua-cheap.toml"))))
    }
    shared = {(1.0, f, u) for f in (0.1, 0.15, 0.25) for u in (0.5, 1.0)}
    assert variants == {(1.0, None, 0.5), (0.25, None, 0.5)} | shared


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_hashed_and_dry_runs(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verbs, "measure", unmeasured)
    study = Study.read(path)
    assert len(study.hash) == 64
    cells = cells_of(study, StudyDir(study.folder))
    specs = [arm.spec(None).model_dump_json() for arm in arms_of(study)] if path.stem != "cifar10lt-16" else []
    assert len(set(specs)) == len(specs) - (path.stem in ("null", "digits")), "two methods are the same run"
    lacks_data = any(dataset.data for dataset in study.spec.datasets)
    assert main(["study", "run", str(path), "--out", str(tmp_path / "out"), "--dry-run"]) == (2 if lacks_data else 0)
    printed = capsys.readouterr()
    assert "does not exist" in printed.err if lacks_data else f"{len(cells)} cells left" in printed.out
    assert not (tmp_path / "out").exists()
