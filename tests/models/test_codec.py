"""The VAE between images and latents: what it computes, what it is known by, and what is refused."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from safetensors.torch import load_file, save_file

from taildiff.data.batches import to_tensor
from taildiff.errors import CheckpointError, DataError, InputError
from taildiff.models.codec import VAE, Pixels, codec, load_vae
from taildiff.spec import CodecFacts, DataFacts

WEIGHTS = "diffusion_pytorch_model.safetensors"
SIZE = (32, 32)
ROUNDING = 2**-10  # of float16
Edit = Callable[[dict[str, torch.Tensor]], Any]


@pytest.fixture(scope="module")
def vae(tiny_vae: Path) -> VAE:
    return load_vae(str(tiny_vae), SIZE)


@pytest.fixture(scope="module")
def tiny_taesd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small random AutoencoderTiny with 4x4 pixels a latent."""
    folder = tmp_path_factory.mktemp("vae") / "tiny"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        blocks = {"num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 1, 1)}
        widths = {"encoder_block_out_channels": (8, 8, 8), "decoder_block_out_channels": (8, 8, 8)}
        AutoencoderTiny(**blocks, **widths).save_pretrained(folder)
    return folder


@pytest.fixture
def edited(tiny_vae: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the small VAE with other entries in its config, or other weights."""

    def make(name: str = "vae", weights: Edit | None = None, source: Path = tiny_vae, **config: Any) -> Path:
        folder = shutil.copytree(source, tmp_path / name)
        entries = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(entries | config))
        if weights is not None:
            tensors = load_file(folder / WEIGHTS)
            weights(tensors)
            save_file(tensors, folder / WEIGHTS)
        return folder

    return make


def _images(count: int, size: tuple[int, int] = SIZE, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *size, channels), dtype=np.uint8)


def _latents(count: int, channels: int = 4, side: int = 4) -> torch.Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0))


def _facts(vae: CodecFacts | None, channels: int = 3) -> DataFacts:
    return DataFacts(height=32, width=32, channels=channels, class_names=("a", "b"), counts=(3, 1), codec=vae)


def _hash(folder: Path) -> str:
    return load_vae(str(folder), SIZE).facts.hash


# What it computes


def test_moments_are_those_of_diffusers(tiny_vae: Path, vae: VAE):
    images = _images(5)
    with torch.inference_mode():
        posterior = AutoencoderKL.from_pretrained(tiny_vae).encode(to_tensor(images)).latent_dist
    found = vae.moments(images)
    assert found.dtype == np.float16
    assert found.shape == (5, 2, *_facts(vae.facts).shape) == (5, 2, 4, 4, 4)
    expected = torch.stack([posterior.mean, posterior.std], dim=1).numpy()
    np.testing.assert_allclose(found, expected.astype(np.float16), rtol=ROUNDING, atol=1e-5)


def test_a_mirrored_image_has_other_moments(vae: VAE):
    images = _images(2)
    mirrored = vae.moments(images[:, :, ::-1])
    assert not np.allclose(mirrored, vae.moments(images), atol=1e-2)
    assert not np.allclose(mirrored[..., ::-1], vae.moments(images), atol=1e-2)  # nor is it the mirrored latent


def test_decoding_undoes_scaling_and_shift(tiny_vae: Path, edited: Callable[..., Path]):
    folder = edited(scaling_factor=0.25, shift_factor=0.5)
    scaled, plain = load_vae(str(folder), SIZE), load_vae(str(edited("plain", scaling_factor=1)), SIZE)
    assert (scaled.facts.scaling, scaled.facts.shift) == (0.25, 0.5)
    code = (_latents(5) * 64).round() / 64  # nothing is lost below
    assert torch.equal(scaled.decode((code - 0.5) * 0.25), plain.decode(code))
    expected = AutoencoderKL.from_pretrained(tiny_vae).decode(code).sample.detach().clamp(-1, 1)
    torch.testing.assert_close(plain.decode(code), expected, atol=1e-5, rtol=0)


def test_images_are_clipped_float32_without_gradient(edited: Callable[..., Path]):
    folder = edited(weights=lambda tensors: tensors["decoder.conv_out.weight"].mul_(100))
    with torch.autocast("cpu", torch.bfloat16):
        images = load_vae(str(folder), SIZE).decode(_latents(2).double().requires_grad_())
    assert images.dtype == torch.float32
    assert images.shape == (2, 3, 32, 32)
    assert (images.min(), images.max()) == (-1, 1)
    assert not images.requires_grad
    images.add_(1)  # an ordinary tensor, which the caller may change


def test_autocast_around_it_changes_nothing(vae: VAE):
    z = _latents(2)
    with torch.autocast("cpu", torch.bfloat16):
        decoded, moments = vae.decode(z), vae.moments(_images(2))
    assert torch.equal(decoded, vae.decode(z))
    np.testing.assert_array_equal(moments, vae.moments(_images(2)))


def test_tiny_has_no_deviation(tiny_taesd: Path):
    vae, images = load_vae(str(tiny_taesd), SIZE), _images(3)
    network = AutoencoderTiny.from_pretrained(tiny_taesd)
    moments = vae.moments(images)
    codes = network.encode(to_tensor(images)).latents.detach()
    np.testing.assert_allclose(moments[:, 0], codes.numpy(), rtol=ROUNDING, atol=1e-5)
    assert not moments[:, 1].any()
    assert vae.facts.kind == "AutoencoderTiny"
    assert _facts(vae.facts).shape == (4, 8, 8)
    expected = network.decode(codes).sample.detach().clamp(-1, 1)
    torch.testing.assert_close(vae.decode(codes), expected, atol=1e-6, rtol=0)


def test_images_need_not_be_square(tiny_vae: Path):
    vae = load_vae(str(tiny_vae), (16, 32))
    assert vae.moments(_images(2, (16, 32))).shape == (2, 2, 4, 2, 4)
    assert vae.decode(torch.zeros(2, 4, 2, 4)).shape == (2, 3, 16, 32)


def test_grey_images_go_through_a_vae_of_colours(tiny_vae: Path, vae: VAE):
    grey = _images(3, channels=1)
    single = load_vae(str(tiny_vae), SIZE, channels=1)
    np.testing.assert_array_equal(single.moments(grey), vae.moments(np.repeat(grey, 3, axis=3)))
    mean = vae.decode(_latents(3)).mean(dim=1, keepdim=True)
    torch.testing.assert_close(single.decode(_latents(3)), mean, atol=1e-6, rtol=0)
    assert single.facts == vae.facts


def test_a_grey_vae_takes_grey_images_alone(tmp_path: Path):
    parts = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    with torch.random.fork_rng():
        network = AutoencoderKL(1, 1, **parts, block_out_channels=(8, 8), norm_num_groups=4)
    network.save_pretrained(tmp_path)
    vae = load_vae(str(tmp_path), SIZE, channels=1)
    grey = _images(2, channels=1)
    with torch.inference_mode():
        expected = network.eval().encode(to_tensor(grey)).latent_dist.mean.numpy()
    np.testing.assert_allclose(vae.moments(grey)[:, 0], expected, rtol=ROUNDING, atol=1e-5)
    assert vae.decode(torch.zeros(2, 4, 16, 16)).shape == (2, 1, 32, 32)
    with pytest.raises(InputError, match="grey images"):
        load_vae(str(tmp_path), SIZE, channels=3)
    with pytest.raises(DataError, match="1 channels"):
        vae.moments(_images(2))


def test_memory_does_not_grow_with_the_number_of_images(tiny_vae: Path):
    vae = load_vae(str(tiny_vae), (256, 256))
    seen: dict[str, list[int]] = {"encoder": [], "decoder": []}
    for name, sizes in seen.items():
        part = getattr(vae._network, name)
        part.register_forward_pre_hook(lambda _, given, sizes=sizes: sizes.append(len(given[0])))
    vae.moments(_images(10, (256, 256)))
    vae.decode(_latents(10, side=32))
    assert seen == {"encoder": [4, 4, 2], "decoder": [4, 4, 2]}
    small = load_vae(str(tiny_vae), SIZE)
    small._network.encoder.register_forward_pre_hook(lambda _, given: seen["encoder"].append(len(given[0])))
    small.moments(_images(300))
    assert seen["encoder"][3:] == [256, 44]


def test_how_many_come_at_once_does_not_matter(tiny_vae: Path, vae: VAE, monkeypatch: pytest.MonkeyPatch):
    images, z = _images(7), _latents(7)
    together = vae.decode(z)
    torch.testing.assert_close(torch.cat([vae.decode(row[None]) for row in z]), together, atol=1e-5, rtol=0)
    alone = np.concatenate([vae.moments(row[None]) for row in images])
    np.testing.assert_allclose(alone, vae.moments(images), rtol=ROUNDING, atol=1e-5)
    monkeypatch.setattr("taildiff.models.codec.CHUNK_PIXELS", 3 * 32 * 32)
    torch.testing.assert_close(vae.decode(z), together, atol=1e-5, rtol=0)


def test_loading_draws_no_random_number_and_says_nothing(tiny_vae: Path, capfd: pytest.CaptureFixture[str]):
    before = torch.random.get_rng_state()
    load_vae(str(tiny_vae), SIZE).moments(_images(1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")


# Where it is read from


def test_forms_of_a_folder_are_one_vae(tiny_vae: Path, vae: VAE, tmp_path: Path):
    expected = vae.facts.hash
    shutil.copytree(tiny_vae, tmp_path / "pipeline" / "vae")
    AutoencoderKL.from_pretrained(tiny_vae).save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    assert _hash(tmp_path / "pipeline") == _hash(tmp_path / "sharded") == expected
    assert load_vae(str(tmp_path / "pipeline"), SIZE).facts.source == str(tmp_path / "pipeline")


def test_half_precision_is_widened(tiny_vae: Path, vae: VAE, tmp_path: Path, edited: Callable[..., Path]):
    AutoencoderKL.from_pretrained(tiny_vae).half().save_pretrained(tmp_path / "half", variant="fp16")

    def rounded(tensors: dict[str, torch.Tensor]) -> None:
        tensors.update({name: value.half().float() for name, value in tensors.items()})

    assert not (tmp_path / "half" / WEIGHTS).exists()
    half = load_vae(str(tmp_path / "half"), SIZE)
    assert half.facts.hash == _hash(edited(weights=rounded)) != vae.facts.hash
    assert half.decode(_latents(1)).dtype == torch.float32


def test_former_names_of_the_attention_are_known(vae: VAE, edited: Callable[..., Path]):
    def renamed(tensors: dict[str, torch.Tensor]) -> None:
        former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        for name in list(tensors):
            for new, old in former.items():
                if f".{new}." in name:
                    tensors[name.replace(f".{new}.", f".{old}.")] = tensors.pop(name)

    folder = edited(weights=renamed)
    assert "encoder.mid_block.attentions.0.proj_attn.bias" in load_file(folder / WEIGHTS)
    assert _hash(folder) == vae.facts.hash


def test_relative_folders_are_kept_as_absolute_ones(tiny_vae: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tiny_vae.parent)
    assert load_vae(tiny_vae.name, SIZE).facts.source == str(tiny_vae)


def test_a_name_of_the_hub_is_found_in_its_cache(
    tiny_vae: Path, vae: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    repo, commit = tmp_path / "models--someone--vae", "0" * 40
    shutil.copytree(tiny_vae, repo / "snapshots" / commit / "vae")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    facts = load_vae("someone/vae", SIZE).facts
    assert facts.source == "someone/vae"
    assert facts.hash == vae.facts.hash


class _Hub:
    """Files of one repository in place of the hub; nothing is in the cache."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path):
        self.folder, self.fetched = folder, list[str]()
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.download)
        monkeypatch.setattr(huggingface_hub.utils, "get_session", lambda: self)

    def head(self, url: str, timeout: float) -> None:
        assert url.startswith("http")

    def download(self, name: str, file: str, local_files_only: bool) -> str:
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError(f"{file} of {name} is not in the cache")
        if not (self.folder / file).exists():
            raise huggingface_hub.errors.EntryNotFoundError(f"{name} has no {file}")
        self.fetched.append(file)
        return str(self.folder / file)


def test_the_hub_is_asked_for_what_is_needed_alone(
    tiny_vae: Path, vae: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub = _Hub(monkeypatch, tiny_vae)
    assert load_vae("someone/vae", SIZE).facts.hash == vae.facts.hash
    assert hub.fetched == ["config.json", WEIGHTS]
    AutoencoderKL.from_pretrained(tiny_vae).save_pretrained(tmp_path / "vae", max_shard_size="20KB")
    hub = _Hub(monkeypatch, tmp_path)
    assert load_vae("someone/pipeline", SIZE).facts.hash == vae.facts.hash
    shards = sorted(path.name for path in (tmp_path / "vae").glob("*.safetensors"))
    assert hub.fetched == [f"vae/{name}" for name in ("config.json", f"{WEIGHTS}.index.json", *shards)]


def test_another_model_on_the_hub_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    (tmp_path / WEIGHTS).write_bytes(b"large")
    hub = _Hub(monkeypatch, tmp_path)
    with pytest.raises(InputError, match=r"someone/unet contains UNet2DModel: .* AutoencoderKL and AutoencoderTiny"):
        load_vae("someone/unet", SIZE)
    assert hub.fetched == ["config.json"]


def test_a_hub_without_an_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(InputError, match=r"cannot be reached .*hf download someone/vae --local-dir vae; copy .* path"):
        load_vae("someone/vae", SIZE)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("file", ["config.json", WEIGHTS])
@pytest.mark.parametrize("error", [ConnectionError, huggingface_hub.errors.LocalEntryNotFoundError])
def test_a_hub_that_breaks_off(tiny_vae: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception], file: str):
    hub, breaks = _Hub(monkeypatch, tiny_vae), file

    def broken(name: str, file: str, local_files_only: bool) -> str:
        if file == breaks and not local_files_only:
            raise error("broken off\nafter 3 bytes")  # the second is the hub library's word for no answer, too
        return hub.download(name, file, local_files_only)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", broken)
    with pytest.raises(InputError, match=r"someone/vae could not be downloaded .*: broken off\. On a machine"):
        load_vae("someone/vae", SIZE)


# What it is known by


def test_the_hash_knows_every_bit_of_the_weights(vae: VAE, edited: Callable[..., Path]):
    def flip(tensors: dict[str, torch.Tensor]) -> None:
        tensors["encoder.conv_in.weight"].view(torch.int32)[0, 0, 0, 0] ^= 1

    assert _hash(edited("copy")) == vae.facts.hash
    assert _hash(edited("flipped", flip)) != vae.facts.hash


@pytest.mark.parametrize(
    "entry", [{"scaling_factor": 0.5}, {"shift_factor": 0.1}, {"act_fn": "relu"}], ids=lambda entry: next(iter(entry))
)
def test_the_hash_knows_what_the_config_decides(vae: VAE, edited: Callable[..., Path], entry: dict[str, Any]):
    assert _hash(edited(**entry)) != vae.facts.hash


def test_the_hash_passes_over_the_rest(vae: VAE, tiny_taesd: Path, edited: Callable[..., Path]):
    other = {"_diffusers_version": "9", "_name_or_path": "x", "sample_size": 512, "force_upcast": False, "new": 1}
    assert _hash(edited(**other, shift_factor=0)) == vae.facts.hash
    assert _hash(edited("tiny", None, tiny_taesd, latent_magnitude=5)) == _hash(tiny_taesd)


def test_the_hash_takes_defaults_for_granted(vae: VAE, edited: Callable[..., Path]):
    folder = edited()
    entries = json.loads((folder / "config.json").read_text())
    for name in ("scaling_factor", "act_fn", "use_quant_conv", "latents_mean"):
        del entries[name]
    (folder / "config.json").write_text(json.dumps(entries))
    assert _hash(folder) == vae.facts.hash


# The codec of a network


def test_pixels_are_left_alone():
    x = torch.randn(2, 3, 4, 4)
    assert isinstance(codec(_facts(None)), Pixels)
    assert codec(_facts(None)).decode(x) is x
    with pytest.raises(InputError, match="--vae somewhere does not apply to a pixel-space run"):
        codec(_facts(None), "somewhere")


def test_the_vae_is_found_again(vae: VAE, edited: Callable[..., Path]):
    facts, z = vae.facts, _latents(2)
    found = codec(_facts(facts)).decode(z)
    assert torch.equal(found, vae.decode(z))
    assert torch.equal(found, codec(_facts(facts), str(edited("moved"))).decode(z))
    assert codec(_facts(facts, channels=1)).decode(z).shape == (2, 1, 32, 32)


def test_another_vae_is_refused(tiny_vae: Path, vae: VAE, edited: Callable[..., Path]):
    other = edited(weights=lambda tensors: tensors["decoder.conv_in.bias"].add_(1))
    with pytest.raises(CheckpointError, match=rf"{other} is another VAE .*{tiny_vae}, .*--vae PATH"):
        codec(_facts(vae.facts), str(other))


def test_a_vae_that_is_gone(tiny_vae: Path, edited: Callable[..., Path]):
    moved = edited("moved")
    facts = load_vae(str(moved), SIZE).facts
    shutil.rmtree(moved)
    with pytest.raises(InputError, match=rf"there is no folder {moved}.* --vae PATH"):
        codec(_facts(facts))
    codec(_facts(facts), str(tiny_vae))


# What is refused


def test_paths_that_lead_nowhere(tmp_path: Path):
    for source in ("./vae", str(tmp_path / "vae"), "~/no-such-vae", "a/b/c", "vae"):
        with pytest.raises(InputError, match=f"there is no folder {source}"):
            load_vae(source, SIZE)
    with pytest.raises(InputError, match=r"neither config\.json nor vae/config\.json"):
        load_vae(str(tmp_path), SIZE)


def test_a_file_in_place_of_its_folder(tiny_vae: Path):
    with pytest.raises(InputError, match="is a file: give the folder"):
        load_vae(str(tiny_vae / WEIGHTS), SIZE)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"_class_name": "AutoencoderDC"}, InputError, "contains AutoencoderDC: supported VAEs are AutoencoderKL and"),
        ({"_class_name": None}, InputError, "a model without a class name"),
        ({"_class_name": ["x"]}, InputError, "supported VAEs are"),
        ({"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}, InputError, "latents_mean, latents_std"),
        ({"in_channels": 4}, InputError, "maps 4 to 3 channels|do not fit"),
        ({"scaling_factor": 0}, CheckpointError, "config.json: scaling: Input should be greater than 0"),
        ({"scaling_factor": None}, CheckpointError, "config.json: scaling"),
        ({"scaling_factor": float("inf")}, CheckpointError, "config.json: scaling"),
        ({"shift_factor": "much"}, CheckpointError, "config.json: shift"),
        ({"norm_num_groups": 3}, CheckpointError, "diffusers cannot build an AutoencoderKL from .*config.json"),
        ({"block_out_channels": [8, 8]}, CheckpointError, "diffusers cannot build an AutoencoderKL from .*config.json"),
        ({"latent_channels": 8}, CheckpointError, r"decoder\.conv_in\.weight is \(8, 4, 3, 3\) rather than \(8, 8,"),
        ({"layers_per_block": 2}, CheckpointError, r"is missing; .* and \d+ more"),
        ({"use_quant_conv": False}, CheckpointError, r"quant_conv\.bias is not a parameter of this network"),
    ],
)
def test_configs_that_do_not_fit(edited: Callable[..., Path], config: dict[str, Any], error: type, message: str):
    with pytest.raises(error, match=message):
        load_vae(str(edited(**config)), SIZE)


