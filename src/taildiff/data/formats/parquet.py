"""Parquet files and Hugging Face datasets written by `save_to_disk`; needs `pip install 'taildiff[hf]'`.

An image is an encoded file (JPEG, PNG, WebP), given as bytes or as a struct of `bytes` and `path`. A parquet file is
held out if its name says so (`test-00000-of-00001.parquet`, `validation-…`), as on the Hugging Face Hub.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from taildiff.data.formats.importer import Importer, Option
from taildiff.data.listing import some
from taildiff.data.parts import is_held_out
from taildiff.data.source import Found, Raw, Source, check_place, classes_by_value, fingerprint, pictures_of
from taildiff.errors import DataError
from taildiff.io.npz import HARMLESS, MOST_TIMES
from taildiff.io.paths import whole

_IMAGES, _LABELS = ("image", "img", "images"), ("label", "labels", "fine_label", "target", "class")
_ImageColumn = Annotated[str | None, Option("Column of images. [default: image, img or images]", "NAME")]
_LabelColumn = Annotated[str | None, Option("Column of classes. [default: label, class or the like]", "NAME")]
_BATCH = 64


@dataclass(frozen=True)
class ColumnNames:
    """Names of the columns; None stands for the first usual name that exists."""

    image: str | None = None
    label: str | None = None

    def pick(self, place: Path, columns: Sequence[str]) -> tuple[str, str]:
        """Names of the image and the label column."""
        return (
            self._one(place, columns, self.image, _IMAGES, "--image-column"),
            self._one(place, columns, self.label, _LABELS, "--label-column"),
        )

    def __str__(self) -> str:
        return " ".join(f"{key}={value}" for key, value in vars(self).items() if value)

    @staticmethod
    def _one(place: Path, columns: Sequence[str], name: str | None, usual: Sequence[str], option: str) -> str:
        column = name or next((one for one in usual if one in columns), None)
        if column is None:
            raise DataError(f"{place}: no column has a usual name; give {option}. Columns: {', '.join(columns)}")
        if column not in columns:
            raise DataError(f"{place} has no column '{name}'. Columns: {', '.join(columns)}")
        return column


def needs(package: str) -> Any:
    """The imported package; `DataError` says how to install it."""
    try:
        return __import__(package, fromlist=["_"])
    except ImportError:
        name = package.split(".")[0]
        raise DataError(f"{name} is not installed: pip install 'taildiff[hf]'") from None


def find_parquet(place: Path, image_column: _ImageColumn = None, label_column: _LabelColumn = None) -> Found:
    """Images of a parquet file, or of all parquet files at any depth of a folder."""
    check_place(place)
    needs("pyarrow.parquet")
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*.parquet") if path.is_file())
    if not files:
        raise DataError(f"{place} contains no parquet files")
    columns = ColumnNames(image_column, label_column)
    held_out = {_held_out(place, path) for path in files}
    return _found(place, files, columns, held_out, lambda: _read_parquet(place, files, columns))


def find_hf(place: Path, image_column: _ImageColumn = None, label_column: _LabelColumn = None) -> Found:
    """Images of a `Dataset` written by `save_to_disk`, or of the splits of a `DatasetDict` that `data.parts` knows."""
    check_place(place)
    needs("datasets")
    markers = ("dataset_dict.json", "dataset_info.json", "state.json")
    if not any((place / name).is_file() for name in markers):
        raise DataError(
            f"{place} was not written by save_to_disk; for parquet files: taildiff data prepare parquet {place}"
        )
    files = sorted(path for path in place.rglob("*") if path.is_file() and not path.name.startswith("cache-"))
    columns = ColumnNames(image_column, label_column)
    held_out = {name for name in _splits(place) if is_held_out(name)}
    return _found(place, files, columns, held_out, lambda: _read_hf(place, columns))


IMPORTERS = (
    Importer("parquet", "file or folder", "parquet files with an image and a label column (extra `hf`)", find_parquet),
    Importer("hf", "folder", "a Hugging Face dataset written by save_to_disk (extra `hf`)", find_hf),
)


def _found(
    place: Path, files: Sequence[Path], columns: ColumnNames, held_out: set[str], read: Callable[[], Source]
) -> Found:
    entries = [(path, path.stat()) for path in files]
    parts = ",".join(sorted(held_out - {""}))
    return Found(
        source=str(place.resolve()),
        name=place.stem if place.is_file() else place.resolve().name,
        fingerprint=fingerprint(
            (str(path.relative_to(place.parent)), status.st_size, status.st_mtime_ns) for path, status in entries
        ),
        roots=(place,),
        read=read,
        options=" ".join(filter(None, (str(columns), f"held-out={parts}" if parts not in ("", "test") else ""))),
    )


def _held_out(place: Path, path: Path) -> str:
    """The part that the file's name or that of a folder above it starts with, if it is held out; else empty."""
    below = path.relative_to(place).parts if place.is_dir() else (path.name,)
    words = [word.lower().split("-")[0].split(".")[0] for word in below]
    if any(is_held_out(word) is False for word in words):
        return ""
    return next((word for word in words if is_held_out(word)), "")


