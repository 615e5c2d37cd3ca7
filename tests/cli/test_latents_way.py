"""From JPEG files of 256x256 pixels to a report, over latents, by the command line and the examples alone."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cli.calls import call, said
from taildiff.data.store import Store
from taildiff.evaluation import classifier_network
from taildiff.evaluation.table import Table
from taildiff.models.codec import load_vae
from taildiff.run.layout import RunDir

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("flower", "portrait", "temple")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """12 real photographs per class for training and 3 held out, as JPEG files."""
    runpy.run_path(str(EXAMPLES / "photos256.py"))["write"](tmp_path / "photos", (12, 12, 12), held_out=3)
    return tmp_path / "photos"


def test_from_jpeg_files_at_256_over_latents_to_a_report(
    photos: Path, tiny_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(classifier_network, "_STEPS", (6, 6))
    monkeypatch.setattr(classifier_network, "_BATCH", 16)
    store, latents, run = tmp_path / "store", tmp_path / "latents", RunDir(tmp_path / "run")
    assert call("data", "prepare", "folder", photos, "--out", store, "--size", 256) == 0
    assert call("data", "encode", store, "--vae", tiny_vae, "--out", latents) == 0
    assert call("data", "show", latents, "--tail", "exp", "--ratio", 0.25) == 0
    assert "latents of 4×32×32" in said(capsys)

    network = ("--model.depth", 2, "--model.width", 32, "--model.heads", 2, "--model.patch", 4)
    tail = ("--data.tail", "exp", "--data.ratio", 0.25)
    train = ("train", "auto-sit-ccua", "--data", latents, *tail, *network, "--batch-size", 8, "--out", run.root)
    assert call(*train, "--steps", 4, "--stop-at", 2) == 0
    assert call(*train, "--steps", 4, "--every.samples", 4) == 0
    info = run.info()
    assert (info.spec.objective.ucl.weight, info.spec.objective.al.weight) == (0.05, 0.05)
    assert info.latents is not None
    assert (info.facts.height, info.facts.shape) == (256, (4, 32, 32))

    fast = ("--sampler", "euler", "--steps", 2)
    drawn = tmp_path / "drawn"
    assert call("sample", run.root, "--per-class", 2, *fast, "--out", drawn) == 0
    files = sorted(drawn.glob("*/*.png"))
    assert [path.parent.name for path in files] == [name for name in NAMES for _ in range(2)]
    pictures = np.stack([np.asarray(Image.open(path)) for path in files])
    assert pictures.shape == (6, 256, 256, 3)
    assert pictures.std() > 1

    assert call("evaluate", run.root, "--guidance", "1", "--per-class", 3, *fast, "--metrics", "accuracy") == 0
    (folder,) = run.evaluations()
    table = Table.read(folder)
    assert not any("no balanced reference" in note for note in table.notes)
    assert table.value("accuracy", "all", 1.0) is not None
    assert call("report", run.root) == 0
    page = run.report.read_text()
    assert "as latents of 32 × 32" in page
    assert "AutoencoderKL" in page


def test_a_small_vae_trained_on_these_images_learns_and_can_encode(photos: Path, tmp_path: Path, capsys):
    assert call("data", "prepare", "folder", photos, "--out", tmp_path / "store", "--size", 32) == 0
    example = runpy.run_path(str(EXAMPLES / "small_vae.py"))
    with torch.random.fork_rng():
        example["train"](tmp_path / "store", tmp_path / "vae", steps=30, batch=8, side=32, width=8)
    errors = [float(line.split()[4]) for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert errors[-1] < 0.8 * errors[0]
    store = Store.open(tmp_path / "store")
    vae = load_vae(str(tmp_path / "vae"), (32, 32))
    mean, std = vae.moments(np.array(store.images[store.train_index])).astype(np.float32).swapaxes(0, 1)
    z = (mean + std * np.random.default_rng(0).standard_normal(std.shape)) * vae.facts.scaling
    assert 0.5 < z.std() < 2
