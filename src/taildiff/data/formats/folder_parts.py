"""Decide whether the sub-folders of a folder are classes, or parts that hold the same class folders."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from taildiff.data.class_names import canonical
from taildiff.data.listing import PassedOver, holds_images, images_in, some, subfolders
from taildiff.data.parts import is_held_out
from taildiff.errors import DataError, unknown

_DATE = re.compile(r"(19|20)\d\d([-_.]?\d\d)*|jan.*|feb.*|mar(ch)?|apr.*|may|june?|july?|aug.*|sep.*|oct.*|nov.*|dec.*")
"""Folders that sort the images of one class by date."""

_NO_PARTS = ". If they are classes, give --no-parts"


@dataclass(frozen=True, eq=False)
class Parts:
    """Folders of class folders by the prefix of their images' names."""

    train: dict[str, Path]
    held_out: dict[str, Path] = field(default_factory=dict)
    options: str = ""
    """What the store records, if it is not the plain layout."""
    hint: str = ""
    """How a message about the parts ends."""
    beside: PassedOver = field(default_factory=PassedOver)
    """Images and broken links beside the parts."""

    @property
    def all(self) -> dict[str, Path]:
        """The training parts, then the others."""
        return self.train | self.held_out

    @property
    def many(self) -> bool:
        """Whether names have a prefix."""
        return len(self.all) > 1

    @property
    def roots(self) -> tuple[Path, ...]:
        """Their folders."""
        return tuple(self.all.values())


def parts_of(
    source: Path, train: str | None, held_out: str | None, no_parts: bool, elsewhere: Path | None = None
) -> Parts:
    """The parts in `source`, by the names of its sub-folders or by those given (separated by commas).

    A folder of classes is one part without a prefix. `DataError` with the options that decide for sub-folders that look
    like parts and cannot be told apart; for any parts if the held-out images are `elsewhere`.
    """
    if no_parts and (train or held_out):
        raise DataError("give --no-parts, or --train and --held-out, not both")
    folders = subfolders(source)
    if train or held_out:
        return _given(source, folders, train, held_out)
    whole = Parts({"": source})
    if no_parts or len(folders) < 2:
        return whole
    held = {folder: is_held_out(folder.name) for folder in folders}
    known = [folder for folder in folders if held[folder] is not None]
    others = [folder for folder in folders if folder not in known and holds_images(folder)] if known else []
    inner = {folder: _class_like(folder, folder in known) for folder in folders}
    if not (
        any(len(inner[folder]) >= 2 for folder in known)
        or (len(known) >= 2 and not others)
        or _alike(list(inner.values()))
    ):
        return whole
    if elsewhere is not None:
        raise DataError(f"{source} has parts of its own ({_listed(folders)}); give the one to train on{_NO_PARTS}")
    problem = _problem(known, others)
    if problem or {held[folder] for folder in known} != {True, False}:
        problem = problem or "which are for training and which are held out is unclear"
        these = _listed([*known, *others] or folders)
        raise DataError(
            f"{source}: {these} look like parts, but {problem}; {_options(source, folders, held)}{_NO_PARTS}"
        )
    return _parts(source, [f for f in known if not held[f]], [f for f in known if held[f]])


def _problem(known: Sequence[Path], others: Sequence[Path]) -> str:
    """Why folders cannot be used as parts by their names; empty if they can."""
    if not known:
        return "none of them is called train, val or test"
    if direct := [folder for folder in known if _is_flat(folder)]:
        return f"the images of {_listed(direct)} are not in class folders"
    return f"{_listed(others)} is not called train, val or test" if others else ""


def _parts(source: Path, train: Sequence[Path], held_out: Sequence[Path]) -> Parts:
    usual = [folder.name for folder in (*train, *held_out)] == ["train", "test"]
    beside = PassedOver(loose=sorted(images_in(source)))
    subfolders(source, beside)
    beside.dangling = [f"{name}/" for name in beside.dangling]
    sides = [f"train={','.join(f.name for f in train)}", f"held-out={','.join(f.name for f in held_out)}"]
    return Parts(
        {f"{folder.name}/": folder for folder in train},
        {f"{folder.name}/": folder for folder in held_out},
        "" if usual else " ".join(sides),
        _NO_PARTS,
        beside,
    )


def _given(source: Path, folders: Sequence[Path], train: str | None, held_out: str | None) -> Parts:
    """The parts that the user names; where only one side is named, the rest belongs to the other."""
    by_name = {folder.name: folder for folder in folders}
    sides = [
        [name.strip().strip("/") for name in (text or "").split(",") if name.strip()] for text in (train, held_out)
    ]
    for flag, names in zip(("--train", "--held-out"), sides, strict=True):
        for name in names:
            if name not in by_name:
                raise DataError(f"{flag}: {source} has no such sub-folder: {unknown('folder', name, by_name)}")
    if both := sorted({*sides[0]} & {*sides[1]}):
        raise DataError(f"{some(both)} cannot be in both --train and --held-out")
    rest = [folder.name for folder in folders if folder.name not in (*sides[0], *sides[1]) and subfolders(folder)]
    chosen = [side or rest for side in sides] if not (train and held_out) else sides
    if not chosen[0]:
        raise DataError(f"{source}: no sub-folder is left to train on; name fewer in --held-out")
    return _parts(source, *([by_name[name] for name in names] for names in chosen))


def _class_like(folder: Path, known: bool) -> set[str]:
    """Names of the sub-folders that may be classes; none if the folder has images of its own and no `known` name."""
    if not known and images_in(folder, 1):
        return set()
    names = {canonical(path.name) for path in subfolders(folder)}
    return {name for name in names if not _DATE.fullmatch(name.lower())}


def _alike(classes: Sequence[set[str]]) -> bool:
    """Whether most sub-folders hold folders of the same names, as parts do and classes do not."""
    holders = [names for names in classes if names]
    if len(holders) < 2 or 2 * len(holders) <= len(classes):
        return False
    common = set.intersection(*holders)
    return len(common) >= 2 and 2 * len(common) >= min(map(len, holders))


def _listed(folders: Sequence[Path]) -> str:
    return some([folder.name for folder in folders])


def _options(source: Path, folders: Sequence[Path], held: dict[Path, bool | None]) -> str:
    """What to do, with the options that decide and the names at hand."""
    usable = [folder for folder in folders if not _is_flat(folder)]
    if len(usable) < 2:
        return "move them there, or remove that part"
    out = [folder.name for folder in usable if held[folder]] or [usable[-1].name]
    train = [folder.name for folder in usable if not held[folder] and folder.name not in out] or [usable[0].name]
    held_out = [name for name in out if name not in train]
    named = f"--train {','.join(train)} --held-out {','.join(held_out)}"
    return f"say which is which: taildiff data prepare folder {source} … {named}"


def _is_flat(folder: Path) -> bool:
    """Whether it has images, but no folders for classes."""
    return not subfolders(folder) and holds_images(folder)
