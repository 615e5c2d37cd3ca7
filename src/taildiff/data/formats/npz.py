"""Images and labels in one `.npz`, under the names in common use.

images (n, H, W[, 1 or 3]), labels (n,); optional: test (n,) bool, class_names (C,)
x_train, y_train, x_test, y_test, …                            (Keras)
train_images, train_labels, val_images, …, test_images, …      (MedMNIST)

Images are uint8, uint16, or bool (False is black). Parts of the names in `data.parts` are held out: val and test.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from taildiff.data.formats.importer import Importer, Names
from taildiff.data.parts import is_held_out
from taildiff.data.source import Found, Source, check_place, classes_by_value, fingerprint_of, pictures_of
from taildiff.errors import DataError
from taildiff.io.npz import ArrayHeader, NpzError, array_names, map_array, read_arrays, read_header

_Part = tuple[str, str, bool]
"""Names of the images and of the labels, and whether the part is held out."""
_EXPECTED = "`images` and `labels` or `x_train` and `y_train` or `train_images` and `train_labels`"
_LARGEST_COLUMN = 2**31  # bytes


def find_npz(place: Path, names: Names = None) -> Found:
    """The source in one file; `names`: class names by label, one per line. `DataError` names an unusable array."""
    check_place(place)
    if not place.is_file():
        raise DataError(f"{place} is a folder; give the .npz file")
    parts = _parts(place)
    headers = [_image_header(place, images) for images, _, _ in parts]
    sizes = {header.shape[1:] for header in headers}
    if len(sizes) > 1:
        raise DataError(f"{place}: the parts have images of different shapes: {sorted(sizes)}")
    files = [place, names] if names else [place]
    return Found(
        source=str(place.resolve()),
        name=place.stem,
        fingerprint=fingerprint_of([path for path in files if path.exists()]),
        roots=(place,),
        read=lambda: _read(place, parts, headers, names),
        size=min(headers[0].shape[1:3]),
        options=_options(parts, names),
    )


def _parts(place: Path) -> tuple[_Part, ...]:
    """The training parts, then the others."""
    arrays = _names(place)
    listing = ", ".join(f"`{name}`" for name in sorted(arrays)[:10]) or "none"
    parts: list[_Part] = []
    for images in arrays:
        part, labels = _part_of(images)
        held_out = False if not part else is_held_out(part)
        if labels and held_out is None and labels in arrays:
            raise DataError(
                f"{place}: `{images}` and `{labels}` are of no part called train, val or test; rename or remove them"
            )
        if labels and held_out is not None:
            if labels not in arrays:
                raise DataError(f"{place} has no array `{labels}`; it has {listing}")
            parts.append((images, labels, held_out))
    if not parts:
        raise DataError(f"{place} has no arrays {_EXPECTED}; it has {listing}")
    return tuple(sorted(parts, key=lambda part: part[2]))


def _part_of(images: str) -> tuple[str, str]:
    """The part in the name of an array of images, empty for all of them, and the name of its labels, empty if none."""
    if images == "images":
        return "", "labels"
    if keras := re.fullmatch(r"([xX])_(\w+)", images):
        return keras[2], f"{'y' if keras[1] == 'x' else 'Y'}_{keras[2]}"
    if med := re.fullmatch(r"(\w+)_images", images):
        return med[1], f"{med[1]}_labels"
    return "", ""


def _options(parts: Iterable[_Part], names: Path | None) -> str:
    held_out = [images for images, _, held_out in parts if held_out]
    usual = held_out in ([], ["x_test"], ["test_images"])
    values = ["" if usual else f"held-out={','.join(held_out)}", f"names={names.resolve()}" if names else ""]
    return " ".join(filter(None, values))


def _names(place: Path) -> list[str]:
    try:
        return array_names(place)
    except NpzError as error:
        raise DataError(f"{place} is damaged or not an npz file: {error}") from None


def _image_header(place: Path, name: str) -> ArrayHeader:
    what = f"{place}: array `{name}`"
    try:
        header = read_header(place, name)
    except NpzError as error:
        raise DataError(f"{what} cannot be read: {error}") from None
    shape = header.shape
    if header.dtype not in (np.uint8, np.uint16, np.bool_):
        raise DataError(
            f"{what} is {header.dtype}; images must be uint8, uint16 or bool (scale and convert them first)"
        )
    if len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)) or 0 in shape:
        hint = "; channels come last" if len(shape) == 4 and shape[1] in (1, 3) else ""
        raise DataError(f"{what} has the shape {shape}; needed is (n, H, W), (n, H, W, 1) or (n, H, W, 3){hint}")
    return header


def _read(place: Path, parts: tuple[_Part, ...], headers: list[ArrayHeader], names: Path | None) -> Source:
    counts = [header.shape[0] for header in headers]
    values = np.concatenate([_labels(place, part[1], count) for part, count in zip(parts, counts, strict=True)])
    test = np.repeat([held_out for _, _, held_out in parts], counts)
    arrays = _names(place)
    if "test" in arrays:
        test = _column(place, "test")
        if test.dtype != np.bool_ or test.shape != values.shape:
            raise DataError(f"{place}: array `test` must be one bool per image; it is {test.dtype} {test.shape}")
    if names is not None or "class_names" not in arrays:
        class_names, labels = classes_by_value(values, names)
    else:
        texts = _column(place, "class_names")
        if texts.dtype.kind != "U" or texts.ndim != 1:
            raise DataError(f"{place}: array `class_names` must be one text per class; it is {texts.dtype}")
        class_names, labels = tuple(texts.tolist()), values
    pictures = pictures_of(counts, lambda k, start: _pictures(_images(place, parts[k][0])[start:]))
    return Source(class_names, labels, test, pictures, channels=3 if headers[0].shape[3:] == (3,) else 1)


def _labels(place: Path, name: str, count: int) -> np.ndarray:
    """int64 (count,), from (count,) or (count, 1)."""
    values = _column(place, name)
    if values.dtype.kind not in "iu":
        raise DataError(f"{place}: array `{name}` is {values.dtype}; labels must be integers")
    if values.shape not in ((count,), (count, 1)):
        raise DataError(f"{place}: array `{name}` has the shape {values.shape}, but there are {count:,} images")
    return values.reshape(-1).astype(np.int64)


def _column(place: Path, name: str) -> np.ndarray:
    try:
        return read_arrays(place, (name,), _LARGEST_COLUMN)[0]
    except (OSError, NpzError) as error:
        raise DataError(f"{place}: array `{name}` cannot be read: {error}") from None


def _pictures(images: np.ndarray) -> Iterable[np.ndarray]:
    return (255 * image.astype(np.uint8) for image in images) if images.dtype == np.bool_ else images


def _images(place: Path, name: str) -> np.ndarray:
    try:
        return map_array(place, name)
    except (OSError, NpzError) as error:
        raise DataError(f"{place}: array `{name}` cannot be read: {error}") from None


IMPORTERS = (
    Importer("npz", ".npz file", "images and labels as arrays, named as by Keras or MedMNIST or plainly", find_npz),
)
