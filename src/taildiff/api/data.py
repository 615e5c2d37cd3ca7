"""`taildiff.prepare` and `taildiff.encode`."""

import os
from pathlib import Path
from typing import Any

from taildiff.api.progress import reporting
from taildiff.data.latents import LatentStore
from taildiff.data.store import Store
from taildiff.errors import InputError
from taildiff.log import Progress

AnyPath = str | os.PathLike[str]


def prepare(
    importer: str,
    source: AnyPath | None = None,
    *,
    out: AnyPath,
    size: int | None = None,
    strict: bool = False,
    overwrite: bool = False,
    progress: bool | Progress = False,
    **options: Any,
) -> Store:
    """Write all images of a source into a store that runs train on; the same call resumes after an interruption.

    Args:
        importer: `folder`, `npz`, `cifar10`, …; `taildiff data prepare --help` lists them with their options.
        source: the file or folder that the importer reads.
        out: the store to write.
        size: pixels per side, by centre crop and resizing; default: the images' common size, 32, or 64.
        strict: reject broken images instead of skipping them.
        overwrite: replace an existing store.
        progress: True draws a progress bar, a callback gets (stage, done, total).
        **options: the importer's own options, such as `test="photos/test"`.

    Raises:
        TaildiffError: for an unknown importer or option, images that cannot be used, or something else at `out`.
    """
    from taildiff.data import prepare as rooms
    from taildiff.data.formats import find

    if size is not None:
        rooms.check_size(size)
    found = find(importer, None if source is None else Path(source), options)
    with reporting(progress) as report:
        return rooms.prepare(found, Path(out), size, strict=strict, progress=report, overwrite=overwrite)


def encode(
    store: AnyPath | Store,
    *,
    vae: str,
    out: AnyPath,
    batch_size: int = 16,
    overwrite: bool = False,
    progress: bool | Progress = False,
) -> LatentStore:
    """Write the latents that a VAE makes of a store's training images; the same call resumes after an interruption.

    Args:
        store: a store, or its path.
        vae: a folder with an AutoencoderKL or AutoencoderTiny of diffusers, or OWNER/NAME on the Hugging Face Hub.
        out: the latents to write.
        batch_size: images read at a time.
        overwrite: replace existing latents.
        progress: True draws a progress bar, a callback gets (stage, done, total).

    Raises:
        TaildiffError: for a store or VAE that cannot be used, or something else at `out`.
    """
    if batch_size < 1:
        raise InputError(f"--batch-size {batch_size}: must be at least 1")
    store = store if isinstance(store, Store) else Store.open(Path(store))
    from taildiff.data.encode import encode as write_latents
    from taildiff.models.codec import load_vae
    from taildiff.sampling.generate import best_device  # torch

    loaded = load_vae(vae, (store.meta.height, store.meta.width), best_device(), store.meta.channels)
    with reporting(progress) as report:
        return write_latents(store, Path(out), loaded.facts, loaded.moments, batch_size, report, overwrite)
