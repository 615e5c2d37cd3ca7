"""The photographs of a run's store as files: where they are, and how they come into the filled folder."""

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taildiff.data.images import FORMATS
from taildiff.data.kinds import content_kind, read_head
from taildiff.data.store import Store
from taildiff.errors import DataError, InputError
from taildiff.filling.names import Names
from taildiff.filling.request import Originals
from taildiff.io.png import png
from taildiff.io.staging import check_space
from taildiff.log import log

_LOOKED_AT = 200  # files whose size is read


@dataclass(frozen=True, eq=False)
class Photographs:
    """The originals of a filled folder."""

    store: Store
    how: Originals
    """Never `auto`."""
    files: dict[int, Path]
    """By position in the store; none with `resized`; with `none` for their size alone, where they are found."""

    @classmethod
    def find(cls, store: Store, positions: Sequence[int], how: Originals, out: Path) -> "Photographs":
        """Those at these positions; `InputError` where their files are asked for and are not found."""
        if how == "resized":
            return cls(store, how, {})
        try:
            files = dict(zip(positions, _files(store, positions), strict=True))
        except DataError as error:
            if how == "none":
                return cls(store, how, {})
            if how != "auto":
                raise InputError(f"--originals {how}: {error}; give --originals resized or none") from None
            log.info(f"the originals are written at the size of the store: {error}")
            return cls(store, "resized", {})
        if how == "copy":
            check_space(out, "", sum(file.stat().st_size for file in files.values()))
        return cls(store, "link" if how == "auto" else how, files)

    def write(self, folder: Path, shown: str, positions: NDArray[np.intp], names: Names) -> None:
        """Write the originals at these positions, all of one class, into its folder, called `shown` in messages."""
        for position in positions.tolist() if self.how != "none" else ():
            path = self._path_in_class(position)
            if self.how == "resized":
                target = folder / names.original(shown, path, suffix=".png")
                target.write_bytes(png(np.asarray(self.store.images[position])))
                continue
            file = self.files[position]
            target = folder / names.original(shown, path, content_kind(read_head(str(file))))
            if self.how == "link":
                target.symlink_to(file)
            else:
                shutil.copyfile(file, target)

    def _path_in_class(self, position: int) -> str:
        """The path of an original below its class folder, if it lies in one."""
        if self.store.names is None:
            return f"original-{position:06d}.png"
        parts = PurePosixPath(self.store.names[position]).parts
        name = self.store.meta.class_names[self.store.labels[position]]
        start = parts.index(name) + 1 if name in parts[:-1] else 0
        return "/".join(parts[start:])

    def median_size(self) -> tuple[int, int] | None:
        """Median width and height of the files; None where none are used, or none can be read."""
        chosen = list(self.files.values())
        step = max(1, len(chosen) // _LOOKED_AT)
        sizes = list(_sizes(chosen[::step]))
        if not sizes:
            return None
        width, height = np.median(np.array(sizes), axis=0).astype(int).tolist()
        return width, height


def _sizes(files: Sequence[Path]) -> Iterator[tuple[int, int]]:
    for file in files:
        try:
            with Image.open(file, formats=FORMATS) as image:
                yield image.size
        except Exception:  # decoders raise many types; a file that was readable before may be anything now
            continue


def _files(store: Store, positions: Sequence[int]) -> list[Path]:
    """The files of these images; `DataError` says why there are none."""
    if store.names is None:
        raise DataError(f"{store.root} was not made from image files")
    names = [store.names[position] for position in positions]
    for root in _roots(store):
        if names and _below(root, names[0]).is_file():
            files = [_below(root, name) for name in names]
            if missing := [file for file in files if not file.is_file()]:
                raise DataError(f"{missing[0]} no longer exists" + f" ({len(missing)} files)" * (len(missing) > 1))
            return files
    raise DataError(f"the files of {store.root} are no longer in {store.meta.source.source}")


def _roots(store: Store) -> Iterator[dict[str, Path]]:
    """Folders that the names of the store's images may start from, by prefix of the name."""
    source = store.meta.source.source
    train, both, test = source.partition(" and ")
    yield {"": Path(source)}
    yield {"": Path(source).parent}  # a list beside the images
    if both:
        yield {"train/": Path(train), "test/": Path(test)}
    if given := re.search(r"root=(.+?)(?= hold-out=|$)", store.meta.source.options):
        yield {"": Path(given[1])}


def _below(roots: dict[str, Path], name: str) -> Path:
    """The file of a name; the working folder, which is no file, for one that leads out or has another prefix."""
    prefix = next((prefix for prefix in roots if name.startswith(prefix)), None)
    if prefix is None or ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
        return Path()
    return roots[prefix] / name[len(prefix) :]
