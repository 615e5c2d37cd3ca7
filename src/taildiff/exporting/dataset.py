"""A store in the formats that other programs read; `taildiff data prepare` reads them back without loss.

    imagefolder   OUT/CLASS/N.png, or OUT/train/CLASS/N.png and OUT/test/CLASS/N.png where images are held out
    parquet       OUT/data/train-00000-of-00001.parquet, … with `image` (PNG) and `label`, as on the Hugging Face Hub
    npz           one file with images (N, H, W, C), labels (N,), test (N,), class_names (C,)

Images are written as PNG, which keeps every pixel.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from taildiff.data.formats.parquet import needs
from taildiff.data.store import Store
from taildiff.errors import InputError
from taildiff.io.atomic import write_atomic
from taildiff.io.paths import check_folder, output_folder
from taildiff.io.png import png
from taildiff.io.staging import check_space, keep_apart, one_writer, partial, sweep
from taildiff.log import Progress, silent
from taildiff.sampling.folders import folder_names

DataFormat = Literal["imagefolder", "parquet", "npz"]
FORMATS: tuple[DataFormat, ...] = ("imagefolder", "parquet", "npz")
_SHARD_BYTES, _ROWS = 2**29, 100
"""Pixels of a parquet file, and images of a row group."""


def default_out(store: Path, to: DataFormat) -> Path:
    """Where a store is written if no place is named: beside it."""
    return store.with_name(f"{store.name}.npz" if to == "npz" else f"{store.name}-{to}")


def check_new_data(store: Store, out: Path, to: DataFormat) -> None:
    """`InputError` where `out` exists, would be in the store or has the wrong suffix, or a library is missing."""
    if out.exists() and (to == "npz" or not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already; choose another --out")
    if to != "npz":
        output_folder(out)
    elif out.suffix.lower() != ".npz":
        raise InputError(f"--out {out} must end in .npz")
    check_folder(out.parent if to == "npz" else out)
    keep_apart(out, [store.root])
    if to == "parquet":
        needs("pyarrow")
    if to != "npz":
        check_space(out, to, store.images.size)  # PNG files are rarely larger than their pixels


def export_data(store: Store, out: Path, to: DataFormat, progress: Progress = silent) -> Path:
    """Write all images of a store, all or nothing; returns `out`.

    `InputError` where `out` exists, `DataError` where pyarrow is missing or the disk is too small.
    """
    check_new_data(store, out, to)
    if to == "npz":
        _write_npz(store, out)
        return out
    with one_writer(out):
        sweep(out)
        check_new_data(store, out, to)
        work = partial(out)
        shutil.rmtree(work, ignore_errors=True)  # of a killed process
        work.mkdir(parents=True)
        try:
            write: Callable[[Store, Path, Progress], None] = _write_folder if to == "imagefolder" else _write_parquet
            write(store, work, progress)
            if out.exists():  # an empty folder
                out.rmdir()
            work.rename(out)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return out


def _parts(store: Store) -> Iterator[tuple[str, np.ndarray]]:
    """`train` and, if there are held-out images, `test`, each with its positions."""
    yield "train", store.train_index
    if store.test.any():
        yield "test", store.test_index


def _write_folder(store: Store, out: Path, progress: Progress) -> None:
    names, parts, done = folder_names(store.meta.class_names), dict(_parts(store)), 0
    width = len(str(store.meta.count - 1))
    for part, index in parts.items():
        place = out / part if len(parts) > 1 else out
        for name in names:
            (place / name).mkdir(parents=True)
        for position in index.tolist():
            file = place / names[int(store.labels[position])] / f"{position:0{width}d}.png"
            file.write_bytes(png(store.images[position]))
            done += 1
            if done % _ROWS == 0 or done == store.meta.count:
                progress("writing images", done, store.meta.count)


def _write_parquet(store: Store, out: Path, progress: Progress) -> None:
    arrow, parquet = needs("pyarrow"), needs("pyarrow.parquet")
    image = {"_type": "Image"}
    label = {"names": list(store.meta.class_names), "_type": "ClassLabel"}
    features = json.dumps({"info": {"features": {"image": image, "label": label}}})
    kind = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    schema = arrow.schema([("image", kind), ("label", arrow.int64())], {"huggingface": features})
    (out / "data").mkdir()
    per_shard, done = max(1, _SHARD_BYTES // math.prod(store.meta.shape[1:])), 0
    for part, index in _parts(store):
        shards = -(-len(index) // per_shard)
        for shard in range(shards):
            path = out / "data" / f"{part}-{shard:05d}-of-{shards:05d}.parquet"
            with parquet.ParquetWriter(path, schema) as writer:
                for rows in _groups(index[shard * per_shard : (shard + 1) * per_shard]):
                    writer.write_table(_table(arrow, schema, store, rows))
                    done += len(rows)
                    progress("writing images", done, store.meta.count)


def _groups(index: np.ndarray) -> Iterator[np.ndarray]:
    return (index[start : start + _ROWS] for start in range(0, len(index), _ROWS))


def _table(arrow: Any, schema: Any, store: Store, rows: np.ndarray) -> Any:
    images = [{"bytes": png(store.images[row]), "path": f"{row}.png"} for row in rows.tolist()]
    return arrow.table({"image": images, "label": store.labels[rows].tolist()}, schema=schema)


def _write_npz(store: Store, out: Path) -> None:
    names = np.array(store.meta.class_names)
    write_atomic(
        out,
        lambda file: np.savez_compressed(
            file, images=store.images, labels=store.labels, test=store.test, class_names=names
        ),
    )
