"""Images and labels of an npz from any source: arrays of any layout and range, and which class each label stands for.

An npz has `images` (N, H, W[, C]) and `labels` (N,), or `arr_0` and `arr_1`, and may have `class_names` (C,).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taildiff.data.class_names import by_number
from taildiff.data.white import DARK
from taildiff.errors import DataError, first_few
from taildiff.io.npz import NpzError, array_names, map_array, read_arrays

_GIVE_NAMES = "add class_names to the file: np.savez(FILE, images=…, labels=…, class_names=[the name of label 0, …])"


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """The content of an npz, with labels that are indices of `class_names`."""

    images: NDArray[np.uint8]
    """(N, H, W, C)."""
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
    images, labels, own_names = _arrays(path)
    images, notes = _eight_bits(images, path)
    if own_names:
        names, mapping = own_names, ""
        if labels.min() < 0 or labels.max() >= len(names):
            raise DataError(f"{path}: labels {_range(labels)}, but there are {len(names)} class_names")
    else:
        labels, names, mapping = _matched(path, labels, tuple(class_names))
    by_position = bool(class_names) and not own_names and by_number(class_names) is None
    return ImageArrays(images, labels, names, tuple(notes), mapping, by_position)


def _matched(
    path: Path, labels: NDArray[np.int64], class_names: tuple[str, ...]
) -> tuple[NDArray[np.int64], tuple[str, ...], str]:
    """Labels as indices of class names: by number where all names are numbers, else by position, with the mapping."""
    lead = f"{path} has no class_names"
    if not class_names:
        if labels.min() < 0:
            raise DataError(f"{path}: labels {_range(labels)} must not be negative")
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
    if images.dtype.kind not in "buif" or not images.size:
        raise DataError(f"{path}: images must be numbers, got {images.dtype} {images.shape}")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: labels must be one integer per image, got {labels.shape} of {labels.dtype}")
    return images, labels.astype(np.int64), names


def _eight_bits(images: NDArray, path: Path) -> tuple[NDArray[np.uint8], list[str]]:
    """`images` as uint8, with notes if they were not, or if they nowhere reach an eighth of white."""
    pixels, notes = _converted(images, path)
    if (peak := int(pixels.max())) < DARK:
        scale = "; save them with the largest possible value as white" if peak else ""
        notes.append(f"{path}: its largest value is {peak} of 255, so its images look black{scale}")
    return pixels, notes


def _converted(images: NDArray, path: Path) -> tuple[NDArray[np.uint8], list[str]]:
    if images.dtype == np.bool_:
        return images.astype(np.uint8) * 255, []
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
