"""From a store to its latents: every training image and its mirror through a VAE's encoder, once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from taildiff.data.latents import LatentMeta, LatentStore, is_latents, origin
from taildiff.data.store import SourceMeta, Store
from taildiff.data.store_files import FORMAT, MOMENTS, write_latent_meta, write_names
from taildiff.data.verify import verify
from taildiff.errors import DataError
from taildiff.io.resumable_array import Header, ResumableArray, read_shards, remove_log
from taildiff.io.staging import check_space, keep_apart, lasting_partial, put_back
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
    """The latents of `store` at `out`, `batch_size` images in memory at a time.

    What was killed, or stopped by Ctrl-C or an error, is continued, and ends byte for byte as if it had never been (at
    the same batch size). `DataError` when the store was damaged, when something else is at `out`, or the disk is small.
    """
    info, done = plan(store, out, codec, overwrite)
    if done:
        remove_log(out)
        return done
    verify(store)
    with ResumableArray(out, MOMENTS, np.dtype(np.float16), _header(info), kept_after=BaseException) as array:
        _encode_all(store, array, moments, batch_size, progress)
        array.finish()
        array.add_array("labels.npy", store.labels)
        array.add_array("test.npy", store.test)
        if store.names is not None:
            write_names(array.partial / "names.txt", list(store.names))
        array.hash.update("\0".join(store.meta.class_names).encode())
        array.hash.update(origin(store.meta, codec))
        write_latent_meta(array.partial, info.model_copy(update={"hash": array.hash.hexdigest()}))
        array.publish()
    return LatentStore.open(out)


def plan(store: Store, out: Path, codec: CodecFacts, overwrite: bool = False) -> tuple[LatentMeta, LatentStore | None]:
    """latents.json as `encode` will write it, but for the hash, and the latents if they are there already.

    The same errors as `encode`, and nothing is written.
    """
    rows, place = len(store.train_index), str(store.root.resolve())
    if not rows:
        raise DataError(f"{store.root} has no training images: all are held out, and those need no latents")
    info = LatentMeta(pixels=store.meta, pixels_path=place, codec=codec, rows=rows, hash="")
    done = encoded_before(store, out, codec, overwrite)
    if done is None:
        if not overwrite:
            _keep_unfinished(out, _header(info))
        check_space(out, MOMENTS, info.moments_bytes)
    return info, done


def _header(info: LatentMeta) -> Header:
    source = SourceMeta(source=info.pixels.hash, options=f"latents {FORMAT}", fingerprint=info.codec.hash)
    return Header(key=source.model_dump(), shape=info.shape[1:])


def _keep_unfinished(out: Path, header: Header) -> None:
    """`DataError` where other latents are half done at `out`: hours of work are not thrown away without a word."""
    unfinished = lasting_partial(out)
    found, shards = read_shards(unfinished)
    if found == header or not shards:
        return
    same_images = found is not None and found.key["source"] == header.key["source"]
    raise DataError(
        f"{unfinished} has {sum(shard.rows for shard in shards):,} unfinished latents "
        f"{'of these images by another VAE' if same_images else 'of other images'}; to drop them give --overwrite, "
        "else choose another --out"
    )


def encoded_before(store: Store, out: Path, codec: CodecFacts, overwrite: bool) -> LatentStore | None:
    """The latents at `out` if they already are what would be made; None if they are to be made; else `DataError`.

    With `overwrite` existing latents are to be made anew, but nothing that is not latents is ever replaced.
    """
    keep_apart(out, [store.root])
    put_back(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not is_latents(out):
        raise DataError(f"{out} exists and holds no latents, so it is left alone; choose another --out")
    if overwrite:
        return None
    latents = LatentStore.open(out)
    have = latents.info
    if have.pixels.hash != store.meta.hash:
        other = f"of {have.pixels.name} in {have.pixels_path}, not of {store.meta.name} in {store.root}"
    elif have.codec.hash != codec.hash:
        other = f"by the VAE {have.codec.source}, not by {codec.source}"
    else:
        return latents
    raise DataError(f"{out} already holds latents {other}; choose another --out, or give --overwrite")


def _encode_all(store: Store, array: ResumableArray, moments: Moments, batch_size: int, progress: Progress) -> None:
    """Append what is left; a shard is whole batches, so that a continued run makes the same ones."""
    rows = store.train_index
    progress("encode", array.rows, len(rows))
    for start in range(array.rows, len(rows), batch_size):
        images = store.images[rows[start : start + batch_size]]
        mirrored = np.ascontiguousarray(images[:, :, ::-1])
        array.append(np.stack([moments(images), moments(mirrored)], axis=1))
        if array.due:
            array.commit()
        progress("encode", array.rows, len(rows))