def _splits(place: Path) -> list[str]:
    """The splits of a saved `DatasetDict`, none for a `Dataset`."""
    try:
        return [str(name) for name in json.loads(whole(place / "dataset_dict.json").read_text())["splits"]]
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return []


def _read_parquet(place: Path, files: Sequence[Path], columns: ColumnNames) -> Source:
    parquet, arrow = needs("pyarrow.parquet"), needs("pyarrow")
    files = sorted(files, key=lambda path: (bool(_held_out(place, path)), path))
    labels: list[np.ndarray] = []
    class_names: tuple[str, ...] | None = None
    images: list[str] = []
    for path in files:
        try:
            with parquet.ParquetFile(path) as file:
                image, label = columns.pick(path, file.schema_arrow.names)
                _check_kind(path, arrow, image, file.schema_arrow.field(image).type)
                _check_sizes(path, file.metadata)
                images.append(image)
                class_names = class_names or _names_in(file.schema_arrow.metadata, label)
                labels.append(_label_values(path, file.read(columns=[label]).column(0).to_pylist()))
        except (arrow.ArrowException, OSError) as error:
            raise DataError(f"{path} is damaged or not a parquet file ({_short(error)})") from None
    counts = [len(values) for values in labels]
    test = np.repeat([bool(_held_out(place, path)) for path in files], counts)
    names, values = _classes(place, np.concatenate(labels), class_names)
    pictures = pictures_of(counts, lambda k, start: _stream_parquet(files[k], images[k], start))
    return Source(names, values, test, pictures)


def _check_sizes(path: Path, metadata: Any) -> None:
    """`DataError` where a small file announces so much that reading it would fill the memory."""
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    bytes_in_file = path.stat().st_size
    unpacked = max((group.total_byte_size for group in groups), default=0)
    if metadata.num_rows > bytes_in_file or unpacked > HARMLESS + MOST_TIMES * bytes_in_file:
        raise DataError(
            f"{path} has {bytes_in_file:,} bytes and announces {metadata.num_rows:,} rows, with {unpacked:,} bytes in "
            "one row group; it is damaged or a decompression bomb"
        )


def _check_kind(path: Path, arrow: Any, name: str, kind: Any) -> None:
    binary = (arrow.types.is_binary, arrow.types.is_large_binary)
    inner = kind.field("bytes").type if arrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not any(test(inner) for test in binary):
        raise DataError(f"{path}: column '{name}' has the type {kind}; encoded image files (bytes) are needed")


