"""Images and labels in one `.npz`, under the names in common use.

images (n, H, W[, 1 or 3]) uint8, labels (n,); optional: test (n,) bool, class_names (C,)
x_train, y_train, x_test, y_test                               (Keras)
train_images, train_labels, val_images, …, test_images, …      (MedMNIST; val is for training)
"""

from pathlib import Path

import numpy as np

from taildiff.data.formats.importer import Importer, Names
from taildiff.data.source import Found, Source, check_place, classes_by_value, fingerprint_of, pictures_of
from taildiff.errors import DataError
from taildiff.io.npz import ArrayHeader, NpzError, array_names, map_array, read_arrays, read_header

_LAYOUTS = (
    (("images", "labels", False),),
    (("x_train", "y_train", False), ("x_test", "y_test", True)),
    (
        ("train_images", "train_labels", False),
        ("val_images", "val_labels", False),
        ("test_images", "test_labels", True),
    ),
)
"""(images, labels, held out) of each part."""
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
        options="names=" + str(names.resolve()) if names else "",
    )


def _parts(place: Path) -> tuple[tuple[str, str, bool], ...]:
    arrays = _names(place)
    listing = ", ".join(f"`{name}`" for name in sorted(arrays)[:10]) or "none"
    for layout in _LAYOUTS:
        if layout[0][0] in arrays:
            parts = tuple(part for part in layout if part[0] in arrays)
            for _, labels, _ in parts:
                if labels not in arrays:
                    raise DataError(f"{place} has no array `{labels}`; it has {listing}")
            return parts
    expected = " or ".join(f"`{layout[0][0]}` and `{layout[0][1]}`" for layout in _LAYOUTS)
    raise DataError(f"{place} has no arrays {expected}; it has {listing}")


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
    if header.dtype != np.uint8:
        raise DataError(f"{what} is {header.dtype}; images must be uint8, 0..255 (scale and convert them first)")
    if len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)) or 0 in shape:
        hint = "; channels come last" if len(shape) == 4 and shape[1] in (1, 3) else ""
        raise DataError(f"{what} has the shape {shape}; needed is (n, H, W), (n, H, W, 1) or (n, H, W, 3){hint}")
    return header


def _read(
    place: Path, parts: tuple[tuple[str, str, bool], ...], headers: list[ArrayHeader], names: Path | None
) -> Source:
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
    pictures = pictures_of(counts, lambda k, start: _images(place, parts[k][0])[start:])
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


def _images(place: Path, name: str) -> np.ndarray:
    try:
        return map_array(place, name)
    except (OSError, NpzError) as error:
        raise DataError(f"{place}: array `{name}` cannot be read: {error}") from None


IMPORTERS = (
    Importer("npz", ".npz file", "images and labels as arrays, named as by Keras or MedMNIST or plainly", find_npz),
)
