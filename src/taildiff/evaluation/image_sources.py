"""Images from any source: a folder with one subfolder per class, or an npz; and statistics of other tools.

Each becomes a store in the evaluation's cache, named after its content or its files, so that it is decoded once and an
interrupted decoding resumes. A statistics file has `mu` (D,) and `sigma` (D, D), as
written by pytorch-fid and clean-fid.
"""

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taildiff.data.class_names import by_number, canonical
from taildiff.data.formats.folder import evaluated_folder
from taildiff.data.images import FORMATS, from_array
from taildiff.data.prepare import prepare
from taildiff.data.source import Source
from taildiff.data.store import SourceMeta, Store, StoreWriter, is_store, prepared_before
from taildiff.data.store_files import is_latents
from taildiff.errors import DataError, unknown
from taildiff.evaluation.cache import cache_key
from taildiff.evaluation.image_arrays import read_images
from taildiff.evaluation.images import Images, ImageSequence, Rows, SelectedImages
from taildiff.io.npz import array_names, read_arrays
from taildiff.io.paths import regular
from taildiff.io.staging import one_writer, sweep
from taildiff.log import Progress, log, silent
from taildiff.metrics import GaussianStatistics
from taildiff.spec.base import LARGEST_COUNT
from taildiff.text import one_line

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
    by_position: bool = False
    """Whether classes were matched by their order alone, which a classifier can contradict."""

    def images(self, index: NDArray[np.intp], channels: int) -> ImageSequence:
        """Images (n, H, W, channels) at `index`; grey ones are repeated if the reference has colour."""
        return _InChannels(SelectedImages(self.store.images, index), channels, self.name)


