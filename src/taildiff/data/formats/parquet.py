"""Images in parquet files, or in a Hugging Face dataset that was saved on disk; needs `pip install 'taildiff[hf]'`.

An image is what an image file holds (JPEG, PNG, WebP), as bytes or as a record of `bytes` and `path`. Whether a parquet
file is for training or held out is in its name (`test-00000-of-00001.parquet`), as on the Hugging Face hub.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taildiff.data.source import Found, Raw, Source, check_place, classes_by_value, fingerprint
from taildiff.errors import DataError

_IMAGES, _LABELS = ("image", "img", "images"), ("label", "labels", "fine_label", "target", "class")
_BATCH = 64
_TEST = ("test",)
_TRAIN = ("train",)


@dataclass(frozen=True)
class Columns:
    """What the columns are called; None: one of the usual names."""

    image: str | None = None
    label: str | None = None

    def pick(self, place: Path, have: Sequence[str]) -> tuple[str, str]:
        """The names of the image and the label column."""
        return (
            self._one(place, have, self.image, _IMAGES, "--image-column"),
            self._one(place, have, self.label, _LABELS, "--label-column"),
        )

    @staticmethod
    def _one(place: Path, have: Sequence[str], name: str | None, usual: Sequence[str], option: str) -> str:
        if name is not None and name not in have:
            raise DataError(f"{place} has no column '{name}'; its columns: {', '.join(have)}")
        found = name or next((one for one in usual if one in have), None)
        if found is None:
            raise DataError(f"{place}: which column? Give {option}; its columns: {', '.join(have)}")
        return found


def needs(package: str) -> Any:
    """A package of the extra; `DataError` says how to get it."""
    try:
        return __import__(package, fromlist=["_"])
    except ImportError:
        name = package.split(".")[0]
        raise DataError(f"this needs {name}, which is not installed: pip install 'taildiff[hf]'") from None


def find_parquet(place: Path, columns: Columns = Columns()) -> Found:
    """A parquet file, or a folder with some at any depth."""
    check_place(place)
    needs("pyarrow.parquet")
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*.parquet") if path.is_file())
    if not files:
        raise DataError(f"{place} holds no parquet files")
    return Found(
        source=str(place.resolve()),
        name=place.stem if place.is_file() else place.resolve().name,
        fingerprint=_mark(place, files),
        roots=(place,),
        read=lambda: _read_parquet(place, files, columns),
        options=" ".join(f"{key}={value}" for key, value in vars(columns).items() if value),
    )


def _mark(place: Path, files: Sequence[Path]) -> str:
    entries = [(path, path.stat()) for path in files]
    return fingerprint((str(path.relative_to(place.parent)), at.st_size, at.st_mtime_ns) for path, at in entries)


def _held_out(place: Path, path: Path) -> bool:
    """By the part's name at the beginning of the file's, or as a folder."""
    below = path.relative_to(place).parts if place.is_dir() else (path.name,)
    words = [word.lower().split("-")[0].split(".")[0] for word in below]
    return any(word in _TEST for word in words) and not any(word in _TRAIN for word in words)


def _read_parquet(place: Path, files: Sequence[Path], columns: Columns) -> Source:
    parquet, arrow = needs("pyarrow.parquet"), needs("pyarrow")
    files = sorted(files, key=lambda path: (_held_out(place, path), path))
    labels: list[np.ndarray] = []
    class_names: tuple[str, ...] | None = None
    image = ""
    for path in files:
        try:
            with parquet.ParquetFile(path) as file:
                image, label = columns.pick(path, file.schema_arrow.names)
                _check_kind(path, arrow, image, file.schema_arrow.field(image).type)
                names = _names_in(file.schema_arrow.metadata, label)
                labels.append(_label_values(path, file.read(columns=[label]).column(0).to_pylist()))
        except (arrow.ArrowException, OSError) as error:
            raise DataError(f"{path} is not a parquet file, or damaged ({_short(error)})") from None
        class_names = class_names or names
    counts = [len(values) for values in labels]
    test = np.repeat([_held_out(place, path) for path in files], counts)
    found, numbers = _classes(place, np.concatenate(labels), class_names)

    def pictures(start: int) -> Iterator[Raw]:
        for path, count in zip(files, counts, strict=True):
            if start < count:
                yield from _stream_parquet(path, columns.image or image, max(start, 0))
            start -= count

    return Source(found, numbers, test, pictures)


def _check_kind(path: Path, arrow: Any, name: str, kind: Any) -> None:
    binary = (arrow.types.is_binary, arrow.types.is_large_binary)
    inner = kind.field("bytes").type if arrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not any(test(inner) for test in binary):
        raise DataError(f"{path}: column '{name}' is {kind}, not the bytes of image files")


def _names_in(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    """Class names as the Hugging Face library leaves them in the schema."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
        return tuple(map(str, names)) if isinstance(names, list) else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _label_values(path: Path, values: list[Any]) -> np.ndarray:
    if not values:
        return np.zeros(0, np.int64)
    kinds = {type(value) for value in values}
    if kinds == {int}:
        return np.array(values, np.int64)
    if kinds == {str}:
        return np.array(values)
    shown = ", ".join(sorted(kind.__name__.replace("NoneType", "nothing") for kind in kinds))
    raise DataError(f"{path}: labels must be whole numbers or text in every row; found {shown}")


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
    """Without bytes the picture is empty, which counts as a broken one."""
    data = row.get("bytes") if isinstance(row, dict) else row
    return data if isinstance(data, bytes) else b""


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def find_hf(place: Path, columns: Columns = Columns()) -> Found:
    """What `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote; of the latter the parts `train` and `test`."""
    check_place(place)
    needs("datasets")
    known = ("dataset_dict.json", "dataset_info.json", "state.json")
    if not any((place / name).is_file() for name in known):
        raise DataError(f"{place} was not written by save_to_disk; parquet files are read by: prepare parquet {place}")
    files = sorted(path for path in place.rglob("*") if path.is_file() and not path.name.startswith("cache-"))
    return Found(
        source=str(place.resolve()),
        name=place.resolve().name,
        fingerprint=_mark(place, files),
        roots=(place,),
        read=lambda: _read_hf(place, columns),
        options=" ".join(f"{key}={value}" for key, value in vars(columns).items() if value),
    )


