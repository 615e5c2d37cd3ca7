"""`taildiff data encode` with a small real VAE, and `data show` of latents."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cli.calls import call, said, tree
from taildiff.cli.encode import contents
from taildiff.data.latents import LatentStore
from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.io.atomic import write_json
from taildiff.models.codec import load_vae

SIZE = 16


@pytest.fixture
def photos(tmp_path: Path) -> Store:
    """Ten colour images of 16x16 pixels, two held out."""
    images = np.random.default_rng(0).integers(0, 256, (10, SIZE, SIZE, 3), dtype=np.uint8)
    with StoreWriter(tmp_path / "photos", "pets", ("cat", "dog"), (SIZE, SIZE, 3), SourceMeta(source="here")) as writer:
        writer.append(images, np.arange(10) % 2, np.arange(10) >= 8)
        return writer.close()


def test_a_store_is_encoded(photos, tiny_vae, tmp_path, capsys):
    out = tmp_path / "latents"
    assert call("data", "encode", photos.root, "--vae", tiny_vae, "--out", out, "--batch-size", 3) == 0
    text = said(capsys)
    assert f"Encoded: 8 training images and their mirror images as latents of 4×2×2, 1.0 kB, in {out}" in text
    assert f"VAE: AutoencoderKL {tiny_vae.resolve()}, scaling 0.18215, sha256 " in text
    assert f"taildiff data show {out}" in text
    assert f"taildiff train auto-sit-ccua --data {out}" in text
    latents, vae = LatentStore.open(out), load_vae(str(tiny_vae), (SIZE, SIZE))
    assert latents.facts.codec == vae.facts
    images = np.array(photos.images[:8])
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    for mirror, pictures in enumerate((images, mirrored)):
        expected = vae.moments(pictures)
        assert expected[:, 1].min() > 0
        np.testing.assert_allclose(latents.moments[:, mirror].astype(float), expected.astype(float), atol=2e-3)
    turned_later = latents.moments[:, 0, 0, :, :, ::-1].astype(float)
    assert np.abs(turned_later - latents.moments[:, 1, 0]).max() > 0.01  # what encoding the mirror itself is for


def test_a_second_call_does_nothing(photos, tiny_vae, tmp_path, capsys):
    words = ("data", "encode", photos.root, "--vae", tiny_vae, "--out", tmp_path / "latents")
    assert call(*words) == 0
    before = tree(tmp_path / "latents")
    capsys.readouterr()
    assert call(*words) == 0
    assert "Already encoded: 8 training images" in said(capsys)
    assert call(*words, "--dry-run") == 0
    assert "Already encoded: 8 training images" in said(capsys)
    assert tree(tmp_path / "latents") == before
    assert call(*words, "--overwrite") == 0
    assert " Encoded: 8 training images" in f" {said(capsys)}"
    assert tree(tmp_path / "latents") != before


def test_a_dry_run_writes_nothing(photos, tiny_vae, tmp_path, capsys):
    before = tree(tmp_path)
    assert call("data", "encode", photos.root, "--vae", tiny_vae, "--out", tmp_path / "latents", "--dry-run") == 0
    text = said(capsys)
    assert "Would encode: 8 training images and their mirror images as latents of 4×2×2" in text
    assert "AutoencoderKL" in text
    assert "next" not in text
    assert tree(tmp_path) == before


def test_grey_images_are_encoded_as_colour(tiny_store, tiny_vae, tmp_path):
    assert call("data", "encode", tiny_store.root, "--vae", tiny_vae, "--out", tmp_path / "latents") == 0
    latents = LatentStore.open(tmp_path / "latents")
    assert (latents.facts.channels, latents.facts.shape, latents.info.rows) == (1, (4, 1, 1), 18)


def test_ctrl_c_prints_how_to_resume(photos, tiny_vae, tmp_path, capsys, monkeypatch):
    from taildiff.io import resumable_array
    from taildiff.models.codec import VAE

    monkeypatch.setattr(resumable_array, "SHARD_SECONDS", 0.0)
    words = ("data", "encode", photos.root, "--vae", tiny_vae, "--out", tmp_path / "latents", "--batch-size", 2)
    real, calls = VAE.moments, []

    def moments(self, images):
        calls.append(len(images))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(self, images)

    monkeypatch.setattr(VAE, "moments", moments)
    assert call(*words) == 130
    rest = tmp_path / ".latents.partial"
    assert f"rerun the same command to resume. To give up, remove {rest}" in said(capsys)
    assert rest.is_dir()
    assert call(*words) == 0
    assert len(calls) == 5 + 4  # two batches and their mirrors were left
    assert not rest.exists()


def test_wrong_places(photos, tiny_vae, tmp_path, capsys):
    latents = tmp_path / "latents"
    assert call("data", "encode", photos.root, "--vae", tiny_vae, "--out", latents) == 0
    (tmp_path / "folder").mkdir()
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "run.json", {})
    before = tree(tmp_path)
    capsys.readouterr()
    for store, vae, out, message in (
        (latents, tiny_vae, "other", f"give the store they were made from: {photos.root}"),
        (tmp_path / "folder", tiny_vae, "other", "is not a store"),
        (tmp_path / "nothing", tiny_vae, "other", "does not exist"),
        (tmp_path / "run", tiny_vae, "other", "run.json does not describe a run"),
        (photos.root, tmp_path / "no-vae", "other", "there is no folder"),
        (photos.root, tiny_vae, "run", "holds no latents; choose another --out"),
        (photos.root, tiny_vae, "photos/latents", "must not contain each other"),
    ):
        assert call("data", "encode", store, "--vae", vae, "--out", tmp_path / out) == 2
        assert message in said(capsys)
    assert call("data", "encode", photos.root, "--vae", tiny_vae, "--out", latents, "--batch-size", 0) == 2
    assert "--batch-size 0" in said(capsys)
    assert tree(tmp_path) == before


def test_sizes_that_the_vae_cannot_encode(make_store, tiny_vae, tmp_path, capsys):
    store = make_store(tmp_path / "store", size=12)
    assert call("data", "encode", store.root, "--vae", tiny_vae, "--out", tmp_path / "latents") == 2
    assert "12x12 pixels are not divisible by 8" in said(capsys)


def test_show_describes_latents_and_locates_their_images(photos, tiny_vae, tmp_path, capsys):
    latents = tmp_path / "latents"
    assert call("data", "encode", photos.root, "--vae", tiny_vae, "--out", latents) == 0
    capsys.readouterr()
    assert call("data", "show", latents, "--verify") == 0
    text = said(capsys)
    assert "pets: latents of 10 images, 2 classes, 16×16 colour; verified" in text
    assert "8 training images and their mirror images as latents of 4×2×2" in text
    assert f"VAE: AutoencoderKL {tiny_vae.resolve()}, scaling 0.18215" in text
    assert f"Images: {photos.root}, available" in text
    assert f"taildiff train auto-sit-ccua --data {latents}" in text
    assert call("data", "show", latents, "--tail", "exp", "--ratio", 0.5) == 0
    assert "cut to 6 (exp, ratio 0.5)" in said(capsys)
    shutil.rmtree(photos.root)
    assert call("data", "show", latents) == 0
    assert "not found; training does not need it, evaluation needs --data STORE" in said(capsys)
    data = bytearray((latents / "moments.npy").read_bytes())
    data[-1] ^= 1
    (latents / "moments.npy").write_bytes(data)
    assert call("data", "show", latents, "--verify") == 2
    assert "was changed after it was encoded" in said(capsys)


def test_latents_are_not_images(photos, tiny_vae, tmp_path, capsys):
    assert call("data", "encode", photos.root, "--vae", tiny_vae, "--out", tmp_path / "latents") == 0
    capsys.readouterr()
    assert call("data", "prepare", "folder", tmp_path / "latents", "--out", tmp_path / "again") == 2
    assert "already holds latents; to train on them: taildiff train auto-sit-ccua --data" in said(capsys)
    for judged, real in ((tmp_path / "latents", photos.root), (photos.root, tmp_path / "latents")):
        assert call("evaluate", judged, "--data", real) == 2
        assert f"give the store they were made from: {photos.root}" in said(capsys)


@pytest.mark.parametrize(("size", "text"), [(65_536, "65.5 kB"), (3_100_000, "3.1 MB"), (7_592_083_456, "7.6 GB")])
def test_sizes_are_printed_in_a_readable_unit(size: int, text: str):
    info: Any = SimpleNamespace(codec=SimpleNamespace(channels=4, height=2, width=2), rows=8, moments_bytes=size)
    assert contents(info) == f"8 training images and their mirror images as latents of 4×2×2, {text}"
