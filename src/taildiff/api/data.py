"""`taildiff.prepare` and `taildiff.encode`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taildiff.api.progress import reporting
from taildiff.device import chosen_device
from taildiff.errors import InputError, unknown
from taildiff.io.paths import output_path, text_path, usable_folder
from taildiff.log import Progress, log

if TYPE_CHECKING:
    from taildiff.data.holdout import HoldOut
    from taildiff.data.latents import LatentStore
    from taildiff.data.source import Found
    from taildiff.data.store import Store
    from taildiff.exporting.dataset import DataFormat
    from taildiff.models.codec import VAE

AnyPath = str | os.PathLike[str]


def prepare(
    importer: str,
    source: AnyPath | None = None,
    *,
    out: AnyPath,
    size: int | None = None,
    white: int | None = None,
    strict: bool = False,
    overwrite: bool = False,
    hold_out: float | None = None,
    hold_out_seed: int = 0,
    progress: bool | Progress = False,
    **options: Any,
) -> "Store":
    """Write all images of a source into a store that runs train on; the same call resumes after an interruption.

    Args:
        importer: `folder`, `npz`, `cifar10`, …; `taildiff data prepare --help` lists them with their options.
        source: the file or folder that the importer reads.
        out: the store to write.
        size: pixels per side, by centre crop and resizing; default: the images' common size, 32, or 64.
        white: the pixel value that is white, such as 4095 for 12 bits in files of 16; default: 255 or 65535.
        strict: reject broken images, other image formats and links that lead nowhere instead of skipping them.
        overwrite: replace an existing store.
        hold_out: the share of each class to hold out of training, for a source without held-out images.
        hold_out_seed: another seed holds out other images.
        progress: True draws a progress bar, a callback gets (stage, done, total).
        **options: the importer's own options, such as `test="photos/test"`.

    Raises:
        TaildiffError: for an unknown importer or option, images that cannot be used, or something else at `out`.
    """
    from taildiff.data.prepare import prepare as prepare_images

    place, held_out = usable_folder(out), holding_out(hold_out, hold_out_seed)
    found = find_source(importer, source, size, options)
    with reporting(progress) as report:
        return prepare_images(
            found,
            place,
            size,
            strict=strict,
            progress=report,
            overwrite=overwrite,
            white=white,
            hold_out=held_out,
        )


def holding_out(share: float | None, seed: int) -> "HoldOut | None":
    """What to hold out of each class; `InputError` for a share that is not between 0 and 1, or a seed without one."""
    from taildiff.data.holdout import HoldOut

    if share is None and seed:
        raise InputError("--hold-out-seed needs a share to hold out; give --hold-out 0.2, or remove it")
    return None if share is None else HoldOut(share, seed)


def find_source(
    importer: str, source: AnyPath | None, size: int | None = None, options: Mapping[str, Any] | None = None
) -> "Found":
    """The images to prepare, as the importer finds them; `InputError` for an impossible size or option."""
    from taildiff.data.formats import find
    from taildiff.data.prepare import check_size

    if size is not None:
        check_size(size)
    return find(importer, None if source is None else text_path(source, "source"), options)


def encode(
    store: "AnyPath | Store",
    *,
    vae: str,
    out: AnyPath,
    batch_size: int = 16,
    overwrite: bool = False,
    device: str | None = None,
    progress: bool | Progress = False,
) -> "LatentStore":
    """Write the latents that a VAE makes of a store's training images; the same call resumes after an interruption.

    Args:
        store: a store, or its path.
        vae: a folder with an AutoencoderKL or AutoencoderTiny of diffusers, or OWNER/NAME on the Hugging Face Hub.
        out: the latents to write.
        batch_size: images read at a time.
        overwrite: replace existing latents.
        device: `cpu`, `cuda` or `mps`; default: `cuda` where there is one, else `cpu`.
        progress: True draws a progress bar, a callback gets (stage, done, total).

    Raises:
        TaildiffError: for a store or VAE that cannot be used, or something else at `out`.
    """
    from taildiff.data.encode import encode as encode_images
    from taildiff.data.latents import is_latents
    from taildiff.data.verify import affordable

    place = usable_folder(out)
    source = open_store(store, batch_size)
    loaded = open_vae(vae, source, device)
    if not is_latents(place) and not affordable(source):
        log.info(
            f"{source.root} is too large to be verified on every run; to verify it: taildiff data show PATH --verify"
        )
    with reporting(progress) as report:
        return encode_images(source, place, loaded.facts, loaded.moments, batch_size, report, overwrite)


def export_data(
    store: "AnyPath | Store",
    *,
    to: "DataFormat",
    out: AnyPath | None = None,
    progress: bool | Progress = False,
) -> Path:
    """Write a store for other programs and return the folder or file; `prepare` reads it back without loss.

    Args:
        store: a store, or its path.
        to: `imagefolder` (PNG files by class, below train/ and test/ where images are held out), `parquet` (as on the
            Hugging Face Hub, with class names), or `npz` (images, labels, test, class_names).
        out: a new folder or .npz file; default: beside the store.
        progress: True draws a progress bar, a callback gets (stage, done, total).

    Raises:
        TaildiffError: for what is no store, an `out` that exists, or pyarrow missing (`pip install 'taildiff[hf]'`).
    """
    from taildiff.exporting.dataset import FORMATS, default_out
    from taildiff.exporting.dataset import export_data as write

    if to not in FORMATS:
        raise InputError(unknown("format", to, FORMATS))
    source = open_store(store, 1)
    place = default_out(source.root, to) if out is None else output_path(out)
    with reporting(progress) as report:
        return write(source, place, to, report)


def open_store(store: "AnyPath | Store", batch_size: int) -> "Store":
    """The store to encode; `InputError` for a batch size below 1, `DataError` for what is no store."""
    from taildiff.data.store import Store

    if batch_size < 1:
        raise InputError(f"--batch-size {batch_size} must be at least 1")
    return store if isinstance(store, Store) else Store.open(text_path(store, "store"))


def open_vae(vae: str, store: "Store", device: str | None = None) -> "VAE":
    """The VAE for the images of a store, on a device by name or the best one; `SpecError` for one that is not there."""
    from taildiff.models.codec import load_vae  # torch

    return load_vae(vae, (store.meta.height, store.meta.width), chosen_device(device), store.meta.channels)
