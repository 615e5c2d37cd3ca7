"""Images that taildiff did not make: a folder with one sub-folder a class, or an npz; and statistics made elsewhere.

Each becomes a store in the evaluation's cache, named after its content or its files, so that it is decoded once and an
interrupted decoding goes on. An npz has `images` (N, H, W[, C]) and `labels` (N,), or `arr_0` and `arr_1`, and may have
`class_names` (C,). A statistics file has `mu` (D,) and `sigma` (D, D), as pytorch-fid and clean-fid write them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taildiff.data.images import SUFFIXES
from taildiff.data.listing import scan
from taildiff.data.prepare import prepare
from taildiff.data.store import SourceMeta, Store, StoreWriter, is_store, prepared_before
from taildiff.data.store_files import is_latents
from taildiff.errors import DataError, unknown
from taildiff.evaluation.cache import digest, digest_of_images
from taildiff.io.npz import NPZ_DAMAGE
from taildiff.log import Progress, silent
from taildiff.metrics import GaussianStatistics

_PEEK = 20
"""Headers read of each class."""
_LARGEST = 256
"""Pixels a side, where nobody says otherwise."""


@dataclass(frozen=True, eq=False)
class Given:
    """Images with the labels of a reference, in which classes may be missing."""

    name: str
    store: Store
    labels: NDArray[np.int64]
    """(N,) by the reference's order of classes."""
    notes: tuple[str, ...]

    def images(self, index: NDArray[np.intp], channels: int) -> NDArray[np.uint8]:
        """Some of them (n, H, W, channels), grey ones repeated where the reference has colour."""
        pictures = np.asarray(self.store.images[index])
        if pictures.shape[3] == channels:
            return pictures
        if channels == 3:
            return np.repeat(pictures, 3, axis=3)
        if (pictures == pictures[..., :1]).all():
            return np.ascontiguousarray(pictures[..., :1])
        raise DataError(f"{self.name} holds colour images, the reference grey ones: name another --data")


@dataclass(frozen=True)
class Peek:
    """What the headers of a folder's first images say."""

    sides: tuple[int, ...]
    """Shorter sides that occur, in pixels."""
    deep: bool
    """Some have more than 8 bits a channel."""


def is_npz(path: Path) -> bool:
    """Whether it is a file that numpy wrote several arrays into."""
    return path.is_file() and path.suffix == ".npz"


def given(path: Path, reference: Store, places: Sequence[str], cache: Path, progress: Progress = silent) -> Given:
    """Images to be judged, of the size of the reference's; `places` are its classes as names of folders.

    Raises `DataError` for a class that the reference does not have.
    """
    store, notes = to_store(path, cache, reference.meta.height, reference.meta.class_names, progress)
    if (store.meta.height, store.meta.width) != (reference.meta.height, reference.meta.width):
        have, want = ((m.height, m.width) for m in (store.meta, reference.meta))
        raise DataError(f"{path}: images of {have[0]}x{have[1]} cannot be held against those of {want[0]}x{want[1]}")
    names = reference.meta.class_names
    label_of = {name: label for label, name in enumerate(places)} | {name: label for label, name in enumerate(names)}
    for name in store.meta.class_names:
        if name not in label_of:
            raise DataError(f"{path}: {unknown('class', name, names)}")
    labels = np.array([label_of[name] for name in store.meta.class_names], dtype=np.int64)[np.asarray(store.labels)]
    if missing := [name for label, name in enumerate(names) if label not in labels]:
        notes = (*notes, f"no images of {len(missing)} classes: {', '.join(missing[:5])}{' …' * (len(missing) > 5)}")
    return Given(path.resolve().name, store, labels, notes)


def to_store(
    path: Path, cache: Path, size: int | None = None, class_names: Sequence[str] = (), progress: Progress = silent
) -> tuple[Store, tuple[str, ...]]:
    """A store as it is, a folder or npz as one in `cache`, with what a reader should know.

    `size` is in pixels a side (default: what the images have, at most 256); `class_names` are for an npz without any.
    """
    if is_store(path) or is_latents(path):  # of latents `Store.open` says which store they are of
        return Store.open(path), ()
    if is_npz(path):
        return _of_npz(path, cache, size, tuple(class_names))
    found = scan(path).found()
    peek = _peek(path)
    wanted = size or (min(peek.sides[0], _LARGEST) if peek.sides else found.size)
    store = prepare(found, cache / f"images-{digest(found.fingerprint, wanted)[:16]}", wanted, progress=progress)
    notes: list[str] = []
    if resized := [side for side in peek.sides if side != wanted]:
        some = f"{resized[0]} to {resized[-1]}" if len(resized) > 1 else f"{resized[0]}"
        notes.append(_resized(path, f"{some} pixels a side", wanted))
    if peek.deep:
        notes.append(f"{path}: images of more than 8 bits a channel were rounded to 8")
    if store.meta.skipped:
        notes.append(f"{path}: {store.meta.skipped} broken images were left out")
    return store, tuple(notes)


