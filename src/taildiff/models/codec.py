"""Between images and what the network works on: nothing (pixels), or a VAE (Rombach et al. 2022, section 3.1).

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
"""Pixels that a VAE sees at once: 4 images of 256x256."""
_NO_EFFECT = {"sample_size", "force_upcast", "latent_magnitude", "latent_shift", "block_out_channels"}
"""Entries of a config that change no number of `encode` and `decode` beyond what the parameters' shapes say."""


class Codec(Protocol):
    """The way back to images."""

    def decode(self, z: Tensor) -> Tensor:
        """(b, c, h, w), on any device -> (b, C, H, W) float32 in [-1, 1]."""
        ...


class Pixels:
    """The network works on the images themselves."""

    def decode(self, z: Tensor) -> Tensor:
        """What is given."""
        return z


class VAE:
    """Encodes and decodes in small chunks in float32, whatever surrounds it; `load_vae` makes one."""

    def __init__(self, network: Any, facts: CodecFacts, size: tuple[int, int], channels: int):
        self.facts = facts
        self.size, self.channels = size, channels
        self._network = network
        self._device = next(network.parameters()).device
        self._chunk = max(1, CHUNK_PIXELS // (size[0] * size[1]))

    def moments(self, images: np.ndarray) -> np.ndarray:
        """uint8 (b, H, W, 3 or 1) -> float16 (b, 2, c, h, w): mean and std of the codes, before shift and scaling.

        `DataError` for images of another size and for codes that float16 cannot hold.
        """
        if images.shape[1:3] != self.size or images.shape[3] not in (1, self._network.config.in_channels):
            raise DataError(
                f"images of shape {images.shape[1:]} do not fit the VAE {self.facts.source}, which was opened for "
                f"{self.size[0]}x{self.size[1]} pixels and {self._network.config.in_channels} channels"
            )
        facts = self.facts
        found = np.empty((len(images), 2, facts.channels, facts.height, facts.width), np.float16)
        for part in self._parts(len(images)):
            with _exact(self._device), np.errstate(over="ignore"):
                found[part] = self._encode(to_tensor(images[part])).cpu().numpy()
        bad = ~np.isfinite(found).all(axis=(1, 2, 3, 4))
        if bad.any():
            raise DataError(
                f"the VAE {facts.source} gives codes that are no numbers or beyond float16's 65504 for {bad.sum()} of "
                f"{len(images)} images: it is damaged, or not made for such images; use another VAE"
            )
        return found

    def decode(self, z: Tensor) -> Tensor:
        """(b, c, h, w), on any device -> (b, C, H, W) float32 in [-1, 1] on the VAE's device."""
        images = torch.empty((len(z), self.channels, *self.size), device=self._device)
        for part in self._parts(len(z)):
            with _exact(self._device):
                codes = z[part].to(self._device, torch.float32) / self.facts.scaling + self.facts.shift
                pixels = self._network.decode(codes).sample.clamp(-1, 1)
                images[part] = pixels if pixels.shape[1] == self.channels else pixels.mean(dim=1, keepdim=True)
        return images

    def _encode(self, x: Tensor) -> Tensor:
        """(b, C, H, W) in [-1, 1] -> (b, 2, c, h, w)."""
        colours = self._network.config.in_channels
        encoded = self._network.encode(x.to(self._device).expand(-1, colours, -1, -1))
        if self.facts.kind == "AutoencoderTiny":
            return torch.stack([encoded.latents, torch.zeros_like(encoded.latents)], dim=1)
        return torch.stack([encoded.latent_dist.mean, encoded.latent_dist.std], dim=1)

    def _parts(self, count: int) -> Iterator[slice]:
        """Chunks of what is given, so that memory does not grow with it."""
        return (slice(start, start + self._chunk) for start in range(0, count, self._chunk))


def load_vae(source: str, size: tuple[int, int], device: str | torch.device = "cpu", channels: int = 3) -> VAE:
    """The VAE of a folder or of a name on the Hugging Face hub, for images of `size` (H, W) and 1 or 3 `channels`.

    A folder has `config.json` and `diffusion_pytorch_model.safetensors`, or is a pipeline's with these in `vae/`. Grey
    images are repeated for a VAE of colours, whose answer is then averaged. Raises `InputError` (nothing to read,
    another kind of model, a size that does not fit) and `CheckpointError` (damaged).
    """
    found = read_autoencoder(source, size)
    config = found.module.config
    if getattr(config, "latents_mean", None) is not None or getattr(config, "latents_std", None) is not None:
        raise InputError(
            f"{source} has statistics for each latent channel (latents_mean, latents_std), which are not supported: "
            "use a VAE with one scaling_factor"
        )
    if config.in_channels != config.out_channels or config.in_channels not in (1, 3):
        raise InputError(f"{source} takes {config.in_channels} channels and gives {config.out_channels}: 1 or 3 work")
    if config.in_channels < channels:
        raise InputError(f"{source} is a VAE for grey images, and these have colours: use one with 3 channels")
    c, h, w = found.latent_shape
    scaling, shift = config.scaling_factor, 0.0 if config.shift_factor is None else config.shift_factor
    try:
        facts = CodecFacts(
            source=found.source, kind=found.kind, hash="", channels=c, height=h, width=w, scaling=scaling, shift=shift
        )
    except ValidationError as error:
        raise CheckpointError(explain(error, f"{source}: config.json")) from None
    facts = facts.model_copy(update={"hash": _hash(found, facts)})
    return VAE(found.module.to(device), facts, size, channels)


def codec(facts: DataFacts, source: str | None = None, device: str | torch.device = "cpu") -> Codec:
    """What decodes for a network trained on this data: with its VAE from `source`, or from where it was first loaded.

    `CheckpointError` for another VAE, `InputError` where there is none, or where one is named and none is needed.
    """
    if facts.codec is None:
        if source is not None:
            raise InputError(f"--vae {source} has no meaning for a run on pixels: leave it out")
        return Pixels()
    size = facts.height, facts.width
    if source is not None:
        vae = load_vae(source, size, device, facts.channels)
    else:
        try:
            vae = load_vae(facts.codec.source, size, device, facts.channels)
        except InputError as error:
            raise type(error)(
                f"the VAE of these latents cannot be loaded: {error}. If it is elsewhere now: --vae PATH"
            ) from None
    if vae.facts.hash != facts.codec.hash:
        raise CheckpointError(
            f"{vae.facts.source} is another VAE (sha256 {vae.facts.hash[:12]}) than the latents were made with "
            f"({facts.codec.source}, sha256 {facts.codec.hash[:12]}): give that one with --vae PATH"
        )
    return vae


def _hash(found: Autoencoder, facts: CodecFacts) -> str:
    """sha256 over class, entries of the config that count, and parameters (float32, by their names of today)."""
    entries = {name: value for name, value in found.entries.items() if name not in _NO_EFFECT}
    entries |= {"scaling_factor": facts.scaling, "shift_factor": facts.shift}  # None and 0, 1 and 1.0 are the same
    return content_hash(found.module.state_dict(), {"class": found.kind, "config": entries})


@contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """Float32 in the same way each time: no gradients, no autocast around us, no TF32, no search for fast kernels."""
    with (
        torch.inference_mode(),
        torch.autocast(device.type, enabled=False),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        yield
