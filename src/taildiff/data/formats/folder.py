"""A folder of class folders, or of `train/` and `test/` with the same class folders; see `taildiff.data.listing`."""

from pathlib import Path
from typing import Annotated

from taildiff.data.formats.importer import Importer, Option
from taildiff.data.listing import scan
from taildiff.data.source import Found

_Test = Annotated[Path | None, Option("Held-out images in another folder with the same classes.", "PLACE")]


def find_folder(source: Path, test: _Test = None) -> Found:
    """All images in class folders; `test` is a folder of held-out images elsewhere."""
    return scan(source, test).found()


IMPORTERS = (Importer("folder", "folder", "your own images, one sub-folder per class", find_folder),)