def statistics(path: Path) -> GaussianStatistics | None:
    """Mean and covariance from a statistics file; None for an npz that is none. `DataError` for a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if not {"mu", "sigma"} <= set(file.files):
                return None
            mean, cov = (file[name].astype(np.float64) for name in ("mu", "sigma"))
            count = int(file["n"]) if "n" in file.files else 0
    except NPZ_DAMAGE as error:
        raise DataError(f"{path} is not a whole npz file: {error}") from None
    if (
        mean.ndim != 1
        or cov.shape != (len(mean), len(mean))
        or not (np.isfinite(mean).all() and np.isfinite(cov).all())
    ):
        raise DataError(f"{path}: mu (D,) and sigma (D, D) are needed, got {mean.shape} and {cov.shape}")
    return GaussianStatistics(mean, cov, count)


def _resized(path: Path, have: str, want: int) -> str:
    return (
        f"{path}: images of {have} were resized to {want}, so they may be resized twice (by the extractor again): "
        "their sharpness is judged too"
    )


def _peek(root: Path) -> Peek:
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
                continue  # the preparation names it
    return Peek(tuple(sorted(sides)), deep)


def _of_npz(path: Path, cache: Path, size: int | None, class_names: tuple[str, ...]) -> tuple[Store, tuple[str, ...]]:
    images, labels, own = _arrays(path)
    names = own or class_names or tuple(str(label) for label in range(int(labels.max(initial=0)) + 1))
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= len(names):
        raise DataError(f"{path}: labels {labels.min()}..{labels.max()}, but there are {len(names)} classes")
    pictures, notes = _eight_bits(images, path)
    side = size or min(*pictures.shape[1:3], _LARGEST)
    if pictures.shape[1:3] != (side, side):
        notes.append(_resized(path, f"{pictures.shape[1]}x{pictures.shape[2]} pixels", side))
        pictures = np.stack([_fit(picture, side) for picture in pictures])
    content = digest(digest_of_images(pictures, labels), list(names))
    out, source = cache / f"images-{content[:16]}", SourceMeta(source=path.name, fingerprint=content)
    store = prepared_before(out, source, overwrite=False)
    if store is None:
        with StoreWriter(out, path.stem, names, (side, side, pictures.shape[3]), source) as writer:
            writer.append(pictures, labels, np.zeros(len(labels), dtype=np.bool_))
            store = writer.close()
    return store, tuple(notes)


def _arrays(path: Path) -> tuple[NDArray, NDArray[np.int64], tuple[str, ...]]:
    """Images (N, H, W, C), labels (N,) and the classes' names, if there are any."""
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = ("images", "labels") if "images" in file.files else ("arr_0", "arr_1")
            if lacking := [key for key in keys if key not in file.files]:
                have = ", ".join(file.files) or "nothing"
                raise DataError(f"{path} has no {lacking[0]} (it has {have}): images and labels are needed")
            images, labels = file[keys[0]], file[keys[1]]
            names = tuple(map(str, file["class_names"].tolist())) if "class_names" in file.files else ()
    except DataError:
        raise
    except NPZ_DAMAGE as error:
        raise DataError(f"{path} is not a whole npz file: {error}") from None
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not len(images):
        raise DataError(f"{path}: images must be (N, H, W) or (N, H, W, 1 or 3), got {images.shape}")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: one whole label an image is needed, got {labels.shape} of {labels.dtype}")
    return images, labels.astype(np.int64), names


def _eight_bits(images: NDArray, path: Path) -> tuple[NDArray[np.uint8], list[str]]:
    """uint8, and a note where they were not."""
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
        raise DataError(f"{path}: {images.dtype} images from {low:g} to {high:g}; give 8 bits, [0, 1] or [-1, 1]")
    note = f"{path}: images were not 8 bit ({what}); they were rounded to it, as images are stored and shown"
    return np.rint(scaled).clip(0, 255).astype(np.uint8), [note]


def _fit(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    image = Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0])
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS)).reshape(side, side, picture.shape[2])
