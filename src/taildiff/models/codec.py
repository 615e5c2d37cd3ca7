"""The map between images and the network's space: the identity (pixels) or a VAE (Rombach et al. 2022, section 3.1).

A VAE encodes an image x in [-1, 1] as a normal distribution N(mean, std^2) over codes. The network sees
z = (code - shift) scaling, which has about unit variance; an image is decoded from code = z / scaling + shift.
AutoencoderTiny (TAESD) has no distribution: its std is 0.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from taildiff.data.batches import to_tensor
from taildiff.errors import CheckpointError, DataError, InputError
from taildiff.models.vae_files import Autoencoder, read_autoencoder
from taildiff.run.weights import content_hash
from taildiff.spec import CodecFacts, DataFacts, explain

CHUNK_PIXELS = 4 * 256 * 256
"""Pixels that a VAE processes at once: 4 images of 256x256."""
_NO_EFFECT = {"sample_size", "force_upcast", "latent_magnitude", "latent_shift", "block_out_channels"}
"""Config entries that do not affect `encode` and `decode`, or only through the parameters' shapes."""


class Codec(Protocol):
    """Decodes the network's output to images."""

    def decode(self, z: Tensor) -> Tensor:
        """(b, c, h, w), on any device -> (b, C, H, W) float32 in [-1, 1]."""
        ...


class Pixels:
    """The network works on the images themselves."""

    def decode(self, z: Tensor) -> Tensor:
        """The input, unchanged."""
        return z


class VAE:
    """Encodes and decodes in small chunks and always in float32; `load_vae` makes one."""

    def __init__(self, network: Any, facts: CodecFacts, size: tuple[int, int], channels: int):
        self.facts = facts
        self.size, self.channels = size, channels
        self._network = network
        self._device = next(network.parameters()).device

    def moments(self, images: np.ndarray) -> np.ndarray:
        """uint8 (b, H, W, 3 or 1) -> float16 (b, 2, c, h, w): mean and std of the codes, before shift and scaling.

        `DataError` for images of another size and for codes beyond the range of float16.
        """
        if images.shape[1:3] != self.size or images.shape[3] not in (1, self._network.config.in_channels):
            raise DataError(
                f"images of shape {images.shape[1:]} do not fit the VAE {self.facts.source}, which was opened for "
                f"{self.size[0]}x{self.size[1]} pixels and {self._network.config.in_channels} channels"
            )
        facts = self.facts
        moments = np.empty((len(images), 2, facts.channels, facts.height, facts.width), np.float16)
        for part in _parts(len(images), self.size):
            with _exact(self._device), np.errstate(over="ignore"):
                moments[part] = self._encode(to_tensor(images[part])).cpu().numpy()
        bad = ~np.isfinite(moments).all(axis=(1, 2, 3, 4))
        if bad.any():
            raise DataError(
                f"the VAE {facts.source} gives codes that are not finite in float16 for {bad.sum()} of {len(images)} "
                "images: it is damaged or not made for such images; use another VAE"
            )
        return moments

    def decode(self, z: Tensor) -> Tensor:
        """(b, c, h, w), on any device -> (b, C, H, W) float32 in [-1, 1] on the VAE's device."""
        return decode(self._network, z, self.facts.scaling, self.facts.shift, self.channels, self.size)

    def _encode(self, x: Tensor) -> Tensor:
        """(b, C, H, W) in [-1, 1] -> (b, 2, c, h, w)."""
        colours = self._network.config.in_channels
        encoded = self._network.encode(x.to(self._device).expand(-1, colours, -1, -1))
        if self.facts.kind == "AutoencoderTiny":
            return torch.stack([encoded.latents, torch.zeros_like(encoded.latents)], dim=1)
        return torch.stack([encoded.latent_dist.mean, encoded.latent_dist.std], dim=1)


