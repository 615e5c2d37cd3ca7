"""Images and labels of an npz from any source: arrays of any layout and range, and which class each label stands for.

Images are read some at a time, once to learn their range and again to use them, which need not fit into memory.

An npz has `images` (N, H, W[, C]) and `labels` (N,), or `arr_0` and `arr_1`, and may have `class_names` (C,).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taildiff.data.class_names import by_number
from taildiff.data.images import MOST_PIXELS
from taildiff.data.white import DARK
from taildiff.errors import DataError, first_few
from taildiff.io.npz import ArrayHeader, NpzError, array_names, read_arrays, read_header, row_blocks
from taildiff.io.paths import reason

_MOST_CLASSES, _MOST_NAME_BYTES = 2**20, 2**26
_GIVE_NAMES = "add class_names to the file: np.savez(FILE, images=…, labels=…, class_names=[the name of label 0, …])"


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """The content of an npz, with labels that are indices of `class_names`."""

    shape: tuple[int, int, int, int]
    """(N, H, W, C)."""
    blocks: Callable[[], Iterator[NDArray[np.uint8]]]
    """Reads the images, (n, H, W, C) at a time."""
    digest: str
    """The SHA-256 of the images and labels as they are in the file."""
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    mapping: str
    """Which class each label was taken for; empty if the file has `class_names`."""
    by_position: bool
    """Whether classes were matched by their order alone, which may be another one in the file."""


def read_images(path: Path, class_names: Sequence[str]) -> ImageArrays:
    """Images in 8 bits; labels stand for the file's `class_names`, or without them for the classes given.

    `DataError` for a damaged file, and for labels that cannot be matched safely.
    """
    raw, labels, own_names = _arrays(path)
    seen = _survey(raw, labels)
    convert, notes = _eight_bits(raw, seen)
    if own_names:
        names, mapping = own_names, ""
        if labels.min() < 0 or labels.max() >= len(names):
            raise DataError(f"{path}: labels {_range(labels)}, but there are {len(names)} class_names")
    else:
        labels, names, mapping = _matched(path, labels, tuple(class_names))
    by_position = bool(class_names) and not own_names and by_number(class_names) is None

    def blocks() -> Iterator[NDArray[np.uint8]]:
        return (convert(block) for block in raw.blocks())

    return ImageArrays(raw.shape, blocks, seen.digest, labels, names, tuple(notes), mapping, by_position)


def _matched(
    path: Path, labels: NDArray[np.int64], class_names: tuple[str, ...]
) -> tuple[NDArray[np.int64], tuple[str, ...], str]:
    """Labels as indices of class names: by number where all names are numbers, else by position, with the mapping."""
    lead = f"{path} has no class_names"
    if not class_names:
        if labels.min() < 0:
            raise DataError(f"{path}: labels {_range(labels)} must not be negative")
        if labels.max() >= _MOST_CLASSES:
            raise DataError(f"{path}: labels {_range(labels)} are too many classes; number them from 0")
        names = tuple(map(str, range(int(labels.max()) + 1)))
        return labels, names, f"{lead}; its classes are called by their labels, {_shown(names)}"
    numbers, used = by_number(class_names), np.unique(labels)
    if numbers is not None:
        if odd := [label for label in used.tolist() if label not in numbers]:
            names = _shown(class_names)
            raise DataError(f"{lead}, and its label {odd[0]} is none of the classes {names}; {_GIVE_NAMES}")
        indices = np.array([numbers[label] for label in used.tolist()])[np.searchsorted(used, labels)]
        mapping = _shown([f"{label} = {class_names[numbers[label]]}" for label in used.tolist()])
        return indices, class_names, f"{lead}; its labels were matched by number: {mapping}"
    if not np.array_equal(used, np.arange(len(class_names))):
        raise DataError(
            f"{lead}, and its labels {_range(labels)} are not those of all {len(class_names)} classes "
            f"(0..{len(class_names) - 1}, each at least once), so what they stand for is unclear; {_GIVE_NAMES}"
        )
    mapping = _shown([f"{label} = {name}" for label, name in enumerate(class_names)])
    note = f"{lead}; its labels were taken for the classes in their order: {mapping}. If that is wrong, {_GIVE_NAMES}"
    return labels, class_names, note


def refuse_other_order(
    path: str, predicted: NDArray[np.int64], labels: NDArray[np.int64], names: Sequence[str]
) -> None:
    """`DataError` if classes matched by position fit clearly better in another order, by a classifier's predictions."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, (labels, predicted), 1)
    best = linear_sum_assignment(-counts)[1]
    right, better = np.trace(counts), counts[np.arange(len(names)), best].sum()
    if better - right > _CLEARLY * np.sqrt(better + right):
        moved = _shown([f"{label} = {names[name]}" for label, name in enumerate(best.tolist()) if label != name])
        raise DataError(
            f"{path} has no class_names, and its labels seem to be in another order: the classifier recognises "
            f"{right / len(labels):.0%} of its images in the order of the classes, {better / len(labels):.0%} with "
            f"{moved}; {_GIVE_NAMES}"
        )


_CLEARLY = 6
"""Standard deviations; the best of all orders is some 3 better than any given one by chance."""


def _range(labels: NDArray[np.int64]) -> str:
    return f"{labels.min()}..{labels.max()}"


