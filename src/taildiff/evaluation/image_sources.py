"""Images from any source: a folder with one subfolder per class, or an npz; and statistics of other tools.

Each becomes a store in the evaluation's cache, named after its content or its files, so that it is decoded once and an
interrupted decoding resumes. An npz has `images` (N, H, W[, C]) and `labels` (N,), or `arr_0` and `arr_1`, and may have
`class_names` (C,). A statistics file has `mu` (D,) and `sigma` (D, D), as written by pytorch-fid and clean-fid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taildiff.data.formats.folder import find_folder
from taildiff.data.kinds import SUFFIXES
from taildiff.data.prepare import prepare
from taildiff.data.store import SourceMeta, Store, StoreWriter, is_store, prepared_before
from taildiff.data.store_files import is_latents
from taildiff.errors import DataError, unknown
from taildiff.evaluation.cache import cache_key, images_key
from taildiff.io.npz import NpzError, array_names, map_array, read_arrays
from taildiff.log import Progress, silent
from taildiff.metrics import GaussianStatistics

_PEEK = 20
"""Image headers read per class."""
_LARGEST = 256
"""Default limit of pixels per side."""


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Images with labels in the reference's class order; classes may be missing."""

    name: str
    store: Store
    labels: NDArray[np.int64]
    """(N,) indices of the reference's classes."""
    notes: tuple[str, ...]

    def images(self, index: NDArray[np.intp], channels: int) -> NDArray[np.uint8]:
        """Images (n, H, W, channels) at `index`; grey ones are repeated if the reference has colour."""
        images = np.asarray(self.store.images[index])
        if images.shape[3] == channels:
            return images
        if channels == 3:
            return np.repeat(images, 3, axis=3)
        if (images == images[..., :1]).all():
            return np.ascontiguousarray(images[..., :1])
        raise DataError(f"{self.name} has colour images, the reference has grey ones; choose another --data")


def is_npz(path: Path) -> bool:
    """Whether `path` is a numpy archive of several arrays."""
    return path.is_file() and path.suffix == ".npz"


def open_images(
    path: Path, reference: Store, folder_names: Sequence[str], cache: Path, progress: Progress = silent
) -> ImageSource:
    """Images to be evaluated, at the reference's size; `folder_names` are its classes as names of folders.

    Raises `DataError` for a class that the reference lacks.
    """
    store, notes = to_store(path, cache, reference.meta.height, reference.meta.class_names, progress)
    if (store.meta.height, store.meta.width) != (reference.meta.height, reference.meta.width):
        sizes = " and ".join(f"{meta.height}x{meta.width}" for meta in (store.meta, reference.meta))
        raise DataError(f"{path}: its images and the reference's have different sizes ({sizes}) and cannot be compared")
    names = reference.meta.class_names
    label_of = {name: label for label, name in enumerate(folder_names)} | {
        name: label for label, name in enumerate(names)
    }
    for name in store.meta.class_names:
        if name not in label_of:
            raise DataError(f"{path}: {unknown('class', name, names)}")
    labels = np.array([label_of[name] for name in store.meta.class_names], dtype=np.int64)[np.asarray(store.labels)]
    if missing := [name for label, name in enumerate(names) if label not in labels]:
        notes = (*notes, f"no images of {len(missing)} classes: {', '.join(missing[:5])}{' …' * (len(missing) > 5)}")
    return ImageSource(path.resolve().name, store, labels, notes)


def to_store(
    path: Path, cache: Path, size: int | None = None, class_names: Sequence[str] = (), progress: Progress = silent
) -> tuple[Store, tuple[str, ...]]:
    """The store at `path`, or a folder or npz as a store in `cache`, with notes for the reader.

    `size` is pixels per side (default: that of the images, at most 256); `class_names` serve an npz without any.
    """
    if is_store(path) or is_latents(path):  # for latents, `Store.open` names the store they were made from
        return Store.open(path), ()
    if is_npz(path):
        return _of_npz(path, cache, size, tuple(class_names))
    source, (sides, deep) = find_folder(path), _read_headers(path)
    side = size or (min(sides[0], _LARGEST) if sides else source.size)
    store = prepare(source, cache / f"images-{cache_key(source.fingerprint, side)[:16]}", side, progress=progress)
    notes: list[str] = []
    if resized := [other for other in sides if other != side]:
        sizes = f"{resized[0]} to {resized[-1]}" if len(resized) > 1 else f"{resized[0]}"
        notes.append(_resized_note(path, f"{sizes} pixels per side", side))
    if deep:
        notes.append(f"{path}: images with more than 8 bits per channel were rounded to 8")
    if store.meta.skipped:
        notes.append(f"{path}: {store.meta.skipped} broken images were skipped")
    return store, tuple(notes)