def load_vae(source: str, size: tuple[int, int], device: str | torch.device = "cpu", channels: int = 3) -> VAE:
    """The VAE in a folder or on the Hugging Face Hub, for images of `size` (H, W) with 1 or 3 `channels`.

    A folder holds `config.json` and `diffusion_pytorch_model.safetensors`, or is a pipeline with these in `vae/`. Grey
    images are repeated for a colour VAE, and its output is averaged. Raises `InputError` (nothing to read, another kind
    of model, a size that does not fit) and `CheckpointError` (damaged).
    """
    net = read_autoencoder(source, size)
    config = net.module.config
    if getattr(config, "latents_mean", None) is not None or getattr(config, "latents_std", None) is not None:
        raise InputError(
            f"{source} has statistics per latent channel (latents_mean, latents_std), which are not supported: "
            "use a VAE with one scaling_factor"
        )
    if config.in_channels != config.out_channels or config.in_channels not in (1, 3):
        raise InputError(f"{source} maps {config.in_channels} to {config.out_channels} channels: use one with 1 or 3")
    if config.in_channels < channels:
        raise InputError(f"{source} is a VAE for grey images, but these are in colour: use one with 3 channels")
    c, h, w = net.latent_shape
    scaling, shift = config.scaling_factor, 0.0 if config.shift_factor is None else config.shift_factor
    try:
        facts = CodecFacts(
            source=net.source, kind=net.kind, hash="", channels=c, height=h, width=w, scaling=scaling, shift=shift
        )
    except ValidationError as error:
        raise CheckpointError(explain(error, f"{source}: config.json")) from None
    facts = facts.model_copy(update={"hash": _hash(net, facts)})
    return VAE(net.module.to(device), facts, size, channels)


def codec(facts: DataFacts, source: str | None = None, device: str | torch.device = "cpu") -> Codec:
    """The codec of a network trained on this data, its VAE read from `source` or from where it was first loaded.

    `CheckpointError` for another VAE; `InputError` when it is missing, or given but not needed.
    """
    if facts.codec is None:
        if source is not None:
            raise InputError(f"--vae {source} does not apply to a pixel-space run; remove it")
        return Pixels()
    try:
        vae = load_vae(source or facts.codec.source, (facts.height, facts.width), device, facts.channels)
    except (InputError, OSError) as error:  # OSError: a path that is too long, or in a folder of somebody else
        if source is not None:
            raise
        kind = type(error) if isinstance(error, InputError) else InputError
        raise kind(f"the VAE of these latents cannot be loaded: {error}. If it has moved: --vae PATH") from None
    if vae.facts.hash != facts.codec.hash:
        raise CheckpointError(
            f"{vae.facts.source} is another VAE (sha256 {vae.facts.hash[:12]}) than the one that made the latents "
            f"({facts.codec.source}, sha256 {facts.codec.hash[:12]}): give that one with --vae PATH"
        )
    return vae


def _hash(network: Autoencoder, facts: CodecFacts) -> str:
    """sha256 over class, relevant config entries and parameters (float32, under current names)."""
    entries = {name: value for name, value in network.entries.items() if name not in _NO_EFFECT}
    entries |= {"scaling_factor": facts.scaling, "shift_factor": facts.shift}  # None equals 0, and 1 equals 1.0
    return content_hash(network.module.state_dict(), {"class": network.kind, "config": entries})


def decode(network: Any, z: Tensor, scaling: float, shift: float, channels: int, size: tuple[int, int]) -> Tensor:
    """What an autoencoder of diffusers makes of latents (b, c, h, w): (b, C, H, W) float32 in [-1, 1]."""
    device = next(network.parameters()).device
    images = torch.empty((len(z), channels, *size), device=device)
    for part in _parts(len(z), size):
        with _exact(device):
            pixels = network.decode(z[part].to(device, torch.float32) / scaling + shift).sample.clamp(-1, 1)
            images[part] = pixels if pixels.shape[1] == channels else pixels.mean(dim=1, keepdim=True)
    return images


def _parts(count: int, size: tuple[int, int]) -> Iterator[slice]:
    """Chunks of `count` images, so that memory does not grow with their number."""
    chunk = max(1, CHUNK_PIXELS // (size[0] * size[1]))
    return (slice(start, start + chunk) for start in range(0, count, chunk))


@contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """Reproducible float32: no gradients, no outer autocast, no TF32, no search for fast kernels."""
    with (
        torch.inference_mode(),
        torch.autocast(device.type, enabled=False),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        yield
