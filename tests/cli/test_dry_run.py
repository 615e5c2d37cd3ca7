"""`--dry-run` of every verb refuses what the real call would refuse, in the same words, and writes nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import taildiff
from cli.calls import call, said, tree
from evaluation import tiny
from taildiff.data.store import Store
from taildiff.errors import InputError
from taildiff.io.lock import locked
from taildiff.run.layout import RunDir
from taildiff.sampling.folders import lock_of
from taildiff.spec import RunSpec

FAST = ("--per-class", 2, "--steps", 1, "--sampler", "euler")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds nothing out, one of other classes, a trained run, and one without weights."""
    root = tmp_path_factory.mktemp("dry")
    store = tiny.make_store(root / "store", (30, 30, 30))
    tiny.make_store(root / "held", (30, 30, 30), (5, 5, 5))
    tiny.make_run(root / "other", tiny.make_store(root / "colour", (6, 6, 6), channels=3))
    tiny.make_run(root / "run", store)
    shutil.copytree(root / "run", root / "bare")
    shutil.rmtree(root / "bare" / "weights")
    spec = RunSpec(recipe="tiny", steps=2, batch_size=4, model=RunDir(root / "run").info().spec.model)
    (root / "tiny.json").write_text(spec.model_dump_json())
    assert call("train", root / "tiny.json", "--data", store.root, "--out", root / "trained") == 0
    (root / "full").mkdir()
    (root / "full" / "file").write_text("")
    (root / "file").write_text("")
    for name in tiny.NAMES:
        (root / "photos" / name).mkdir(parents=True)
        for k in range(6):
            Image.fromarray(np.full((8, 8), 40 * k, np.uint8)).save(root / "photos" / name / f"{k}.png")
    for place, count in (("few", 4), ("loose", 5)):
        for name in tiny.NAMES:
            shutil.copytree(root / "photos" / name, root / place / name)
            for file in sorted((root / place / name).iterdir())[count:]:
                file.unlink()
    shutil.copy(root / "photos" / tiny.NAMES[0] / "0.png", root / "loose")
    gap = {"labels": np.array([0, 0, 2, 2]), "class_names": np.array(tiny.NAMES)}
    np.savez(root / "gap.npz", images=np.zeros((4, 8, 8), np.uint8), **gap)
    (root / "images.npz").write_bytes(b"no archive")
    (root / "bad.safetensors").write_bytes(b"nothing")
    return root


