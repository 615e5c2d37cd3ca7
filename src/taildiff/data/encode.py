"""Encode a store as latents: every training image and its mirror through a VAE's encoder, once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from taildiff.data.latents import LatentMeta, LatentStore, is_latents, origin
from taildiff.data.store import Store
from taildiff.data.store_files import MOMENTS, write_latent_meta, write_names
from taildiff.data.verify import verify
from taildiff.errors import DataError
from taildiff.io.resumable_array import Header, ResumableArray, read_shards, remove_log
from taildiff.io.staging import check_space, keep_apart, one_writer, partial, put_back, sweep
from taildiff.log import Progress, silent
from taildiff.spec import CodecFacts

Moments = Callable[[np.ndarray], np.ndarray]
"""uint8 (b, H, W, C) -> float16 (b, 2, c, h, w): mean and standard deviation of each image's latent, unscaled."""


def encode(
    store: Store,
    out: Path,
    codec: CodecFacts,
    moments: Moments,
    batch_size: int = 16,
    progress: Progress = silent,
    overwrite: bool = False,
) -> LatentStore:
    """The latents of `store`, written to `out` with `batch_size` images in memory at a time.

    After a kill, Ctrl-C or an error the next call resumes; the result is the same byte for byte (at the same batch
    size). Another process that writes `out` is waited for. `DataError` when the store is damaged, `out` holds something
    else, or the disk is too small.
    """
    with one_writer(out):
        sweep(out)
        info, done = plan(store, out, codec, overwrite)
        if done:
            remove_log(out)
            return done
        verify(store)
        header = _header(info)
        with ResumableArray(out, MOMENTS, np.dtype(np.float16), header, BaseException, held=True) as array:
            _encode_all(store, array, moments, batch_size, progress)
            _finish(store, array, info)
    return LatentStore.open(out)


def _finish(store: Store, array: ResumableArray, info: LatentMeta) -> None:
    """Write everything but the moments, and publish."""
    array.finish()
    array.add_array("labels.npy", store.labels)
    array.add_array("test.npy", store.test)
    if store.names is not None:
        write_names(array.partial / "names.txt", list(store.names))
    array.hash.update("\0".join(store.meta.class_names).encode())
    array.hash.update(origin(store.meta, info.codec))
    write_latent_meta(array.partial, info.model_copy(update={"hash": array.hash.hexdigest()}))
    array.publish()


def plan(store: Store, out: Path, codec: CodecFacts, overwrite: bool = False) -> tuple[LatentMeta, LatentStore | None]:
    """latents.json as `encode` will write it, without the hash, and the latents if they exist already.

    Raises the same errors as `encode`; writes nothing.
    """
    rows = len(store.train_index)
    if not rows:
        raise DataError(f"{store.root} has no training images to encode; all are held out")
    info = LatentMeta(pixels=store.meta, pixels_path=str(store.root.resolve()), codec=codec, rows=rows, hash="")
    done = encoded_before(store, out, codec, overwrite)
    if done is None:
        if not overwrite:
            _refuse_other_unfinished(out, _header(info))
        check_space(out, MOMENTS, info.moments_bytes)
    return info, done


def _header(info: LatentMeta) -> Header:
    return Header(key={"images": info.pixels.hash, "vae": info.codec.hash}, shape=info.shape[1:])


def _refuse_other_unfinished(out: Path, header: Header) -> None:
    """`DataError` where other latents are half done at `out`, so that hours of work are not discarded silently."""
    unfinished = partial(out)
    other, shards = read_shards(unfinished)
    if other is None or other == header or not shards:
        return
    what = "of these images by another VAE" if other.key.get("images") == header.key["images"] else "of other images"
    raise DataError(
        f"{unfinished} has {sum(shard.rows for shard in shards):,} unfinished latents {what}; "
        "choose another --out, or give --overwrite to discard them"
    )


def encoded_before(store: Store, out: Path, codec: CodecFacts, overwrite: bool) -> LatentStore | None:
    """The latents at `out` if they equal those to be made; None if they must be made; `DataError` for anything else.

    `overwrite` replaces latents, but never anything else.
    """
    keep_apart(out, [store.root])
    put_back(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not is_latents(out):
        raise DataError(f"{out} exists and holds no latents; choose another --out")
    if overwrite:
        return None
    latents = LatentStore.open(out)
    info = latents.info
    if info.pixels.hash != store.meta.hash:
        other = f"of {info.pixels.name} in {info.pixels_path}, not of {store.meta.name} in {store.root}"
    elif info.codec.hash != codec.hash:
        other = f"by the VAE {info.codec.source}, not by {codec.source}"
    else:
        return latents
    raise DataError(f"{out} already holds latents {other}; choose another --out, or give --overwrite to replace them")


def _encode_all(store: Store, array: ResumableArray, moments: Moments, batch_size: int, progress: Progress) -> None:
    """Append the remaining rows; a shard holds whole batches, so that a resumed run makes the same batches."""
    rows = store.train_index
    progress("encode", array.rows, len(rows))
    for start in range(array.rows, len(rows), batch_size):
        images = store.images[rows[start : start + batch_size]]
        mirrored = np.ascontiguousarray(images[:, :, ::-1])
        array.append(np.stack([moments(images), moments(mirrored)], axis=1))
        if array.due:
            array.commit()
        progress("encode", array.rows, len(rows))
