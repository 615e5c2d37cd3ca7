"""From a folder of photos to a report, and the demo, by the command line alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.calls import call, said, tree
from evaluation.tiny import images
from taildiff.evaluation import classifier_network
from taildiff.evaluation.table import Table
from taildiff.recipes import auto_ccua
from taildiff.run.layout import RunDir

NAMES = ("bottle", "cup", "spoon [x]")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Colour PNG files of three classes, 43, 24 and 21 of them, of several sizes."""
    pictures, labels = images((43, 24, 21), channels=3)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        place = tmp_path / "photos" / NAMES[label] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.pad(picture, ((0, i % 3), (0, 0), (0, 0)), mode="edge")).save(place)
    return tmp_path / "photos"


def test_from_photos_to_a_report(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(classifier_network, "_STEPS", (6, 6))
    monkeypatch.setattr(classifier_network, "_BATCH", 32)
    store, run = (
        tmp_path / "data" / "photos",
        RunDir(tmp_path / "runs" / "first [/b]"),
    )  # as markup this would be an error
    assert call("data", "prepare", "folder", photos, "--out", store, "--size", 8) == 0
    assert f"taildiff train auto-ccua --data {store} --out" in said(capsys)
    assert call("data", "show", store) == 0

    train = ("train", "auto-ccua", "--data", store, "--out", run.root, "--batch-size", 8)
    assert call(*train, "--stop-at", 1) == 0
    text = said(capsys)
    assert "88 images of 8x8, colour, 3 classes of 21 to 43 images" in text
    assert f"stopped {run.root} after step 1" in text
    assert call(*train, "--steps", 2) == 0  # a constant schedule: fewer steps are allowed
    facts = run.info().facts
    assert (facts.class_names, facts.counts) == (NAMES, (43, 24, 21))
    assert run.info().spec == auto_ccua(facts).model_copy(update={"steps": 2, "batch_size": 8})
    assert run.weight_steps()[-1] == 2

    fast = ("--sampler", "euler", "--steps", 2)
    assert call("sample", run.root, "--classes", NAMES[2], "--per-class", 4, *fast, "--out", tmp_path / "drawn") == 0
    assert sorted(tree(tmp_path / "drawn")) == [NAMES[2], *(f"{NAMES[2]}/{n:05d}.png" for n in range(4))]
    assert call("evaluate", run.root, "--guidance", "1,2", "--per-class", 24, *fast) == 0
    assert f"taildiff report '{run.root}'" in said(capsys)
    (folder,) = run.evaluations()
    table = Table.read(folder)
    assert table.guidances == (1.0, 2.0)
    assert 0 <= (table.value("accuracy", "class", 2.0, NAMES[2]) or 0) <= 1
    assert any("no balanced reference" in note for note in table.notes)

    assert call("report", run.root) == 0
    assert f"report: {run.report}" in said(capsys)
    page = run.report.read_text()
    assert all(name in page for name in NAMES)
    assert "auto-ccua" in page


@pytest.mark.slow
def test_the_quick_demo_and_a_second_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert call("demo", "--quick") == 0
    text = said(capsys)
    assert "report: runs/demo-quick/report.html" in text
    assert "taildiff train auto-ccua" in text
    out = tmp_path / "runs" / "demo-quick"
    assert (out / "report.html").stat().st_size > 10_000
    for name in ("plain", "ccua"):
        run = RunDir(out / name)
        assert run.weight_steps()[-1] == run.info().spec.steps
        assert run.info().command == ("taildiff", "demo", "--quick")
        (folder,) = run.evaluations()
        assert Table.read(folder).guidances == (1.0, 2.0, 3.0)

    done = [path for path in out.rglob("*") if path.is_file() and path.name not in ("report.html", *REWRITTEN)]
    assert {path.suffix for path in done} >= {".safetensors", ".csv", ".npz", ".npy"}
    before = {path: path.stat().st_mtime_ns for path in done}
    assert call("demo", "--quick") == 0
    assert {path: path.stat().st_mtime_ns for path in done} == before
    assert "report: runs/demo-quick/report.html" in said(capsys)


REWRITTEN = ("run.json", "split.json", "metrics.jsonl")
"""Each call that opens a run writes the same again."""
