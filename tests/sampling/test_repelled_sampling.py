"""Repellency from the training images of a run: which images, the radius, and what it needs."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cli.calls import call, said
from data import latent_sources
from evaluation import tiny
from taildiff.data.batches import to_tensor
from taildiff.data.store import Store
from taildiff.errors import DataError, SpecError
from taildiff.run.layout import RunDir
from taildiff.sampling import repellency
from taildiff.sampling.generate import generate, load_model
from taildiff.sampling.model import TrainedModel
from taildiff.sampling.repellency import Repellency
from taildiff.spec import DataSpec, SamplingSpec

FAST = {"sampler": "euler", "steps": 3}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny.make_store(tmp_path_factory.mktemp("repelled") / "store", (6, 4, 1), (2, 2, 2))


@pytest.fixture(scope="module")
def run(store: Store) -> RunDir:
    return tiny.make_run(store.root.parent / "run", store)


def flat(store: Store, positions: np.ndarray) -> torch.Tensor:
    return to_tensor(store.images[positions]).flatten(1)


def test_what_is_predicted_near_a_training_image_of_the_class_is_pushed_to_the_radius(run: RunDir, store: Store):
    repel = Repellency.of(load_model(run), 0.5)
    training = flat(store, np.flatnonzero(~store.test)).view(-1, 1, 8, 8)
    labels = store.labels[~store.test].tolist()
    x0 = training + 0.01
    moved = repel.around(lambda x, s: x, labels)(x0, 0.5)
    assert (moved - training).flatten(1).norm(dim=1).tolist() == pytest.approx([0.5] * len(labels), rel=1e-4)
    others = [(label + 1) % 3 for label in labels]
    assert torch.equal(repel.around(lambda x, s: x, others)(x0, 0.5), x0)
    held_out = flat(store, np.flatnonzero(store.test)).view(-1, 1, 8, 8) + 0.01
    assert torch.equal(repel.around(lambda x, s: x, store.labels[store.test].tolist())(held_out, 0.5), held_out)


def test_the_radius_is_a_quantile_of_the_nearest_distances(run: RunDir, store: Store, monkeypatch: pytest.MonkeyPatch):
    own = []
    for label in (0, 1):
        images = flat(store, np.flatnonzero(~store.test & (store.labels == label))).double()
        own.append((torch.cdist(images, images) + 1e9 * torch.eye(len(images))).amin(1).numpy())
    for chunk in (repellency.CHUNK_BYTES, 2 * 256):  # at once, and two images of 64 values at a time
        monkeypatch.setattr(repellency, "CHUNK_BYTES", chunk)
        repel = Repellency.of(load_model(run), None)
        for label in (0, 1):
            assert repel.radius_of(label) == pytest.approx(np.quantile(own[label], 0.1))
        assert repel.radius_of(2) == pytest.approx(np.quantile(np.concatenate(own), 0.1))  # one image: pooled


def test_parts_and_what_stays_in_memory_change_nothing(run: RunDir, monkeypatch: pytest.MonkeyPatch):
    x0 = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    one = Repellency.of(load_model(run), 20.0).around(lambda x, s: x, [0, 1, 1, 2])(x0, 0.5)
    monkeypatch.setattr(repellency, "CHUNK_BYTES", 2 * 256)
    monkeypatch.setattr(repellency, "KEPT_BYTES", 0)
    other = Repellency.of(load_model(run), 20.0)
    predict = other.around(lambda x, s: x, [0, 1, 1, 2])
    torch.testing.assert_close(predict(x0, 0.5), one)
    torch.testing.assert_close(predict(x0, 0.5), one)
    assert not other._kept
    assert (one - x0).flatten(1).norm(dim=1).min() > 0.1


def test_mirror_images_repel_where_the_run_trains_on_them(store: Store, tmp_path: Path):
    run = tiny.make_run(tmp_path / "run", store, data=DataSpec(flip=True))
    near = (flat(store, np.flatnonzero(~store.test)[:1]).view(1, 1, 8, 8).flip(3)) + 0.01
    moved = Repellency.of(load_model(run), 0.5).around(lambda x, s: x, [0])(near, 0.5)
    assert float((moved - near + 0.01).norm()) == pytest.approx(0.5, rel=1e-4)


def test_an_image_stays_that_of_its_seed_label_and_rank(run: RunDir):
    model, labels = load_model(run), np.array([2, 0, 2, 1])
    sampling = SamplingSpec(**FAST, repel=True, repel_radius=7.0)
    together = generate(model, labels, sampling, 1.5)
    assert (together != generate(model, labels, SamplingSpec(**FAST), 1.5)).any()
    alone = generate(model, np.array([2, 2]), sampling, 1.5, batch_size=1)
    assert np.abs(alone.astype(int) - together[[0, 2]]).max() <= 1


def test_latents_repel_by_the_means_of_their_posteriors(tmp_path: Path):
    latent_sources.make_store(tmp_path / "store", np.zeros(9, np.bool_))
    latents = latent_sources.run(tmp_path / "store", tmp_path / "latents")
    index = np.flatnonzero(~latents.test)
    repel = Repellency(latents, index, mirrored=True, radius=0.1, device=torch.device("cpu"))
    mean = torch.from_numpy(np.array(latents.moments[:1, 1, 0])).float()  # of the mirror image
    z = (mean - latents.info.codec.shift) * latents.info.codec.scaling
    moved = repel.around(lambda x, s: x, [int(latents.labels[index[0]])])(z + 1e-3, 0.5)
    assert float((moved - z).norm()) == pytest.approx(0.1, rel=1e-2)


def test_it_needs_the_training_images(run: RunDir, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    moved = tiny.make_store(tmp_path / "moved", (6, 4, 1), (2, 2, 2))
    other = tiny.make_run(tmp_path / "other", moved)
    shutil.rmtree(moved.root)
    assert call("sample", other.root, "--repel", "--sampler", "euler", "--steps", 1, "--out", tmp_path / "x") == 2
    assert "--repel needs the training images of the run, but the store of" in said(capsys)
    assert not (tmp_path / "x").exists()
    model = load_model(run)
    bare = TrainedModel(model.denoiser, model.process, model.facts, model.spec, 5, "", model.codec)
    with pytest.raises(SpecError, match="load the model from its run"):
        Repellency.of(bare, None)
    single = tiny.make_store(tmp_path / "single", (1, 1, 1))
    with pytest.raises(SpecError, match="every class has one training image, so its radius must be given"):
        Repellency.of(load_model(tiny.make_run(tmp_path / "one", single)), None).radius_of(0)
    with pytest.raises(DataError, match="cannot be opened"):
        Repellency.of(load_model(other), None)
