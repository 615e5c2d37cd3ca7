"""Words for verbs, repeated options, `--quiet` and `--device`: what the user types is understood, or corrected."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.calls import call, said
from evaluation import tiny
from taildiff.cli.main import SYNONYMS, VERBS
from taildiff.run.layout import RunDir

DEVICE_VERBS = (
    ["train", "mnist5k-plain"],
    ["sample"],
    ["evaluate"],
    ["data", "encode"],
    ["demo"],
    ["study", "run"],
    ["fill"],
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    root = tmp_path_factory.mktemp("words")
    return tiny.make_run(root / "run", tiny.make_store(root / "store", (6, 6, 6)))


def photos(root: Path) -> Path:
    for name in ("cats", "dogs"):
        (root / name).mkdir(parents=True)
        for k in range(3):
            Image.fromarray(np.full((8, 8, 3), 40 * k, np.uint8)).save(root / name / f"{k}.png")
    return root


def test_a_bare_folder_is_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert call("prepare", photos(tmp_path / "photos"), "--out", tmp_path / "store", "--size", 8) == 0
    text = said(capsys)
    assert "prepare is taken for: taildiff data prepare" in text
    assert "Prepared: 6 images of 2 classes" in text


def test_without_out_the_whole_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos")
    assert call("prepare", "./photos") == 2
    assert "such as: taildiff data prepare folder ./photos --out data/photos" in said(capsys)
    assert call("data", "prepare", "no/where") == 2
    assert "taildiff data prepare folder no/where --out data/where" in said(capsys)
    assert call("train", "photos", "--out", "x") == 2
    assert "taildiff train auto-ccua --data photos --out runs/NAME" in said(capsys)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("word", SYNONYMS)
def test_a_synonym_leads_to_its_verb(word: str, capsys: pytest.CaptureFixture[str]):
    assert word not in VERBS
    assert SYNONYMS[word][0] in VERBS
    assert call(word, "--help") == 0
    assert f"taildiff {' '.join(SYNONYMS[word])}" in said(capsys)


def test_a_mistyped_synonym_is_corrected_to_the_verb(capsys: pytest.CaptureFixture[str]):
    assert call("generat", "run") == 2
    assert "unknown verb 'generat': did you mean 'taildiff sample'?" in said(capsys)


@pytest.mark.parametrize(
    "classes",
    [
        ("--classes", "left", "top"),
        ("--classes", "left", "--classes", "top"),
        ("--classes=left", "--per-class", 2, "--classes=top"),
    ],
)
def test_repeated_classes_mean_all_of_them(run: RunDir, capsys: pytest.CaptureFixture[str], classes: tuple[str, ...]):
    assert call("sample", run.root, "--per-class", 2, "--out", "nowhere", "--dry-run", *classes) == 0
    assert "4 images, 2 per class" in said(capsys)


def test_repeated_lists_of_another_verb(run: RunDir, capsys: pytest.CaptureFixture[str]):
    lists = ("--guidance", "1", "--metrics", "accuracy", "--guidance", "2", "--metrics=recall")
    assert call("evaluate", run.root, "--dry-run", *lists) == 0
    text = said(capsys)
    assert "at each of 2 guidances" in text
    assert '"metrics": [ "accuracy", "recall" ]' in text


def test_quiet_prints_nothing_of_a_verb_that_writes(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    few = ("--per-class", 1, "--steps", 1, "--sampler", "euler")
    assert call("sample", run.root, "--out", tmp_path / "loud", *few) == 0
    assert "next" in said(capsys)
    assert call("sample", run.root, "--out", tmp_path / "still", *few, "--quiet") == 0
    assert said(capsys) == ""
    assert call("--quiet", "sample", run.root, "--out", tmp_path / "still", *few) == 2
    assert said(capsys).startswith(f"error: {tmp_path / 'still'} exists already")
    assert call("--quiet") == 0
    assert "usage" in said(capsys)


def test_quiet_keeps_warnings_and_answers(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (photos(tmp_path / "photos") / "dogs" / "broken.png").write_text("no image")
    assert call("prepare", tmp_path / "photos", "--out", tmp_path / "store", "--size", 8, "--quiet") == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.strip() == "skipped dogs/broken.png: not a JPEG, PNG, WebP, TIFF or BMP image"
    assert call("data", "show", tmp_path / "store", "--quiet") == 0
    text = said(capsys)
    assert "cats" in text
    assert "next" not in text
    assert call("recipes", "--quiet") == 0
    assert "mnist5k-ccua" in said(capsys)
    assert call("sample", run.root, "--out", "x", "--dry-run", "--quiet") == 0
    assert "24 images, 8 per class" in said(capsys)


def test_training_shows_its_loss_unless_quiet(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    options = ("--data", run.info().store.path, "--data.tail", "natural", "--batch-size", 4, "--model.channels", 8)
    words = ("train", "mnist5k-plain", *options, "--steps", 2)
    assert call(*words, "--out", tmp_path / "loud") == 0
    assert re.search(r"training mnist5k-plain: 2/2 \(.*\), loss \d\.\d+", said(capsys))
    assert call(*words, "--out", tmp_path / "still", "--quiet") == 0
    assert said(capsys) == ""


@pytest.mark.parametrize("words", DEVICE_VERBS, ids=" ".join)
def test_every_verb_that_computes_has_the_option(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert call(*words, "--help") == 0
    text = said(capsys)
    assert "--device {cpu,cuda,mps}" in text
    assert "--quiet" in text


def test_a_device_that_is_not_there(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    store = run.info().store.path
    for device in ("cuda", "mps"):
        for words in (
            ("sample", run.root, "--out", tmp_path / "x"),
            ("evaluate", run.root),
            ("train", "auto-ccua", "--data", store, "--out", tmp_path / "x"),
        ):
            assert call(*words, "--device", device) == 2
            text = said(capsys)
            assert f"error: --device {device}: torch finds no" in text
            assert "this machine has cpu" in text
        assert not list(tmp_path.iterdir())
    assert call("sample", run.root, "--out", tmp_path / "x", "--device", "tpu") == 2
    assert "tpu" in said(capsys)


def test_the_cpu_is_used_where_it_is_named(run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # would be taken without --device
    few = ("--per-class", 1, "--steps", 1, "--sampler", "euler")
    assert call("sample", run.root, "--out", tmp_path / "x", *few, "--device", "cpu") == 0
    assert len(list((tmp_path / "x").rglob("*.png"))) == 3