def read_statistics(path: Path) -> GaussianStatistics | None:
    """Mean and covariance in a statistics file; None for another npz. Raises `DataError` if it is damaged."""
    try:
        names = array_names(path)
        if not {"mu", "sigma"} <= set(names):
            return None
        mean, cov = (array.astype(np.float64) for array in read_arrays(path, ("mu", "sigma")))
        count = int(read_arrays(path, ("n",))[0]) if "n" in names else 0
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged or not an npz file: {error}") from None
    finite = np.isfinite(mean).all() and np.isfinite(cov).all()
    if mean.ndim != 1 or cov.shape != (len(mean), len(mean)) or not finite:
        raise DataError(f"{path}: mu (D,) and sigma (D, D) must be finite, got {mean.shape} and {cov.shape}")
    return GaussianStatistics(mean, cov, count)


def _resized_note(path: Path, before: str, after: int) -> str:
    return (
        f"{path}: images of {before} were resized to {after}, so the extractor may resize them a second time: "
        "the numbers also reflect the lost sharpness"
    )


def _read_headers(root: Path) -> tuple[list[int], bool]:
    """The shorter sides of each class's first images, and whether any has more than 8 bits per channel."""
    sides: set[int] = set()
    deep = False
    for folder in sorted({file.parent for file in root.rglob("*") if file.suffix.lower() in SUFFIXES}):
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
        for file in files[:_PEEK] if folder != root else []:
            try:
                with Image.open(file) as image:
                    sides.add(min(image.size))
                    deep |= image.mode.startswith(("I", "F"))
            except (OSError, ValueError):
                continue  # preparing the store reports it
    return sorted(sides), deep


def _of_npz(path: Path, cache: Path, size: int | None, class_names: tuple[str, ...]) -> tuple[Store, tuple[str, ...]]:
    images, labels, own_names = _arrays(path)
    names = own_names or class_names or tuple(str(label) for label in range(int(labels.max(initial=0)) + 1))
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= len(names):
        raise DataError(f"{path}: labels {labels.min()}..{labels.max()}, but there are {len(names)} classes")
    images, notes = _eight_bits(images, path)
    side = size or min(*images.shape[1:3], _LARGEST)
    if images.shape[1:3] != (side, side):
        notes.append(_resized_note(path, f"{images.shape[1]}x{images.shape[2]} pixels", side))
        images = np.stack([_resize(image, side) for image in images])
    content = cache_key(images_key(images, labels), list(names))
    out, source = cache / f"images-{content[:16]}", SourceMeta(source=path.name, fingerprint=content)
    store = prepared_before(out, source, overwrite=False)
    if store is None:
        with StoreWriter(out, path.stem, names, (side, side, images.shape[3]), source) as writer:
            writer.append(images, labels, np.zeros(len(labels), dtype=np.bool_))
            store = writer.close()
    return store, tuple(notes)


def _arrays(path: Path) -> tuple[NDArray, NDArray[np.int64], tuple[str, ...]]:
    """Images (N, H, W, C), labels (N,) and class names (empty if the file has none)."""
    try:
        available = array_names(path)
        keys = ("images", "labels") if "images" in available else ("arr_0", "arr_1")
        if lacking := [key for key in keys if key not in available]:
            listing = ", ".join(available) or "nothing"
            raise DataError(f"{path} has no {lacking[0]} (it has {listing}); it must have images and labels")
        images, (labels,) = map_array(path, keys[0]), read_arrays(path, keys[1:])
        (texts,) = read_arrays(path, ("class_names",)) if "class_names" in available else (np.empty(0, np.str_),)
        names = tuple(map(str, texts.tolist()))
    except (OSError, NpzError) as error:
        raise DataError(f"{path} is damaged or not an npz file: {error}") from None
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not len(images):
        raise DataError(f"{path}: images must be (N, H, W) or (N, H, W, 1 or 3), got {images.shape}")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: labels must be one integer per image, got {labels.shape} of {labels.dtype}")
    return images, labels.astype(np.int64), names


def _eight_bits(images: NDArray, path: Path) -> tuple[NDArray[np.uint8], list[str]]:
    """`images` as uint8, with a note if they were not."""
    if images.dtype == np.uint8:
        return images, []
    values = images.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if images.dtype == np.uint16 and high > 255:
        scaled, what = values / 257, "16 bit"
    elif images.dtype.kind == "f" and low >= -1 and high <= 1:
        scaled, what = (values * 255, "in [0, 1]") if low >= 0 else ((values + 1) * 127.5, "in [-1, 1]")
    elif low >= 0 and high <= 255:
        scaled, what = values, f"{images.dtype}"
    else:
        raise DataError(f"{path}: {images.dtype} images from {low:g} to {high:g}; use 8 bits, [0, 1] or [-1, 1]")
    note = f"{path}: images were not 8 bit ({what}) and were rounded to 8, as images are stored and shown"
    return np.rint(scaled).clip(0, 255).astype(np.uint8), [note]


def _resize(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    picture = Image.fromarray(image if image.shape[2] == 3 else image[..., 0])
    return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS)).reshape(side, side, image.shape[2])
