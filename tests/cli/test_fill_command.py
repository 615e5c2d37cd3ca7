"""`taildiff fill` from its arguments to its output, on a run and on a bare folder."""

import re
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import taildiff
from cli.calls import call, said
from cli.screen import terminal_for
from evaluation import tiny
from taildiff.api import filling_photos
from taildiff.api.training import Interrupted, Run
from taildiff.errors import InputError
from taildiff.evaluation import classifier_network
from taildiff.training.request import Outcome


def photographs(root: Path, counts: dict[str, int]) -> Path:
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for k in range(count):
            pixels = np.random.default_rng([label, k]).integers(0, 90, (12, 12, 3), dtype=np.uint8)
            pixels[:, 6 * (label % 2) : 6 * (label % 2) + 6] += 130
            Image.fromarray(pixels).save(root / name / f"{k}.png")
    return root


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (6, 6))
    monkeypatch.setattr(classifier_network, "_BATCH", 8)


@pytest.mark.usefixtures("_quick")
def test_a_run_is_filled_and_the_numbers_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = tiny.make_store(tmp_path / "store", (12, 9, 7), (8, 8, 8))
    run = tiny.make_run(tmp_path / "run", store)
    words = (
        "fill",
        run.root,
        "--counts",
        "left=14,top=9",
        "--out",
        tmp_path / "out",
        "--steps",
        1,
        "--sampler",
        "euler",
    )
    assert call(*words, "--dry-run") == 0
    assert "left: 12 training images, 2 to generate top: 7 training images, 2 to generate" in said(capsys)
    assert not (tmp_path / "out").exists()
    assert call(*words) == 0
    text = said(capsys)
    assert "left: 12 training images; classifier right on" in text
    assert "class training asked drawn copy class repeat admitted missing" in text
    assert "left 12 2" in text
    assert f"what each is: {tmp_path / 'out-info' / 'manifest.jsonl'}" in text
    assert "taildiff gallery" in text
    assert call(*words) == 0
    assert "is already filled as asked" in said(capsys)
    assert call("fill", run.root, "--to", 9, "--counts", "left=1", "--out", tmp_path / "two") == 2
    assert "in one way: --to 200" in said(capsys)
    assert call("fill", run.root, "--counts", "left", "--out", tmp_path / "two") == 2
    assert "'left' is not CLASS=N" in said(capsys)
    assert call("fill", run.root, "--counts", "left=14", "left=15", "--out", tmp_path / "two") == 2
    assert "--counts names the class 'left' twice" in said(capsys)
    assert call("fill", run.root, "--to", 9, "--classes", "left,top", "--out", tmp_path / "two") == 2
    assert "unknown class 'left,top': separate several by spaces: left top" in said(capsys)
    assert call("fill", run.root, "--to", 20, "--size", 16, "--out", tmp_path / "two") == 2
    assert "is a run, but --size is for photographs; remove it" in said(capsys)


@pytest.mark.parametrize(("end", "code"), [(KeyboardInterrupt(), 130), (signal.SIGTERM, 143)])
def test_what_is_stopped_says_how_to_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, end: object, code: int
):
    run = Run(tmp_path / "run")

    def stop(*_: object, **__: object) -> None:
        if isinstance(end, KeyboardInterrupt):
            raise end
        raise Interrupted(run, Outcome(3, "signal", signal.SIGTERM))

    monkeypatch.setattr(filling_photos, "_measured", lambda *_: (1.0, 1.0))
    monkeypatch.setattr(filling_photos, "train_and_evaluate", stop)
    words = ("fill", photographs(tmp_path / "photos", {"cat": 25, "dog": 10}), "--to", 10, "--out", tmp_path / "out")
    assert call(*words) == code
    assert f"everything is saved; to resume: taildiff {' '.join(map(str, words))}" in said(capsys)


@pytest.mark.slow
@pytest.mark.usefixtures("_quick")
def test_a_bare_folder_is_prepared_trained_evaluated_and_filled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(filling_photos, "evaluate", lambda run, **_: None)  # of hundreds of images
    monkeypatch.chdir(tmp_path)
    photographs(Path("photos"), {"cat": 25, "dog": 10})
    Path("photos/cat/broken.png").write_bytes(b"")
    words = ("fill", "photos", "--to", 10, "--out", "filled", "--size", 8, "--steps-of-training", 2)
    words = (*words, "--steps", 1, "--sampler", "euler", "--guidance", 1)
    assert call(*words, "--dry-run") == 0
    text = said(capsys)
    assert "1. prepare: 29 training images of 2 classes at 8×8 pixels, a fifth held out, in filled-work/store" in text
    assert "2. train: auto-ccua, 2 steps: about 1 min" in text
    assert "4. fill: 2 images or more: about 1 min" in text
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    with monkeypatch.context() as context:
        terminal = terminal_for(context)
        assert call(*words) == 0
    shown = [match[0] for row in terminal.rows if (match := re.match(r"\d\. \w+|\d/4: .*?(?=\s*━)", row))]
    assert shown[:4] == ["1. prepare", "2. train", "3. evaluate", "4. fill"]
    assert [*dict.fromkeys(shown)] == shown
    assert (
        sum("broken.png: not a JPEG, PNG, WebP, TIFF or BMP image but an empty file" in row for row in terminal.rows)
        == 1
    )
    assert shown[4:] == sorted(shown[4:], key=lambda stage: stage[0])
    assert {"1/4: decode", "2/4: training auto-ccua", "4/4: filling dog"} < {*shown}
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "filled", "filled-info", "filled-work"}
    assert len([path for path in Path("filled/cat").iterdir() if path.is_symlink()]) == 20
    weights = next(Path("filled-work/run/weights").glob("ema-*")).stat().st_mtime_ns
    assert call(*words) == 0
    text = said(capsys)
    assert "is already filled as asked" in text
    assert "1. prepare" not in text
    assert next(Path("filled-work/run/weights").glob("ema-*")).stat().st_mtime_ns == weights
    assert call(*("quiet" if word == "filled" else word for word in words), "--quiet") == 0
    assert re.fullmatch(
        "skipped cat/.* the originals have 12×12 pixels .* one size", said(capsys)
    )  # warnings, nothing else
    assert Path("quiet/dog").is_dir()


def test_a_folder_that_cannot_be_filled_is_refused_before_anything_is_done(tmp_path: Path):
    photographs(tmp_path / "photos", {"cat": 9, "dog": 5})
    with pytest.raises(InputError, match=r"fewer than 5 training images: dog \(4\)"):
        taildiff.fill(tmp_path / "photos", out=tmp_path / "out", to=20)
    with pytest.raises(InputError, match="must not contain each other"):
        taildiff.fill(tmp_path / "photos", out=tmp_path / "photos" / "out", to=20)
    with pytest.raises(InputError, match="fotos does not exist; give a run, or a folder of photographs"):
        taildiff.fill(tmp_path / "fotos", out=tmp_path / "out", to=20, size=64)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    work = tmp_path / "out-work"
    store = taildiff.prepare("folder", tmp_path / "photos", out=work / "store", size=8, hold_out=0.2)
    with pytest.raises(InputError, match=rf"train a run on it .* --data {store.root}"):
        taildiff.fill(store.root, out=tmp_path / "out", to=20)
    for size, added in ((12, False), (8, True)):
        if added:
            photographs(tmp_path / "photos", {"owl": 9})
        with pytest.raises(InputError, match=rf"To start again, remove {work}; to keep it, choose another --out"):
            taildiff.fill(tmp_path / "photos", out=tmp_path / "out", to=20, size=size, force=True, dry_run=True)
