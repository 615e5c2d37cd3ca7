"""`taildiff data encode`: a store through a VAE, once, so that training on its latents needs no VAE."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from taildiff.cli.common import command_line, console, next_steps, progress_bar
from taildiff.errors import InputError
from taildiff.log import log
from taildiff.recipes.latents import OLTR_IMAGES
from taildiff.spec import DataFacts

if TYPE_CHECKING:
    from taildiff.data.latents import LatentMeta, LatentStore
    from taildiff.data.store import Store
    from taildiff.models.codec import VAE

_IMAGENET = 1000, (4, 32, 32)  # classes and latents of the recipes imagenetlt256-*


@dataclass(frozen=True)
class Encode:
    """Write what a VAE makes of a store's training images and their mirrors; run again, go on where it stopped."""

    store: tyro.conf.Positional[Path]
    """A store, as taildiff data prepare makes it."""
    vae: Annotated[str, tyro.conf.arg(metavar="PATH_OR_HUB")]
    """A folder with an AutoencoderKL or AutoencoderTiny of diffusers, or OWNER/NAME on the Hugging Face hub."""
    out: Path
    """The latents to write."""
    batch_size: Annotated[int, tyro.conf.arg(metavar="N")] = 16
    """Images that are read at a time."""
    overwrite: bool = False
    """Replace latents that are already at --out."""
    dry_run: bool = False
    """Look at the store and the VAE, print what would be written, and do nothing."""


def encode(options: Encode) -> None:
    """Do it, and say what came of it."""
    from taildiff.data.encode import plan
    from taildiff.data.store import Store
    from taildiff.data.verify import affordable

    if options.batch_size < 1:
        raise InputError(f"--batch-size {options.batch_size}: at least one image is read at a time")
    store = Store.open(options.store)
    meta = store.meta
    from taildiff.models.codec import load_vae
    from taildiff.sampling.generate import best_device  # torch: a wrong store is told before

    vae = load_vae(options.vae, (meta.height, meta.width), best_device(), meta.channels)
    info, done = plan(store, options.out, vae.facts, options.overwrite)
    if options.dry_run:
        _tell("Already encoded" if done else "Would encode", done.info if done else info, options.out)
        return
    if done is None and not affordable(store):
        log.info(f"{store.root} is too large to check each time; to check it: taildiff data show PATH --verify")
    latents = done or _encode(options, store, vae)
    _tell("Already encoded" if done else "Encoded", latents.info, options.out)
    next_steps(
        command_line("data", "show", options.out),
        command_line("train", _recipe_for(latents.facts), "--data", options.out, "--out", "runs/first"),
    )


def _recipe_for(facts: DataFacts) -> str:
    if (facts.classes, facts.shape) != _IMAGENET:
        return "auto-sit-ccua"
    return "imagenetlt256-oltr-sit-s2" if sum(facts.counts) == OLTR_IMAGES else "imagenetlt256-sit-s2"


def _encode(options: Encode, store: "Store", vae: "VAE") -> "LatentStore":
    from taildiff.data import encode
    from taildiff.io.staging import lasting_partial

    try:
        with progress_bar() as progress:
            return encode.encode(
                store, options.out, vae.facts, vae.moments, options.batch_size, progress, options.overwrite
            )
    except KeyboardInterrupt:
        if (rest := lasting_partial(options.out)).exists():
            log.info(f"Stopped; rerun the same command to resume. To give up, remove {rest}")
        raise


def _tell(lead: str, info: "LatentMeta", out: Path) -> None:
    console.print(
        f"{lead}: {info.rows:,} training images and their mirrors as latents of {sides(info)}, "
        f"{amount(info.moments_bytes)}, in {out}",
        markup=False,
        soft_wrap=True,
    )
    console.print(vae_line(info), markup=False, soft_wrap=True)


def sides(info: "LatentMeta") -> str:
    """Such as `4×32×32`."""
    codec = info.codec
    return f"{codec.channels}×{codec.height}×{codec.width}"


def vae_line(info: "LatentMeta") -> str:
    """The VAE in one line."""
    codec = info.codec
    shift = f", shift {codec.shift:g}" if codec.shift else ""
    return f"VAE: {codec.kind} {codec.source}, scaling {codec.scaling:g}{shift}, sha256 {codec.hash[:12]}"


def amount(size: int) -> str:
    """Such as `7.6 GB`."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1e3:.1f} kB"
