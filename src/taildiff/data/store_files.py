"""The files of a store as data: what store.json says, and arrays and names that are checked while they are read."""

import shlex
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from taildiff.errors import DataError, SpecError
from taildiff.runs import RunDir
from taildiff.spec import Spec, parse, read_json

FORMAT = 1
AGAIN = "prepare it again: taildiff data prepare … --overwrite"
Size = Annotated[int, Field(ge=1)]


class SourceMeta(Spec):
    """Where a store comes from; equal for two preparations that would give the same images."""

    source: str
    """A path, or the name of something that ships with a package."""
    options: str = ""
    """Everything else that decides the images, such as their size."""
    fingerprint: str = ""
    """Of the source's files (names, sizes, times); a changed source gives another one."""


class StoreMeta(Spec):
    """store.json."""

    format: int = FORMAT
    name: str
    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    height: Size
    width: Size
    channels: Size
    count: Size
    """Images N."""
    source: SourceMeta
    skipped: int = 0
    """Broken images that were left out."""
    skipped_names: tuple[str, ...] = ()
    """The first of them."""
    notes: tuple[str, ...] = ()
    """What else a person should know of the preparation, a sentence each."""
    names: bool = False
    """Whether names.txt tells where each image comes from."""
    hash: str
    """sha256 over shape, images, labels, test column and class names."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return self.count, self.height, self.width, self.channels


def is_store(path: Path) -> bool:
    """Whether there is a store.json; says nothing about its health."""
    return (path / "store.json").is_file()


def refuse_run(path: Path) -> None:
    """`DataError` where someone names a run in the place of data."""
    run = RunDir(path)
    if run.exists():
        data = shlex.quote(run.info().store.path)
        raise DataError(
            f"{path} is a run, not data. What it was trained on: taildiff data show {data}. "
            f"What came of it: taildiff report {shlex.quote(str(path))}"
        )


def read_meta(root: Path) -> StoreMeta:
    """store.json; `DataError` says what else there is, or what is wrong with it."""
    if not root.exists():
        raise DataError(f"{root} does not exist. Make a store: taildiff data prepare mnist5k --out {root}")
    refuse_run(root)
    if not root.is_dir():
        raise DataError(f"{root} is a file; a store is a folder, such as taildiff data prepare … --out STORE makes")
    if not is_store(root):
        raise DataError(
            f"{root} is not a store (no store.json there). "
            f"From a folder of images: taildiff data prepare folder {root} --out STORE"
        )
    path = root / "store.json"
    try:
        values = read_json(path)
        version = values.get("format") if isinstance(values, dict) else None
        if version != FORMAT:
            raise DataError(f"{path}: format {version!r:.40}, this version reads {FORMAT}; {AGAIN}")
        return parse(StoreMeta, values, source=str(path))
    except SpecError as error:
        raise DataError(f"{error}; {AGAIN}") from None


def read_array(path: Path, dtype: np.dtype, shape: tuple[int, ...], mapped: bool = False) -> np.ndarray:
    """A `.npy` file that holds just this; `DataError` names the file."""
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {AGAIN}") from None
    except Exception as error:  # of a damaged header numpy's reader lets the errors of Python's tokenizer through
        raise DataError(f"{path} is damaged or cut off ({error}); {AGAIN}") from None
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
        raise DataError(f"{path} holds {found}, store.json says {dtype} {shape}; {AGAIN}")
    return array


def read_names(path: Path, count: int) -> tuple[str, ...]:
    """names.txt: a line an image. File names need not be valid text, so the bytes are kept as they are."""
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); {AGAIN}") from None
    names = tuple(text.removesuffix("\n").split("\n"))
    if len(names) != count or not text.endswith("\n"):
        raise DataError(f"{path} has {len(names):,} lines for {count:,} images; {AGAIN}")
    return names


def write_names(path: Path, names: list[str]) -> None:
    """What `read_names` reads; no name may have a line break."""
    path.write_bytes("".join(f"{name}\n" for name in names).encode(errors="surrogateescape"))
