"""Runs on latents: drawn from the moments without VAE and images, decoded for sampling, evaluated on the images."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from taildiff.data.batches import Batches, Resident, to_latents
from taildiff.data.encode import encode
from taildiff.data.latents import LatentStore
from taildiff.data.longtail import Split
from taildiff.data.order import Order
from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.errors import CheckpointError, InputError, RunError
from taildiff.evaluation.evaluate import _check_weights
from taildiff.models.codec import load_vae
from taildiff.run.layout import RunDir
from taildiff.sampling.generate import generate, load_model
from taildiff.spec import CodecFacts, DataSpec, IntervalSpec, RunSpec, SamplingSpec, SiTSpec
from taildiff.training.request import StopRule
from taildiff.training.session import run_training

SIZE = 16


@pytest.fixture
def vae(tiny_vae: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_vae, tmp_path / "vae"))


@pytest.fixture
def pixels(tmp_path: Path) -> Store:
    """Twelve training and six held-out images in three classes, mixed."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(3), 6))
    test = np.zeros(18, bool)
    for label in range(3):
        test[np.flatnonzero(labels == label)[:2]] = True
    images = rng.integers(0, 256, (18, SIZE, SIZE, 3), dtype=np.uint8)
    with StoreWriter(tmp_path / "store", "random", ("a", "b", "c"), (SIZE, SIZE, 3), SourceMeta(source="r")) as writer:
        writer.append(images, labels, test)
        return writer.close()


@pytest.fixture
def latents(pixels: Store, vae: Path, tmp_path: Path) -> LatentStore:
    opened = load_vae(str(vae), (SIZE, SIZE))
    return encode(pixels, tmp_path / "latents", opened.facts, opened.moments)


@pytest.fixture
def spec(tiny_spec: RunSpec) -> RunSpec:
    model = SiTSpec(depth=2, width=16, heads=2, patch=1)
    return tiny_spec.model_copy(update={"model": model, "data": DataSpec(flip=True), "steps": 6})


def batches(data: Store | LatentStore, flip: bool = True, rows: slice = slice(None), most: int = 0) -> Batches:
    split = Split.cut(data, DataSpec())
    resident = Resident.of(data, split, torch.device("cpu"), most)
    return Batches(data, split, Order(data.labels[split.index], 3), 8, flip, rows, resident=resident)


@pytest.mark.parametrize("flip", [True, False])
def test_images_in_memory_give_the_same_batches_as_the_file(pixels: Store, latents: LatentStore, flip: bool):
    for data in (pixels, latents):
        rows = slice(3, 8)
        kept, read = batches(data, flip, rows, most=10**9), batches(data, flip, rows)
        assert kept.resident is not None
        assert read.resident is None
        assert kept.resident.values.dtype == (torch.uint8 if data is pixels else torch.float16)
        for step in range(4):
            assert all(map(torch.equal, kept.read(step), read.read(step)))


def test_a_latent_is_drawn_from_the_moments_of_its_image_or_mirror(pixels: Store, latents: LatentStore, vae: Path):
    opened, codec = load_vae(str(vae), (SIZE, SIZE)), latents.info.codec
    for step in range(3):
        drawn, seen = batches(latents).read(step), batches(pixels).read(step)
        torch.testing.assert_close(drawn.y, seen.y)  # the same images in the same order, mirrored alike
        images = seen.x.add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        mean, std = torch.from_numpy(opened.moments(images)).float().unbind(1)
        eps = (drawn.x / codec.scaling + codec.shift - mean) / std
        again = batches(latents).read(step)
        assert torch.equal(again.x, drawn.x)
        assert abs(float(eps.mean())) < 0.3
        assert 0.75 < float(eps.std()) < 1.25
        unflipped = batches(latents, flip=False).read(step)
        own = (unflipped.x == drawn.x).flatten(1).all(1).numpy()
        np.testing.assert_array_equal(~own, batches(latents).order.flips(step, 8))


def test_an_image_gets_another_latent_each_time(latents: LatentStore):
    reader = batches(latents, flip=False)
    rows = [reader.order.batch(step, 8) for step in range(4)]
    found = {}
    for step, order in enumerate(rows):
        for slot, image in enumerate(order.tolist()):
            found.setdefault(image, []).append(reader.read(step).x[slot])
    twice = [versions for versions in found.values() if len(versions) > 1]
    assert twice
    assert all(not torch.equal(versions[0], versions[1]) for versions in twice)


def test_processes_see_slices_of_the_same_batch(latents: LatentStore):
    whole = batches(latents).read(1)
    parts = [batches(latents, rows=slice(k, k + 4)).read(1).x for k in (0, 4)]
    assert torch.equal(torch.cat(parts), whole.x)