@pytest.mark.parametrize("text", ["{", "[]", "\udc80"], ids=["cut", "list", "bytes"])
def test_a_config_that_is_no_record(edited: Callable[..., Path], text: str):
    folder = edited()
    (folder / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        load_vae(str(folder), SIZE)


def test_weights_that_are_damaged(edited: Callable[..., Path]):
    cut = edited("cut")
    (cut / WEIGHTS).write_bytes((cut / WEIGHTS).read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged or not a safetensors file"):
        load_vae(str(cut), SIZE)
    lost = edited("lost", lambda tensors: tensors.pop("decoder.conv_in.bias"))
    with pytest.raises(CheckpointError, match=r"do not fit its config\.json: decoder\.conv_in\.bias is missing$"):
        load_vae(str(lost), SIZE)
    bad = edited("bad", lambda tensors: tensors["quant_conv.bias"].fill_(float("nan")))
    with pytest.raises(CheckpointError, match=r"quant_conv\.bias contains non-finite values"):
        load_vae(str(bad), SIZE)


def test_weights_that_are_lost_or_pickled(
    tiny_vae: Path, tmp_path: Path, edited: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
):
    folder = edited()
    (folder / WEIGHTS).unlink()
    with pytest.raises(InputError, match=f"has no {WEIGHTS}. Copy that file into the folder as well"):
        load_vae(str(folder), SIZE)
    _Hub(monkeypatch, folder)
    with pytest.raises(InputError, match=r"\.bin files are pickles.*A\.from_pretrained\('someone/vae', use_safe"):
        load_vae("someone/vae", SIZE)
    (folder / "diffusion_pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(InputError, match=r"from diffusers import AutoencoderKL as A; .*use_safetensors=False"):
        load_vae(str(folder), SIZE)
    AutoencoderKL.from_pretrained(tiny_vae).save_pretrained(tmp_path / "pipe" / "vae", safe_serialization=False)
    with pytest.raises(InputError) as told:
        load_vae(str(tmp_path / "pipe"), SIZE)
    command = re.search(r'python -c "(.*)"; then', str(told.value))
    assert command
    monkeypatch.chdir(tmp_path)
    exec(command[1])  # what the message says works
    assert _hash(tmp_path / "converted") == _hash(tiny_vae)


def test_shards_that_are_lost_or_elsewhere(tiny_vae: Path, tmp_path: Path):
    AutoencoderKL.from_pretrained(tiny_vae).save_pretrained(tmp_path, max_shard_size="20KB")
    index = tmp_path / f"{WEIGHTS}.index.json"
    first = sorted(tmp_path.glob("*.safetensors"))[0]
    first.unlink()
    with pytest.raises(CheckpointError, match=f"{first.name} does not exist"):
        load_vae(str(tmp_path), SIZE)
    index.write_text(json.dumps({"weight_map": {"a": f"../{first.name}"}}))
    with pytest.raises(CheckpointError, match="does not map parameters"):
        load_vae(str(tmp_path), SIZE)


@pytest.mark.parametrize("size", [(36, 32), (32, 36)])
def test_sizes_that_do_not_divide(tiny_vae: Path, size: tuple[int, int]):
    message = rf"one latent of 8x8 pixels, but {size[0]}x{size[1]} pixels are not divisible by 8: .* another --size"
    with pytest.raises(InputError, match=message):
        load_vae(str(tiny_vae), size)


def test_sizes_below_one_latent(tiny_vae: Path):
    with pytest.raises(InputError, match="cannot take images of 4x4 pixels"):
        load_vae(str(tiny_vae), (4, 4))


def test_images_of_another_size(vae: VAE):
    with pytest.raises(DataError, match=r"\(16, 16, 3\) do not fit .* 32x32 pixels and 3 channels"):
        vae.moments(_images(1, (16, 16)))


@pytest.mark.parametrize("scale", [1e8, 1e38])
def test_codes_that_float16_cannot_hold(edited: Callable[..., Path], scale: float):
    folder = edited(weights=lambda tensors: tensors["quant_conv.weight"].mul_(scale))
    with pytest.raises(DataError, match=rf"the VAE {folder} gives codes .* for 2 of 2 images"):
        load_vae(str(folder), SIZE).moments(_images(2))