@dataclass(frozen=True, eq=False)
class _InChannels:
    """Images read a part at a time, in as many channels as those of the reference."""

    chosen: SelectedImages
    channels: int
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, channels)."""
        return *self.chosen.shape[:3], self.channels

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, rows: Rows, /) -> Images:
        """A copy; `DataError` for colour where the reference is grey."""
        images = self.chosen[rows]
        if images.shape[3] == self.channels:
            return images
        if self.channels == 3:
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
    names, height, width = reference.meta.class_names, reference.meta.height, reference.meta.width
    found = _stored(path, cache, height, names, progress, fewest=1)
    meta = found.store.meta
    if (meta.height, meta.width) != (height, width):
        sizes = f"{meta.height}x{meta.width} and {height}x{width}"
        raise DataError(f"{path}: its images and the reference's have different sizes ({sizes}) and cannot be compared")
    labels = _labels(path, meta.class_names, names, folder_names)[np.asarray(found.store.labels)]
    notes = [f"images are compared at {height}x{width} pixels, the size of the reference", *found.all_notes]
    if missing := [name for label, name in enumerate(names) if label not in labels]:
        notes.append(f"no images of {len(missing)} classes: {', '.join(missing[:5])}{' …' * (len(missing) > 5)}")
    return ImageSource(path.resolve().name, found.store, labels, tuple(notes), found.by_position)


def _labels(path: Path, own: Sequence[str], names: Sequence[str], folder_names: Sequence[str]) -> NDArray[np.int64]:
    """The reference's class of each of the source's: by number if all of both are numbers, else by name."""
    label_of = {canonical(name): label for each in (folder_names, names) for label, name in enumerate(each)}
    numbers, own_numbers = by_number(names), by_number(own)
    if numbers is not None and own_numbers is not None:
        label_of = {own[k]: numbers[number] for number, k in own_numbers.items() if number in numbers} | label_of
    for name in own:
        if canonical(name) not in label_of:
            raise DataError(f"{path}: {unknown('class', name, names)}")
    return np.array([label_of[canonical(name)] for name in own], dtype=np.int64)


def open_reference(path: Path, cache: Path, progress: Progress = silent) -> tuple[Store, tuple[str, ...]]:
    """`to_store` of the images to compare with, with a note on the classes of an npz without `class_names`."""
    found = _stored(path, cache, None, (), progress)
    if len(found.store.meta.class_names) < 2:
        only = ", ".join(found.store.meta.class_names)
        raise DataError(f"{path} has only the class '{only}', but a reference needs at least two")
    return found.store, found.all_notes


def open_unmatched(path: Path, cache: Path, progress: Progress = silent) -> ImageSource:
    """Images that are compared with statistics, at their own size and with classes of their own."""
    found = _stored(path, cache, None, (), progress, fewest=1)
    size = f"images are measured at {found.store.meta.height}x{found.store.meta.width} pixels"
    return ImageSource(path.resolve().name, found.store, np.asarray(found.store.labels), (size, *found.notes))


def to_store(
    path: Path, cache: Path, size: int | None = None, class_names: Sequence[str] = (), progress: Progress = silent
) -> tuple[Store, tuple[str, ...]]:
    """The store at `path`, or a folder or npz as a store in `cache`, with notes for the reader.

    `size` is pixels per side (default: the commonest of the images, at most 256); `class_names` serve an npz without
    any, and the log says which label was taken for which.
    """
    found = _stored(path, cache, size, class_names, progress)
    if class_names and found.mapping:
        log.warning(found.mapping)
    return found.store, found.notes


@dataclass(frozen=True, eq=False)
class _Stored:
    """A source as a store."""

    store: Store
    notes: tuple[str, ...] = ()
    mapping: str = ""
    """Which class each label of an npz without names was taken for."""
    by_position: bool = False

    @property
    def all_notes(self) -> tuple[str, ...]:
        return (*([self.mapping] if self.mapping else []), *self.notes)


def _stored(
    path: Path, cache: Path, size: int | None, class_names: Sequence[str], progress: Progress, fewest: int = 2
) -> _Stored:
    if is_store(path) or is_latents(path):  # for latents, `Store.open` names the store they were made from
        return _Stored(Store.open(path))
    if is_npz(path):
        return _of_npz(path, cache, size, tuple(class_names))
    return _of_folder(path, cache, size, progress, fewest)


def _of_folder(path: Path, cache: Path, size: int | None, progress: Progress, fewest: int) -> _Stored:
    found = evaluated_folder(path, fewest)
    source = found.read()
    sides, deep = _read_headers(source)
    commonest = max(sides, key=lambda side: (sides[side], side), default=found.size)
    side = size or min(commonest, _LARGEST)
    key = cache_key(found.fingerprint, side, *([found.options] if found.options else []))
    store = prepare(found, cache / f"images-{key[:16]}", side, progress=progress)
    notes: list[str] = []
    if size is None and len(sides) > 1:
        notes.append(f"{path}: its images differ in size; {side} pixels per side, the commonest, were taken for all")
    if resized := sorted(other for other in sides if other != side):
        sizes = f"{resized[0]} to {resized[-1]}" if len(resized) > 1 else f"{resized[0]}"
        notes.append(_resized_note(path, f"{sizes} pixels per side", side))
    if deep:
        notes.append(f"{path}: images with more than 8 bits per channel were rounded to 8")
    notes += [f"{path}: {note}" for note in dict.fromkeys((*source.notes, *source.strict_notes, *store.meta.notes))]
    if store.meta.skipped:
        first = f", such as {store.meta.skipped_names[0]}" if store.meta.skipped_names else ""
        notes.append(f"{path}: {store.meta.skipped} broken images were skipped{first}")
    return _Stored(store, tuple(notes))


def _read_headers(source: Source) -> tuple[Counter[int], bool]:
    """How often each shorter side occurs in the first images of each class; whether any has more than 8 bits."""
    sides: Counter[int] = Counter()
    seen: Counter[int] = Counter()
    deep = False
    for label, file in zip(source.labels.tolist(), source.pictures(0), strict=True):
        seen[label] += 1
        if seen[label] <= _PEEK and isinstance(file, Path):
            with (
                suppress(Exception),
                Image.open(regular(file), formats=FORMATS) as image,
            ):  # `prepare` reports it
                sides[min(image.size)] += 1
                deep |= image.mode.startswith(("I", "F"))
    return sides, deep


def read_statistics(path: Path) -> GaussianStatistics | None:
    """Mean and covariance in a statistics file, n = 0 if it does not say how many images; None for another npz.

    Raises `DataError` for a damaged file, and for arrays that are no mean and covariance.
    """
    try:
        names = array_names(path)
        if not {"mu", "sigma"} <= set(names):
            return None
        mean, cov = read_arrays(path, ("mu", "sigma"))
        count = _count(path, read_arrays(path, ("n",))[0]) if "n" in names else 0
    except DataError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged or not an npz file: {error}") from None
    if problem := _no_statistics(mean, cov):
        raise DataError(f"{path}: {problem}; write the statistics again")
    return GaussianStatistics(mean.astype(np.float64), cov.astype(np.float64), count)


def _count(path: Path, n: NDArray[Any]) -> int:
    """How many images statistics are of; `DataError` unless it is one whole number."""
    value = float(n.reshape(())) if n.size == 1 and n.dtype.kind in "iuf" else math.nan
    if not (value.is_integer() and 0 <= value <= LARGEST_COUNT):
        given = f"{n.dtype} {n.shape}" if n.size != 1 else repr(n.reshape(()).item())
        raise DataError(f"{path}: n is {one_line(given, 60)}, not a number of images; write the statistics again")
    return int(value)


def _no_statistics(mean: NDArray[Any], cov: NDArray[Any]) -> str:
    """Why two arrays are no mean and covariance; empty if they are."""
    if mean.ndim != 1 or cov.shape != (len(mean), len(mean)) or not len(mean):
        return f"mu must be (D,) and sigma (D, D), got {mean.shape} and {cov.shape}"
    for name, array in (("mu", mean), ("sigma", cov)):
        if array.dtype.kind not in "fiu":
            return f"{name} must be real numbers, got {array.dtype}"
        if not np.isfinite(array).all():
            return f"{name} contains NaN or infinite values"
    rounding = max(1e-5, 4 * np.sqrt(len(mean)) * float(np.finfo(cov.dtype).eps)) if cov.dtype.kind == "f" else 1e-5
    cov = cov.astype(np.float64)
    if np.abs(cov - cov.T).max() > rounding * np.abs(cov).max():
        return "sigma is not symmetric, so it is no covariance"
    variances = np.linalg.eigvalsh(cov)
    if variances[-1] <= 0:
        return "sigma has no positive variance, so it is no covariance of images"
    if variances[0] < -rounding * variances[-1]:
        return (
            f"sigma is indefinite (eigenvalues from {variances[0]:.3g} to {variances[-1]:.3g}), so it is no covariance"
        )
    return ""


def _resized_note(path: Path, before: str, after: int) -> str:
    return (
        f"{path}: images of {before} were resized to {after}, so the extractor may resize them a second time: "
        "the numbers also reflect the lost sharpness"
    )


def _of_npz(path: Path, cache: Path, size: int | None, class_names: tuple[str, ...]) -> _Stored:
    arrays = read_images(path, class_names)
    (_, height, width, channels), notes = arrays.shape, [*arrays.notes]
    side = size or min(height, width, _LARGEST)
    if resized := (height, width) != (side, side):
        notes.append(_resized_note(path, f"{height}x{width} pixels", side))
    content = cache_key(arrays.digest, side, list(arrays.class_names))
    out, source = cache / f"images-{content[:16]}", SourceMeta(source=path.name, fingerprint=content)
    with one_writer(out):
        sweep(out)
        store = prepared_before(out, source, overwrite=False)
        if store is None:
            shape = (side, side, channels)
            with StoreWriter(out, path.stem, arrays.class_names, shape, source, held=True) as writer:
                for block in arrays.blocks():
                    if resized:
                        block = np.stack([from_array(image, side, channels).pixels for image in block])
                    labels = arrays.labels[writer.array.rows :][: len(block)]
                    writer.append(block, labels, np.zeros(len(block), dtype=np.bool_))
                store = writer.close()
    return _Stored(store, tuple(notes), arrays.mapping, arrays.by_position)