def test_scaling_and_shift(latents: LatentStore):
    codec = latents.info.codec.model_copy(update={"scaling": 0.5, "shift": 2.0})
    moments = torch.stack([torch.full((1, 4, 2, 2), 3.0), torch.full((1, 4, 2, 2), 4.0)], 1).half()
    assert to_latents(moments, torch.full((1, 4, 2, 2), 0.25), codec).unique().tolist() == [(3 + 1 - 2) * 0.5]


def test_training_needs_neither_vae_nor_images_and_resumes_bitwise(
    latents: LatentStore, spec: RunSpec, vae: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    shutil.rmtree(vae)
    shutil.rmtree(tmp_path / "store")
    whole, parts = RunDir(tmp_path / "whole"), RunDir(tmp_path / "parts")
    spec = spec.model_copy(update={"every": IntervalSpec(samples=3, save=4)})
    assert run_training(whole, spec, latents).reason == "finished"
    (told,) = [line for line in caplog.messages if "grids" in line]
    assert f"the VAE {vae.resolve()} was not found" in told
    assert not whole.sample_grid(3).exists()
    run_training(parts, spec, latents, StopRule(step=2))
    run_training(parts, spec, latents)
    assert whole.weights(6).read_bytes() == parts.weights(6).read_bytes()
    info = whole.info()
    assert info.latents is not None
    assert (info.latents.hash, info.store.hash) == (latents.info.hash, latents.meta.hash)
    assert info.facts.codec == latents.info.codec


def test_sampling_decodes_by_the_vae(latents: LatentStore, spec: RunSpec, vae: Path, tmp_path: Path):
    run = RunDir(tmp_path / "run")
    run_training(run, spec.model_copy(update={"every": IntervalSpec(samples=3, save=6)}), latents)
    assert run.sample_grid(3).is_file()
    labels, sampling = np.array([0, 1, 2, 2]), SamplingSpec(steps=2)
    images = generate(load_model(run), labels, sampling, 1.5)
    assert images.shape == (4, SIZE, SIZE, 3)
    clipped = generate(load_model(run), labels, sampling.model_copy(update={"clip": False}), 1.5)
    np.testing.assert_array_equal(images, clipped)  # latents have no bounds
    moved = vae.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="--vae PATH"):
        load_model(run)
    np.testing.assert_array_equal(generate(load_model(run, vae=str(moved)), labels, sampling, 1.5), images)


def test_another_vae_is_refused(latents: LatentStore, spec: RunSpec, tmp_path: Path):
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    run = RunDir(tmp_path / "run")
    run_training(run, spec, latents, StopRule(step=1))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        other = AutoencoderKL.from_config(AutoencoderKL.load_config(latents.info.codec.source))
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(CheckpointError, match="another VAE"):
        load_model(run, vae=str(tmp_path / "other"))


def test_a_run_resumes_only_with_its_latents(pixels: Store, latents: LatentStore, spec: RunSpec, tmp_path: Path):
    run = RunDir(tmp_path / "run")
    run_training(run, spec, latents, StopRule(step=1))
    doubled = latents.info.codec.model_copy(update={"hash": "0" * 64})

    def moments(images: np.ndarray) -> np.ndarray:
        return np.ones((len(images), 2, 4, 2, 2), np.float16)

    other = encode(pixels, tmp_path / "other", doubled, moments)
    with pytest.raises(RunError, match="started with other latents"):
        run_training(run, spec, other)
    with pytest.raises(RunError, match=r"started on latents, and .* holds images; give the run's latents"):
        run_training(run, spec, pixels)


def test_weights_stay_those_of_the_run_when_its_vae_has_moved(
    pixels: Store, latents: LatentStore, spec: RunSpec, vae: Path, tmp_path: Path
):
    run = RunDir(tmp_path / "run")
    run_training(run, spec, latents)
    opened = load_vae(str(vae.rename(tmp_path / "moved")), (SIZE, SIZE))
    again = encode(pixels, tmp_path / "again", opened.facts, opened.moments)
    assert again.info.hash == latents.info.hash
    run_training(run, spec, again)  # done; run.json names the latents of today
    assert run.info().facts != latents.facts
    _check_weights(run, load_model(run, vae=str(tmp_path / "moved")), "ema")


def test_weights_of_pixels_do_not_start_a_run_on_latents_of_the_same_size(pixels: Store, spec: RunSpec, tmp_path: Path):
    first = RunDir(tmp_path / "first")
    run_training(first, spec, pixels, StopRule(step=1))
    facts = CodecFacts(source="v", kind="AutoencoderKL", hash="a", channels=3, height=SIZE, width=SIZE, scaling=1.0)

    def moments(images: np.ndarray) -> np.ndarray:
        return np.ones((len(images), 2, 3, SIZE, SIZE), np.float16)

    latents = encode(pixels, tmp_path / "latents", facts, moments)
    assert latents.facts.shape == pixels.facts.shape
    with pytest.raises(CheckpointError, match=r"16x16x3 images,\nand this run is .* 16x16x3 latents"):
        run_training(RunDir(tmp_path / "run"), spec, latents, start_from=first.weights(1))