TRAIN = ["train", "tiny.json", "--data", "store", "--out", "new"]
FILL = ["fill", "photos", "--to", "40", "--out", "new"]
REFUSED = [
    (["train", "tiny.json", "--data", "none", "--out", "new"], "none does not exist"),
    (["train", "tiny.json", "--data", "photos", "--out", "new"], "taildiff data prepare folder photos"),
    ([*TRAIN, "--from", "none.safetensors"], "none.safetensors"),
    ([*TRAIN, "--from", "bad.safetensors"], "bad.safetensors"),
    ([*TRAIN, "--from", "other"], "--from other/weights/ema-0000005.safetensors does not fit this network and data"),
    ([*TRAIN, "--from", "bare"], "bare has no weights yet"),
    ([*TRAIN, "--data.tail", "list", "--data.list", "none.txt"], "store does not record file names"),
    ([*TRAIN, "--data.tail", "exp", "--data.ratio", "0.0001"], "class 1 would keep no image"),
    ([*TRAIN, "--objective.ucl.weight", "1", "--objective.ucl.tap", "down.9"], "down.9"),
    ([*TRAIN, "--objective.custom.weight", "1", "--objective.custom.term", "no_such:Term"], "no_such"),
    ([*TRAIN, "--batch-size", "1000000000000"], "GB of memory"),
    ([*TRAIN, "--out", "file"], "file: Not a directory"),
    ([*TRAIN, "--out", "file/run"], "file/run: Not a directory"),
    ([*TRAIN, "--device", "mps"], "--device mps"),
    (["train", "tiny.json", "--data", "store", "--out", "trained", "--seed", "1"], "seed: 0 -> 1"),
    (["train", "tiny.json", "--data", "held", "--out", "trained"], "another store"),
    (["train", "tiny.json", "--out", "trained", "--from", "run"], "--from starts a new run"),
    (["train", "tiny.json", "--out", "trained", "--steps", "1"], "beyond --steps 1"),
    (["train", "auto-ccua", "--out", "new"], "auto-ccua fits itself to your data"),
    (["train", "mnist5k-plain", "--out", "new", "--data.ratio", "0.0001"], "would keep no image"),
    (["sample", "none", "--out", "new"], "none is not a run"),
    (["sample", "bare", "--out", "new"], "bare has no ema weights yet"),
    (["sample", "run", "--out", "new", "--weights", "raw"], "no raw weights"),
    (["sample", "run", "--out", "full"], "full exists already"),
    (["sample", "run", "--out", "file/x"], "file/x: Not a directory"),
    (["sample", "run", "--out", "new", "--spacing", "grid"], "grid"),
    (["sample", "run", "--out", "new", "--guidance-by-class", "lfet=2"], "unknown class 'lfet'"),
    (["sample", "run", "--out", "new", "--devices", "0"], "--devices must be at least 1"),
    (["sample", "run", "--out", "new", "--device", "mps"], "--device mps"),
    (["sample", "run", "--out", "new", "--autoguide", "none", "--guidance", "2"], "none"),
    (["evaluate", "none"], "none"),
    (["evaluate", "bare"], "no ema weights yet"),
    (["evaluate", "run", "--data", "colour"], "colour is not the store of run"),
    (["evaluate", "run", "--data", "none"], "none does not exist"),
    (["evaluate", "run", "--reference", "test"], "has no test images"),
    (["evaluate", "run", "--utility"], "--utility needs held-out real images"),
    (["evaluate", "run", "--features", "no_such:extractor"], "no_such"),
    (["evaluate", "run", "--step", "7"], "no ema weights of step 7; it has 5"),
    (["evaluate", "run", "--spacing", "grid"], "grid"),
    (["evaluate", "run", "--device", "mps"], "--device mps"),
    (["evaluate", "photos"], "give the real images to compare photos with"),
    (["evaluate", "photos", "--data", "none"], "none"),
    (["evaluate", "photos", "--data", "store", "--per-class", "7"], "photos has only 6 images of a class"),
    (["evaluate", "photos", "--data", "store", "--utility"], "--utility needs the training images"),
    (["evaluate", "photos", "--data", "colour", "--features", "no_such:extractor"], "no_such"),
    (["evaluate", "images.npz", "--data", "store"], "images.npz"),
    (["evaluate", "full", "--data", "store"], "full"),
    (["fill", "run", "--to", "40", "--out", "full"], "full exists already and is not a filled folder"),
    (["fill", "bare", "--to", "40", "--out", "new"], "no ema weights yet"),
    (["fill", "run", "--to", "40", "--out", "new", "--check"], "--check needs photographs that the generator"),
    (["fill", "run", "--to", "40", "--out", "new", "--data", "held"], "is not the store that run was trained on"),
    (["fill", "run", "--to", "40", "--out", "new", "--spacing", "grid"], "grid"),
    (["fill", "photos", "--to", "40", "--out", "full"], "full exists already"),
    ([*FILL, "--out", "new.zip"], "but a folder is written there; name a folder, such as new"),
    ([*FILL, "--data", "store"], "photos is a folder of photographs, but --data is for a run; remove it"),
    ([*FILL, "--steps-of-training", "0"], "--steps-of-training 0 must be at least 1"),
    ([*FILL, "--max-time", "0"], "--max-time 0s must be above 0"),
    ([*FILL, "--guidance-by-class", "lfet=2"], "unknown class 'lfet'"),
    ([*FILL, "--autoguide", "600"], "give --guidance with --autoguide"),
    ([*FILL, "--size", "0"], "size 0: images need at least 4 pixels"),
    ([*FILL, "--batch-size", "0"], "--batch-size 0 must be at least 1"),
    (["fill", "few", "--to", "9", "--out", "new", "--force", "--check"], "no class of few has 5"),
    (["fill", "run", "--to", "40", "--out", "new.zip"], "but a folder is written there; name a folder, such as new"),
    (["fill", "run", "--to", "40", "--out", "new", "--size", "8"], "run is a run, but --size is for photographs"),
    (["fill", "run", "--to", "40", "--out", "new", "--originals", "link"], "store was not made from image files"),
    (["evaluate", "photos", "--data", "store", "--out", "new.zip"], "but a folder is written there; name a folder"),
    (["evaluate", "photos", "--data", "store", "--out", "file/x"], "file/x"),
    (["data", "prepare", "folder", "loose", "--out", "new", "--strict"], "outside any class folder"),
    (["data", "prepare", "npz", "gap.npz", "--out", "new"], "class 'right' has no training images"),
    (["export", "bare", "new"], "no ema weights yet"),
    (["export", "run", "full"], "full exists already"),
    (["export", "run", "file/x"], "file/x: Not a directory"),
    (["export", "run", "new", "--step", "7"], "no ema weights of step 7"),
    (["export", "run", "new", "--vae", "x"], "do not apply to a pixel-space run"),
    (["export", "run", "new", "--spacing", "grid"], "grid"),
    (["data", "prepare", "folder", "none", "--out", "new"], "none"),
    (["data", "prepare", "folder", "photos", "--out", "file/x"], "file/x"),
    (["data", "prepare", "folder", "photos", "--out", "held"], "held"),
    (["data", "encode", "none", "--vae", "x", "--out", "new"], "none does not exist"),
    (["data", "encode", "store", "--vae", "./none", "--out", "new"], "none"),
    (["data", "export", "store", "--to", "npz", "--out", "images.npz"], "images.npz exists already"),
    (["data", "export", "store", "--to", "imagefolder", "--out", "file/x"], "file/x"),
    (["demo", "--out", "file"], "file"),
]


