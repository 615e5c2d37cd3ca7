"""Speed of encoding a store of 256x256 images to latents: without a VAE, or with one of Stable Diffusion's size.

    python benchmarks/encode.py [--images 8000] [--vae] [--folder /tmp]

Without `--vae` a function that returns zeros replaces it, which leaves reading, hashing and writing. With it a VAE with
random weights is built, on the GPU if there is one; its speed does not depend on the weights.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from taildiff.data.encode import Moments, encode
from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.device import chosen_device
from taildiff.models.codec import load_vae
from taildiff.spec import CodecFacts

SIZE = 256
ZEROS = CodecFacts(source="zeros", kind="AutoencoderKL", hash="0", channels=4, height=32, width=32, scaling=0.18215)


def make_store(path: Path, count: int) -> Store:
    """A store of random images, one hundred of them repeated."""
    images = np.random.default_rng(0).integers(0, 256, (100, SIZE, SIZE, 3), dtype=np.uint8)
    with StoreWriter(path, "random", ("a", "b"), (SIZE, SIZE, 3), SourceMeta(source="random")) as writer:
        for start in range(0, count, 100):
            n = min(100, count - start)
            writer.append(images[:n], np.arange(n) % 2, np.zeros(n, np.bool_))
        return writer.close()


def encoder(folder: Path, real: bool) -> tuple[CodecFacts, Moments]:
    """A VAE, or its replacement."""
    if not real:
        zeros = np.zeros((16, 2, 4, 32, 32), np.float16)
        return ZEROS, lambda images: zeros[: len(images)]
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    network: Any = AutoencoderKL  # its annotations are narrower than what it accepts
    down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    network(3, 3, down, up, (128, 256, 512, 512), layers_per_block=2).save_pretrained(folder / "vae")
    vae = load_vae(str(folder / "vae"), (SIZE, SIZE), chosen_device())
    vae.moments(np.zeros((16, SIZE, SIZE, 3), np.uint8))  # the first batch loads kernels
    return vae.facts, vae.moments


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--vae", action="store_true")
    parser.add_argument("--folder", default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        store = make_store(folder / "store", options.images)
        codec, moments = encoder(folder, options.vae)
        start = time.perf_counter()
        latents = encode(store, folder / "latents", codec, moments)
        seconds = time.perf_counter() - start
        size = latents.info.moments_bytes
        print(f"device            {chosen_device() if options.vae else 'no VAE'}")
        print(f"images and mirrors {options.images:,} in {seconds:.1f} s, {options.images / seconds:.1f} images/s")
        print(f"moments.npy       {size / 1e6:.1f} MB, {size / options.images:,.0f} bytes per image")


if __name__ == "__main__":
    main()