def _read_hf(place: Path, columns: Columns) -> Source:
    datasets = needs("datasets")
    try:
        loaded = datasets.load_from_disk(str(place))
    except Exception as error:  # whatever damaged files make the library raise
        raise DataError(f"{place} cannot be read as a saved dataset ({_short(error)})") from None
    parts = {"train": loaded}
    if isinstance(loaded, datasets.DatasetDict):
        parts = {name: loaded[name] for name in ("train", "test") if name in loaded}
        if "train" not in parts:
            raise DataError(f"{place} has no part `train`; it has {', '.join(loaded)}")
    labels: list[np.ndarray] = []
    streams: list[Any] = []
    class_names = None
    for name, part in parts.items():
        image, label = columns.pick(place, part.column_names)
        if not isinstance(part.features[image], datasets.Image):
            raise DataError(f"{place}: column '{image}' of `{name}` is {part.features[image]}, not of images")
        class_names = class_names or getattr(part.features[label], "names", None)
        labels.append(_label_values(place, list(part[label])))
        streams.append(part.select_columns([image]).cast_column(image, datasets.Image(decode=False)))
    found, numbers = _classes(place, np.concatenate(labels), tuple(class_names) if class_names else None)
    test = np.repeat([name == "test" for name in parts], [len(values) for values in labels])

    def pictures(start: int) -> Iterator[Raw]:
        for part in streams:
            if start < len(part):
                yield from _stream_hf(place, part.select(range(max(start, 0), len(part))))
            start -= len(part)

    return Source(found, numbers, test, pictures)


def _stream_hf(place: Path, part: Any) -> Iterator[Raw]:
    try:
        for batch in part.iter(_BATCH):
            yield from (_bytes(row) for row in next(iter(batch.values())))
    except Exception as error:  # whatever damaged files make the library raise
        raise DataError(f"{place} is damaged ({_short(error)})") from None
