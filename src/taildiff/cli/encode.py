"""`taildiff data encode`: encode a store once with a VAE, so that training on the latents needs no VAE."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.filesize import decimal

from taildiff.api.data import encode, open_store, open_vae
from taildiff.api.progress import reporting
from taildiff.cli.common import DeviceOption, command_line, next_steps, print_line, wants_progress
from taildiff.io.paths import usable_folder
from taildiff.log import log
from taildiff.recipes.checks import OLTR_IMAGES
from taildiff.spec import DataFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taildiff.data.latents import LatentMeta
    from taildiff.log import Progress

_IMAGENET = 1000, (4, 32, 32)  # classes and latent shape of the recipes imagenetlt256-*


@dataclass(frozen=True)
class Encode:
    """Write a VAE's latents of a store's training images and their mirror images. Rerun the same command to resume."""

    store: tyro.conf.Positional[Path]
    """A store written by `taildiff data prepare`."""
    vae: Annotated[str, tyro.conf.arg(metavar="PATH_OR_HUB")]
    """A folder with a diffusers AutoencoderKL or AutoencoderTiny, or OWNER/NAME on the Hugging Face Hub."""
    out: Path
    """The folder of latents to write."""
    batch_size: Annotated[int, tyro.conf.arg(metavar="N")] = 16
    """Images encoded at a time."""
    overwrite: bool = False
    """Replace existing latents at --out."""
    device: DeviceOption = None
    dry_run: bool = False
    """Check the store and the VAE and print what would be written; write nothing."""


def main(options: Encode) -> None:
    """Encode the store and print the result."""
    if options.dry_run:
        _dry(options)
        return
    from taildiff.data.latents import is_latents

    existed = is_latents(options.out) and not options.overwrite
    with resumable_progress(options.out) as progress:
        latents = encode(
            options.store,
            vae=options.vae,
            out=options.out,
            batch_size=options.batch_size,
            overwrite=options.overwrite,
            device=options.device,
            progress=progress,
        )
    _print_latents("Already encoded" if existed else "Encoded", latents.info, options.out)
    next_steps(
        command_line("data", "show", options.out),
        command_line("train", _recipe_for(latents.facts), "--data", options.out, "--out", "runs/first"),
    )


def _dry(options: Encode) -> None:
    from taildiff.data.encode import plan

    store = open_store(options.store, options.batch_size)
    place = usable_folder(options.out)
    info, done = plan(store, place, open_vae(options.vae, store, options.device).facts, options.overwrite)
    _print_latents("Already encoded" if done else "Would encode", done.info if done else info, options.out)


def _recipe_for(facts: DataFacts) -> str:
    if (facts.classes, facts.shape) != _IMAGENET:
        return "auto-sit-ccua"
    return "imagenetlt256-oltr-sit-s2" if sum(facts.counts) == OLTR_IMAGES else "imagenetlt256-sit-s2"


@contextmanager
def resumable_progress(out: Path) -> "Iterator[Progress]":
    """A progress bar; Ctrl-C prints how to resume what was being written to `out`, or to give it up."""
    from taildiff.io.staging import partial

    try:
        with reporting(wants_progress()) as progress:
            yield progress
    except KeyboardInterrupt:
        if (unfinished := partial(out)).exists():
            log.info(f"Stopped; rerun the same command to resume. To give up, remove {unfinished}")
        raise


def _print_latents(lead: str, info: "LatentMeta", out: Path) -> None:
    print_line(f"{lead}: {contents(info)}, in {out}")
    print_line(vae_line(info))


def contents(info: "LatentMeta") -> str:
    """What latents hold: how many, of which shape, in how many bytes."""
    codec = info.codec
    shape = f"{codec.channels}×{codec.height}×{codec.width}"
    return f"{info.rows:,} training images and their mirror images as latents of {shape}, {decimal(info.moments_bytes)}"


def vae_line(info: "LatentMeta") -> str:
    """One line about the VAE."""
    codec = info.codec
    shift = f", shift {codec.shift:g}" if codec.shift else ""
    return f"VAE: {codec.kind} {codec.source}, scaling {codec.scaling:g}{shift}, sha256 {codec.hash[:12]}"
