"""A small VAE for your own images, if you cannot download Stable Diffusion's: trained on a store, saved for diffusers.

    python examples/small_vae.py data/photos vae --steps 600
    taildiff data encode data/photos --vae vae --out data/photos-latents

A latent has 4 channels and an eighth of the side, like Stable Diffusion's. Loss: |x - x'| + |x - x'|^2 + beta KL on
random crops (the network is convolutional, so it works on whole images too); without a perceptual or adversarial loss
its images are soft. Its scaling factor gives latents of variance 1 (Rombach et al. 2022).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from taildiff.data.store import Store


def small_vae(width: int = 16) -> AutoencoderKL:
    """Factor 8, four channels."""
    return AutoencoderKL(
        block_out_channels=(width, 2 * width, 2 * width, 4 * width),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
    )


def crops(store: Store, positions: np.ndarray, side: int, random: np.random.Generator) -> Tensor:
    """(B, 3, side, side) in [-1, 1]."""
    height, width = store.images.shape[1:3]
    tops, lefts = (random.integers(0, length - side + 1, len(positions)) for length in (height, width))
    cut = [store.images[p, y : y + side, x : x + side] for p, y, x in zip(positions, tops, lefts, strict=True)]
    return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).float() / 127.5 - 1


def train(data: Path, out: Path, steps: int, batch: int = 8, side: int = 128, width: int = 16, seed: int = 0) -> None:
    torch.manual_seed(seed)
    store, vae, random = Store.open(data), small_vae(width), np.random.default_rng(seed)
    side = min(side, store.meta.height, store.meta.width)
    optimizer = torch.optim.Adam(vae.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=min(0.1, 2 / steps))
    rows = store.train_index
    share = 1 / np.bincount(store.labels[rows])[store.labels[rows]]  # each class equally often
    for step in range(steps):
        x = crops(store, random.choice(rows, batch, p=share / share.sum()), side, random)
        posterior = vae.encode(x).latent_dist
        difference = vae.decode(posterior.sample()).sample - x
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        loss = difference.abs().mean() + difference.square().mean() + 1e-3 * kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step:4}  mean error {127.5 * difference.abs().mean():.1f} of 255  KL {kl:.2f}", flush=True)
    with torch.inference_mode():
        latents = vae.encode(
            crops(store, random.choice(rows, 32, p=share / share.sum()), side, random)
        ).latent_dist.mean
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    vae.save_pretrained(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a store (taildiff data prepare)")
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=128, help="pixels a side of a crop")
    parser.add_argument("--width", type=int, default=16, help="channels of the first level")
    train(**vars(parser.parse_args()))