def _cases() -> list[Any]:
    """One case of each kind in the fast suite, and all with the slow ones."""
    marks = [() if k % 5 == 0 else pytest.mark.slow for k in range(len(REFUSED))]
    pairs = zip(REFUSED, marks, strict=True)
    return [pytest.param(*case, id=" ".join(case[0]), marks=mark) for case, mark in pairs]


def kept(root: Path) -> dict[str, int]:
    """All files but images that `evaluate` has decoded, which the mended call uses."""
    return {name: time for name, time in tree(root).items() if not name.startswith("photos-evals")}


@pytest.mark.parametrize(("words", "message"), _cases())
def test_it_refuses_what_the_real_call_refuses(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
):
    monkeypatch.chdir(made)
    before, all_before = kept(made), tree(made)
    said(capsys)
    texts: list[str] = []
    for more in (["--dry-run"], []):
        assert call(*words, *more) == 2, said(capsys)
        texts.append(said(capsys))
        assert message in texts[-1]
        assert kept(made) == before
        assert not more or tree(made) == all_before
    assert texts[0].partition("error: ")[2] == texts[1].partition("error: ")[2]


ACCEPTED = [
    TRAIN,
    [*TRAIN, "--from", "run"],
    ["train", "tiny.json", "--out", "trained"],
    ["train", "tiny.json", "--out", "trained", "--steps", "9"],
    ["train", "mnist5k-plain", "--out", "new"],
    ["train", "mnist5k-sit-ccua", "--out", "new"],
    ["sample", "run", "--out", "new"],
    ["evaluate", "run"],
    ["evaluate", "run", "--data", "photos"],
    ["evaluate", "photos", "--data", "store", "--trained-on", "run"],
    ["fill", "run", "--to", "40", "--out", "new"],
    ["export", "run", "new"],
    ["data", "prepare", "folder", "photos", "--out", "new"],
    ["data", "export", "store", "--to", "imagefolder"],
    ["demo", "--out", "new"],
]


@pytest.mark.slow
@pytest.mark.parametrize("words", ACCEPTED, ids=" ".join)
def test_it_writes_nothing(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
):
    monkeypatch.chdir(made)
    before = unhashed(made)
    assert call(*words, "--dry-run") == 0, said(capsys)
    assert unhashed(made) == before


