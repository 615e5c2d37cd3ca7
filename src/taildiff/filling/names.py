"""Names of files in a filled folder: distinct, flat below each class, and read by `datasets` with their labels.

`datasets`' imagefolder takes the folder of a file for its label, and files or folders whose names have a word such as
`train` or `test` between separators for a split, of which it then reads nothing else. Such words get an `x`.
"""

import re
from collections.abc import Sequence
from itertools import chain, count
from pathlib import PurePosixPath

from taildiff.data.kinds import SUFFIXES
from taildiff.log import log

_SPLIT = re.compile(
    r"(?<![^-._ 0-9])(train|training|validation|valid|dev|val|testing|test|evaluation|eval)(?=[-._ 0-9])"
)
_SUFFIX = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}


def generated_name(weights_hash: str, seed: int, rank: int) -> str:
    """The name of a generated image, which no photograph has."""
    return f"generated-{weights_hash[:8]}-{seed}-{rank:05d}.png"


class Names:
    """The names given so far in the folder of each class."""

    def __init__(self) -> None:
        self._taken: dict[str, set[str]] = {}

    def original(self, folder: str, path: str, kind: str | None = None, suffix: str | None = None) -> str:
        """A free name for an original whose path in the source is `path`; `kind` is that of its content.

        Its own name, where that is free; else with the folders that it lies in.
        """
        *folders, last = PurePosixPath(path).parts
        own = PurePosixPath(last).suffix
        stem = last.removesuffix(own)
        if suffix is not None:
            own = suffix
        elif own.lower() not in SUFFIXES:
            stem, own = last, _SUFFIX.get(kind or "", ".png")
        by_folders = ("-".join([*folders[depth:], stem]) for depth in range(len(folders), -1, -1))
        numbered = (f"{stem}-{number}" for number in count(2))
        taken = self._taken.setdefault(folder, set())
        names = (f"{_readable(each)}{own}" for each in chain(by_folders, numbered))
        name = next(name for name in names if name.lower() not in taken)
        taken.add(name.lower())
        return name


def _readable(stem: str) -> str:
    """The stem without words that `datasets` would take for a split."""
    return _SPLIT.sub(r"\1x", f"{stem}.")[:-1]


def warn_of_splits(folders: Sequence[str]) -> None:
    """Log a warning for class folders that `datasets` takes for a split."""
    odd = [name for name in folders if _SPLIT.search(f"{name}.")]
    if odd:
        log.warning(
            f"datasets takes the class folder {', '.join(map(repr, odd))} for a split; load the folder with "
            'data_files={"train": "**"}'
        )
