"""The files of stores and latents: store.json and latents.json as models, and arrays and names, checked when read."""

import math
import shlex
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
from pydantic import Field

from taildiff.errors import DataError, SpecError
from taildiff.io.atomic import write_json
from taildiff.io.checksum import CHECKSUM, checksum_matches, with_checksum
from taildiff.io.json_files import read_json
from taildiff.io.paths import reason, regular
from taildiff.io.staging import put_back
from taildiff.run.layout import RunDir
from taildiff.spec import CodecFacts, Spec, parse

FORMAT = 1
"""Of store.json and of latents.json."""
MOMENTS = "moments.npy"
S = TypeVar("S", bound=Spec)


class Kind(NamedTuple):
    """How messages describe a folder of arrays."""

    json: str
    """The file with its metadata."""
    what: str
    """What it holds."""
    again: str
    """How to make it again."""


STORE = Kind("store.json", "images", "prepare it again: taildiff data prepare … --overwrite")
LATENTS = Kind("latents.json", "latents", "encode the store again: taildiff data encode … --overwrite")
Size = Annotated[int, Field(ge=1)]


class SourceMeta(Spec):
    """Where a store comes from; equal for two preparations that give the same images."""

    source: str
    """A path, or the name of something that ships with a package."""
    options: str = ""
    """Everything else that affects the images, such as their size."""
    fingerprint: str = ""
    """Of the source's files (names, sizes, times); changes when they change."""


class StoreMeta(Spec):
    """store.json."""

    format: int = FORMAT
    name: str
    class_names: Annotated[tuple[str, ...], Field(min_length=1)]
    height: Size
    width: Size
    channels: Size
    count: Size
    """Number of images N."""
    source: SourceMeta
    skipped: int = 0
    """Broken images that were left out."""
    skipped_names: tuple[str, ...] = ()
    """The first of them, with reasons."""
    notes: tuple[str, ...] = ()
    """Remarks on the preparation for the user, one sentence each."""
    names: bool = False
    """Whether names.txt holds where each image comes from."""
    hash: str
    """sha256 over shape, images, labels, test column and class names."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return self.count, self.height, self.width, self.channels

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes for the person who prepared the images: which were skipped and why, then `notes`."""
        rest = self.skipped - len(self.skipped_names)
        more = (f"… and {rest} more skipped",) if rest else ()
        return (*(f"skipped {name}" for name in self.skipped_names), *more, *self.notes)


class LatentMeta(Spec):
    """latents.json; the file's checksum covers everything but `pixels_path`, so that the store may be moved."""

    format: int = FORMAT
    pixels: StoreMeta
    """store.json of the images."""
    pixels_path: str
    """Where that store was, absolute; training does not need it."""
    codec: CodecFacts
    rows: Size
    """Number of training images n."""
    hash: str
    """sha256 over shape, moments, labels, test column, class names, the store's hash and the VAE's."""

    @property
    def shape(self) -> tuple[int, int, int, int, int, int]:
        """(n, 2, 2, c, h, w)."""
        return self.rows, 2, 2, self.codec.channels, self.codec.height, self.codec.width

    @property
    def moments_bytes(self) -> int:
        """Size of moments.npy."""
        return math.prod(self.shape) * np.dtype(np.float16).itemsize


def is_store(path: Path) -> bool:
    """Whether the folder has a store.json, which is not checked; an interrupted swap is undone first."""
    put_back(path)
    return (path / STORE.json).is_file()


def is_latents(path: Path) -> bool:
    """Whether the folder has a latents.json, which is not checked; an interrupted swap is undone first."""
    put_back(path)
    return (path / LATENTS.json).is_file()


def refuse_run(path: Path) -> None:
    """`DataError` where `path` is a run instead of data."""
    run = RunDir(path)
    if run.exists():
        data = shlex.quote(run.info().store.path)
        raise DataError(
            f"{path} is a run, not data. To see its data: taildiff data show {data}. "
            f"To see its results: taildiff report {shlex.quote(str(path))}"
        )