def _names_in(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    """Class names from the schema, where the Hugging Face library stores them."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
        return tuple(map(str, names)) if isinstance(names, list) else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _label_values(path: Path, values: list[Any]) -> np.ndarray:
    types = {type(value) for value in values}
    if types <= {int}:
        return np.array(values, np.int64)
    if types == {str}:
        return np.array(values)
    shown = ", ".join(sorted(each.__name__.replace("NoneType", "nothing") for each in types))
    raise DataError(f"{path}: labels must be integers or text in every row; found {shown}")


def _classes(place: Path, values: np.ndarray, names: tuple[str, ...] | None) -> tuple[tuple[str, ...], np.ndarray]:
    if names is None or values.dtype.kind == "U":
        return classes_by_value(values)
    if len(values) and not 0 <= values.min() <= values.max() < len(names):
        raise DataError(f"{place}: labels {values.min()}..{values.max()}, but there are {len(names)} class names")
    return names, values


def _stream_parquet(path: Path, image: str, start: int) -> Iterator[Raw]:
    parquet, arrow = needs("pyarrow.parquet"), needs("pyarrow")
    try:
        with parquet.ParquetFile(path) as file:
            sizes = np.array([file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)])
            first = int(np.searchsorted(np.cumsum(sizes), start, side="right"))
            skip = start - int(sizes[:first].sum())
            groups = list(range(first, len(sizes)))
            for batch in file.iter_batches(_BATCH, columns=[image], row_groups=groups):
                rows = batch.column(0).to_pylist()
                yield from (_bytes(row) for row in rows[skip:])
                skip = max(skip - len(rows), 0)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged ({_short(error)})") from None


def _bytes(row: Any) -> bytes:
    """The encoded image; empty, and so counted as broken, where the row has no bytes."""
    data = row.get("bytes") if isinstance(row, dict) else row
    return data if isinstance(data, bytes) else b""


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _read_hf(place: Path, columns: ColumnNames) -> Source:
    datasets = needs("datasets")
    try:
        loaded = datasets.load_from_disk(str(place))
    except Exception as error:  # the library raises many types on damaged files
        raise DataError(f"{place} cannot be read as a saved dataset ({_short(error)})") from None
    parts, notes = {"train": loaded}, ()
    if isinstance(loaded, datasets.DatasetDict):
        known = [name for name in loaded if is_held_out(name) is not None]
        parts = {name: loaded[name] for name in sorted(known, key=lambda name: bool(is_held_out(name)))}
        if all(map(is_held_out, parts)):
            raise DataError(f"{place} has no split `train`; it has {', '.join(loaded)}")
        if others := [name for name in loaded if name not in parts]:
            notes = (f"skipped {some(others)}: only splits called train, validation or test are read; rename them",)
    labels: list[np.ndarray] = []
    streams: list[Any] = []
    class_names = None
    for name, part in parts.items():
        image, label = columns.pick(place, part.column_names)
        if not isinstance(part.features[image], datasets.Image):
            raise DataError(f"{place}: column '{image}' of `{name}` has the type {part.features[image]}, not Image")
        class_names = class_names or getattr(part.features[label], "names", None)
        labels.append(_label_values(place, list(part[label])))
        streams.append(part.select_columns([image]).cast_column(image, datasets.Image(decode=False)))
    counts = [len(values) for values in labels]
    names, values = _classes(place, np.concatenate(labels), tuple(class_names) if class_names else None)
    test = np.repeat([bool(is_held_out(name)) for name in parts], counts)
    pictures = pictures_of(counts, lambda k, start: _stream_hf(place, streams[k].select(range(start, counts[k]))))
    return Source(names, values, test, pictures, strict_notes=notes)


def _stream_hf(place: Path, part: Any) -> Iterator[Raw]:
    try:
        for batch in part.iter(_BATCH):
            yield from (_bytes(row) for row in next(iter(batch.values())))
    except Exception as error:  # the library raises many types on damaged files
        raise DataError(f"{place} is damaged ({_short(error)})") from None