def unhashed(root: Path) -> dict[str, int]:
    """Every file and folder but the hashes of a store's images, which a dry run may keep for the real call."""
    return {path: time for path, time in tree(root).items() if not path.startswith("store/cache")}


def test_what_is_left_out_is_named(tiny_store: Store, capsys: pytest.CaptureFixture[str]):
    """A spec can be looked at before there are data and a place for the run."""
    assert call("train", "cifar10lt", "--dry-run") == 0
    shown = capsys.readouterr()
    assert RunSpec.model_validate(json.loads(shown.out)).recipe == "cifar10lt"
    assert "training needs --data STORE; whether these settings fit the data was not checked" in shown.err
    assert call("train", "auto-ccua", "--data", tiny_store.root, "--dry-run") == 0
    assert "training needs an output folder: --out runs/NAME" in capsys.readouterr().err
    assert call("train", "cifar10lt", "--from", "none.pt", "--dry-run") == 2
    assert "--from none.pt does not exist" in said(capsys)


@pytest.mark.parametrize(
    "words", [["train", "tiny.json", "--out", "safe/trained"], ["sample", "run", "--out", "safe/x"]]
)
def test_a_folder_around_the_output_that_cannot_be_written(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
):
    """A run that is there is written in place; images are prepared beside their folder."""
    monkeypatch.chdir(made)
    shutil.copytree("trained", "safe/trained")
    monkeypatch.setattr("taildiff.io.paths.os.access", lambda path, mode: Path(path) != made / "safe")
    assert call(*words, "--dry-run") == (0 if words[0] == "train" else 2)
    assert words[0] == "train" or "safe is write-protected" in said(capsys)
    monkeypatch.undo()
    shutil.rmtree(made / "safe")


def test_a_run_that_is_busy_or_damaged(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shutil.copytree(made / "trained", tmp_path / "run")
    run = RunDir(tmp_path / "run")
    words = ("train", made / "tiny.json", "--out", run.root, "--steps", 4, "--dry-run")
    with locked(run.lock, lambda holder: AssertionError(holder)):  # pyright: ignore
        assert call(*words) == 2
    assert "is being trained by process" in said(capsys)
    with locked(lock_of(tmp_path / "x"), lambda holder: AssertionError(holder)):  # pyright: ignore
        assert call("sample", run.root, "--out", tmp_path / "x", *FAST, "--dry-run") == 2
    assert "x is being written by process" in said(capsys)
    for folder in run.states.iterdir():
        (folder / "model.safetensors").write_bytes(b"damaged")
    before = tree(run.root)
    assert call(*words) == 2
    assert "checkpoints in" in (text := said(capsys))
    assert "is intact" in text
    assert tree(run.root) == before


def test_from_python(made: Path, tmp_path: Path):
    """What would be filled or measured comes back; nothing is written."""
    before = tree(made)
    filled = taildiff.fill(made / "run", out=tmp_path / "new", to=40, classes=["left"], guidance=1, dry_run=True)
    assert (filled.folder, filled.notes, filled.check) == (tmp_path / "new", [], None)
    assert {name: (c.training, c.asked, c.drawn) for name, c in filled.counts.items()} == {"left": (30, 10, 0)}
    assert filled.plan == (
        "left: 30 training images, 10 to generate",
        f"10 images at guidance 1, to {tmp_path / 'new'}",
    )
    spec = taildiff.evaluate(made / "run", metrics="accuracy", guidance=2, dry_run=True)
    assert (spec.metrics, spec.guidance, spec.per_class) == (("accuracy",), (2.0,), 100)
    with pytest.raises(InputError, match="unknown class 'lfet'"):
        taildiff.fill(made / "run", out=tmp_path / "new", to=40, classes=["lfet"], dry_run=True)
    with pytest.raises(InputError, match="has no test images"):
        taildiff.evaluate(made / "run", reference="test", dry_run=True)
    assert tree(made) == before
    assert not list(tmp_path.iterdir())
