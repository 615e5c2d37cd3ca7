"""The default data of verbs, `taildiff recipes`, and `data` on other places."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.calls import call, said, tree
from evaluation import tiny
from taildiff.data.locate import default_store, embedded_digits, store_of
from taildiff.data.store import Store
from taildiff.errors import DataError, SpecError
from taildiff.recipes import FIXED, NAMES, recipe
from taildiff.run.layout import RunDir
from taildiff.spec import EvalSpec, RunSpec


def test_the_digits_are_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TAILDIFF_CACHE", str(tmp_path / "cache"))
    store = default_store(recipe("mnist5k-t2h"), RunDir(tmp_path / "none"))
    assert store.root == tmp_path / "cache" / "stores" / "mnist5k"
    before = tree(tmp_path)
    assert embedded_digits().meta == store.meta
    assert tree(tmp_path) == before


def test_other_recipes_need_data(tmp_path: Path):
    with pytest.raises(SpecError, match="--data STORE"):
        default_store(recipe("cifar10lt-ccua"), RunDir(tmp_path / "none"))


def test_a_run_finds_its_store(tmp_path: Path):
    store = tiny.make_store(tmp_path / "store", (6, 4, 2))
    run = tiny.make_run(tmp_path / "run", store)
    assert store_of(run).meta == store.meta
    assert default_store(RunSpec(), run).meta == store.meta
    store.root.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"store of .*run cannot be opened .*--data STORE"):
        store_of(run)


def test_all_recipes_are_listed_with_their_command(capsys: pytest.CaptureFixture[str]):
    assert call("recipes") == 0
    text = said(capsys)
    for name in NAMES:
        assert f"taildiff train {name} " in text
    for made in FIXED.values():
        assert made.title in text


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, count in (("cat", 5), ("dog", 2)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(count):
            Image.fromarray(np.full((9, 9, 3), 30 * k, np.uint8)).save(tmp_path / "photos" / name / f"{k}.png")
    return tmp_path / "photos"


def test_a_dry_run_of_prepare_writes_nothing(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "new" / "store"
    command = ("data", "prepare", "folder", photos, "--out", out, "--size", 8)
    assert call(*command, "--dry-run") == 0
    assert f"Would prepare: 7 images (not opened yet) of 2 classes, at 8×8 pixels, in {out}" in said(capsys)
    assert call("data", "prepare", "mnist5k", "--out", out, "--dry-run") == 0
    assert f"Would prepare: 5,000 images of 10 classes, 1,000 held out, at 28×28 pixels, in {out}" in said(capsys)
    assert not out.parent.exists()
    assert call(*command) == 0
    assert call(*command, "--dry-run") == 0
    assert "Already prepared: 7 images" in said(capsys)
    assert call("data", "prepare", "mnist5k", "--out", out, "--dry-run") == 2
    assert "already holds" in said(capsys)


def test_a_dry_run_of_demo_prints_its_specs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert call("demo", "--quick", "--dry-run") == 0
    printed = json.loads(capsys.readouterr().out)
    specs = {place: RunSpec.model_validate(values) for place, values in printed["runs"].items()}
    assert [spec.recipe for spec in specs.values()] == ["mnist5k-plain", "mnist5k-ccua"]
    assert list(specs) == ["runs/demo-quick/plain", "runs/demo-quick/ccua"]
    assert EvalSpec.model_validate(printed["evaluation"]).per_class == 8
    assert not list(tmp_path.iterdir())


def test_show_of_a_run_names_its_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = tiny.make_store(tmp_path / "store", (6, 4, 2))
    run = tiny.make_run(tmp_path / "run", store)
    assert call("data", "show", run.root) == 2
    text = said(capsys)
    assert f"{run.root} is a run, not data" in text
    assert f"taildiff data show {store.root}" in text
    assert f"taildiff report {run.root}" in text
    shutil.rmtree(run.root)
    assert call("data", "show", store.root) == 0
    assert Store.open(store.root).meta == store.meta