def read_meta(root: Path) -> StoreMeta:
    """store.json of a folder; `DataError` where it is damaged, or the folder is something else."""
    put_back(root)
    if not root.exists():
        raise DataError(f"{root} does not exist. Make a store: taildiff data prepare folder IMAGES --out {root}")
    refuse_run(root)
    if not root.is_dir():
        raise DataError(f"{root} is a file, not a store. Make a store: taildiff data prepare … --out STORE")
    if is_latents(root):
        place = read_latent_meta(root).pixels_path
        raise DataError(f"{root} holds latents, but images are needed; give the store they were made from: {place}")
    if not is_store(root):
        raise DataError(
            f"{root} is not a store (it has no store.json). "
            f"From a folder of images: taildiff data prepare folder {root} --out STORE"
        )
    return _described(StoreMeta, _values(root, STORE), root, STORE)


def read_latent_meta(root: Path) -> LatentMeta:
    """latents.json of a folder that `is_latents`; `DataError` where it is damaged."""
    values = _values(root, LATENTS)
    fixed = {name: value for name, value in values.items() if name != "pixels_path"}
    if not checksum_matches(fixed):
        raise DataError(
            f"{root / LATENTS.json} was changed or is damaged: its checksum does not match its content (only "
            f"pixels_path may be edited); {LATENTS.again}"
        )
    return _described(LatentMeta, {name: values[name] for name in values if name != CHECKSUM}, root, LATENTS)


def check_recorded(root: Path, kind: Kind, hash: str, recorded: str | None) -> None:
    """`DataError` for data with another hash than the recorded one, if any."""
    if recorded not in (None, hash):
        raise DataError(f"{root} now holds other {kind.what} (hash {hash:.12}, recorded: {recorded:.12})")


def write_latent_meta(root: Path, meta: LatentMeta) -> None:
    """Write latents.json for `read_latent_meta`."""
    values = meta.model_dump(mode="json")
    path = values.pop("pixels_path")
    write_json(root / LATENTS.json, {"pixels_path": path, **with_checksum(values)})


def _values(root: Path, kind: Kind) -> dict[str, Any]:
    path = root / kind.json
    try:
        values = read_json(path)
    except SpecError as error:
        raise DataError(f"{error}; {kind.again}") from None
    version = values.get("format") if isinstance(values, dict) else None
    if version != FORMAT:
        raise DataError(f"{path}: format {version!r:.40}, this version reads {FORMAT}; {kind.again}")
    return values


def _described(cls: type[S], values: dict[str, Any], root: Path, kind: Kind) -> S:
    try:
        return parse(cls, values, source=str(root / kind.json))
    except SpecError as error:
        raise DataError(f"{error}; {kind.again}") from None


def read_array(
    path: Path, dtype: np.dtype, shape: tuple[int, ...], mapped: bool = False, kind: Kind = STORE
) -> np.ndarray:
    """A `.npy` file with this content; `DataError` names a file that is missing, damaged or different."""
    try:
        array = np.load(regular(path), mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {kind.again}") from None
    except Exception as error:  # for a damaged header, numpy also raises errors of Python's tokenizer
        raise DataError(f"{path} is damaged or cut off ({reason(error)}); {kind.again}") from None
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        content = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
        raise DataError(f"{path} holds {content}, {kind.json} says {dtype} {shape}; {kind.again}")
    return array


def read_names(path: Path, count: int, kind: Kind = STORE) -> tuple[str, ...]:
    """names.txt: one line per image. File names need not be valid text, so their bytes are preserved."""
    try:
        text = regular(path).read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); {kind.again}") from None
    names = tuple(text.removesuffix("\n").split("\n"))
    if len(names) != count or not text.endswith("\n"):
        raise DataError(f"{path} has {len(names):,} lines for {count:,} images; {kind.again}")
    return names


def write_names(path: Path, names: list[str]) -> None:
    """Write names.txt for `read_names`; no name may contain a line break."""
    path.write_bytes("".join(f"{name}\n" for name in names).encode(errors="surrogateescape"))
