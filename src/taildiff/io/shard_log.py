"""How far a preparation or an encoding has come: a line a shard, written when the shard's images are on the disk.

    .NAME.partial/journal.jsonl     {"source": …, "shape": …}, then {"items": …, "images": …, "crc": …, …} a shard

A process that is killed leaves it behind; the next one of the same source and shape goes on after its last good shard.
"""

import os
from pathlib import Path

from pydantic import ValidationError

from taildiff.data.store_files import SourceMeta
from taildiff.io.atomic import write_atomic
from taildiff.spec import Spec

NAME = "journal.jsonl"


class Header(Spec):
    """What is being written; another header means that nothing can be taken over."""

    source: SourceMeta
    shape: tuple[int, ...]
    """Of one image, such as (H, W, C), or of one row of other data."""


class Shard(Spec):
    """Some consecutive items of a source, done."""

    items: int
    images: int
    """Of the items, those that are no broken ones."""
    crc: int
    """Of the images' bytes."""
    skipped: tuple[tuple[int, str], ...] = ()
    """Position in the source and reason."""
    animated: int = 0
    """Images of which the first frame was taken."""


def read_journal(folder: Path) -> tuple[Header | None, list[Shard]]:
    """What an earlier process wrote, as far as it is readable; (None, []) if there is nothing."""
    try:
        lines = (folder / NAME).read_text(encoding="utf-8").splitlines(keepends=True)
        header = Header.model_validate_json(lines[0])
    except (OSError, UnicodeDecodeError, ValidationError, IndexError):
        return None, []
    shards: list[Shard] = []
    for line in lines[1:]:
        try:
            shards.append(Shard.model_validate_json(line))
        except ValidationError:  # the process was killed while it wrote this line
            break
    return header, shards


class Journal:
    """Keeps journal.jsonl."""

    def __init__(self, folder: Path, header: Header, shards: list[Shard]):
        lines = [header.model_dump_json(), *(shard.model_dump_json() for shard in shards)]
        write_atomic(folder / NAME, "".join(f"{line}\n" for line in lines).encode())
        self._file = (folder / NAME).open("a", encoding="utf-8")

    def add(self, shard: Shard) -> None:
        """A shard whose images are on the disk."""
        self._file.write(shard.model_dump_json() + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file, which stays."""
        self._file.close()