def _shown(texts: Sequence[str]) -> str:
    return first_few(texts, 20)


@dataclass(frozen=True, eq=False)
class _Raw:
    """The images of a file as they are there, in the layout (N, H, W, C)."""

    path: Path
    key: str
    header: ArrayHeader
    shape: tuple[int, int, int, int]

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Some images at a time; `DataError` for a damaged file."""
        try:
            for block in row_blocks(self.path, self.key):
                first = block[..., None] if block.ndim == 3 else block
                yield first if first.shape[1:] == self.shape[1:] else first.transpose(0, 2, 3, 1)
        except (OSError, NpzError) as error:
            raise _damaged(self.path, error) from None


def _arrays(path: Path) -> tuple[_Raw, NDArray[np.int64], tuple[str, ...]]:
    """Images, labels (N,) and class names (empty if the file has none); shapes are checked before anything is read."""
    try:
        available = array_names(path)
        keys = ("images", "labels") if "images" in available else ("arr_0", "arr_1")
        if lacking := [key for key in keys if key not in available]:
            listing = ", ".join(available) or "nothing"
            raise DataError(f"{path} has no {lacking[0]} (it has {listing}); it must have images and labels")
        raw, about = _layout(path, keys[0]), read_header(path, keys[1])
        if about.shape != raw.shape[:1] or about.dtype.kind not in "iu":
            raise DataError(f"{path}: labels must be one integer per image, got {about.shape} of {about.dtype}")
        (labels,) = read_arrays(path, keys[1:])
        named = "class_names" in available
        (texts,) = read_arrays(path, ("class_names",), _MOST_NAME_BYTES) if named else (np.empty(0, np.str_),)
    except (OSError, NpzError) as error:
        raise _damaged(path, error) from None
    return raw, labels.astype(np.int64), tuple(map(str, texts.tolist()))


def _layout(path: Path, key: str) -> _Raw:
    header = read_header(path, key)
    shape = header.shape if len(header.shape) != 3 else (*header.shape, 1)
    if len(shape) == 4 and shape[3] not in (1, 3) and shape[1] in (1, 3):
        shape = shape[0], shape[2], shape[3], shape[1]
    if len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
        raise DataError(f"{path}: images must be (N, H, W) or (N, H, W, 1 or 3), got {header.shape}")
    if shape[1] * shape[2] > MOST_PIXELS:
        raise DataError(f"{path}: images of {shape[1]}x{shape[2]} pixels are above the limit of {MOST_PIXELS:,}")
    if header.dtype.kind not in "biuf":
        raise DataError(f"{path}: images must be numbers, got {header.dtype}")
    return _Raw(path, key, header, shape)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is damaged or not an npz file: {reason(error)}")


@dataclass(frozen=True)
class _Survey:
    """What reading all images once told."""

    low: float
    high: float
    digest: str


def _survey(raw: _Raw, labels: NDArray[np.int64]) -> _Survey:
    low, high = np.inf, -np.inf
    digest = hashlib.sha256(repr((raw.shape, str(raw.header.dtype))).encode())
    for block in raw.blocks():
        low, high = np.minimum(low, np.float64(block.min())), np.maximum(high, np.float64(block.max()))  # NaN stays
        digest.update(block.tobytes())
    digest.update(labels.astype("<i8").tobytes())
    return _Survey(float(low), float(high), digest.hexdigest())


Conversion = Callable[[NDArray[Any]], NDArray[np.uint8]]


def _eight_bits(raw: _Raw, seen: _Survey) -> tuple[Conversion, list[str]]:
    """How the images become uint8, with notes if they were not, or if they nowhere reach an eighth of white."""
    convert, notes = _conversion(raw, seen)
    if (peak := int(convert(np.array([seen.high]).astype(raw.header.dtype))[0])) < DARK:
        scale = "; save them with the largest possible value as white" if peak else ""
        notes.append(f"{raw.path}: its largest value is {peak} of 255, so its images look black{scale}")
    return convert, notes


def _conversion(raw: _Raw, seen: _Survey) -> tuple[Conversion, list[str]]:
    dtype, low, high = raw.header.dtype, seen.low, seen.high
    if dtype == np.bool_:
        return lambda block: block.astype(np.uint8) * 255, []
    if dtype == np.uint8:
        return lambda block: block, []
    if dtype == np.uint16 and high > 255:
        divide, factor, shift, what = 257.0, 1.0, 0.0, "16 bit"
    elif dtype.kind == "f" and low >= 0 and high <= 1:
        divide, factor, shift, what = 1.0, 255.0, 0.0, "in [0, 1]"
    elif dtype.kind == "f" and low >= -1 and high <= 1:
        divide, factor, shift, what = 1.0, 127.5, 1.0, "in [-1, 1]"
    elif low >= 0 and high <= 255:
        divide, factor, shift, what = 1.0, 1.0, 0.0, f"{dtype}"
    else:
        raise DataError(f"{raw.path}: {dtype} images from {low:g} to {high:g}; use 8 bits, [0, 1] or [-1, 1]")

    def convert(block: NDArray[Any]) -> NDArray[np.uint8]:
        return np.rint((block.astype(np.float64) + shift) * factor / divide).clip(0, 255).astype(np.uint8)

    note = f"{raw.path}: images were not 8 bit ({what}) and were rounded to 8, as images are stored and shown"
    return convert, [note]
