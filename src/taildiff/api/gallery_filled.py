"""What a gallery shows of a folder that `taildiff fill` wrote: what was admitted, what was rejected, and why.

Everything is read from OUT-info/manifest.jsonl; nothing is computed again. Rejected images that were not kept are
counted.
"""

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from taildiff.api.gallery_sources import Real, real_side
from taildiff.data.images import FORMATS
from taildiff.data.longtail import Groups, Split, rank
from taildiff.data.store import Store
from taildiff.errors import DataError, SpecError
from taildiff.filling.manifest import CHECK, MANIFEST, SUMMARY, summary_of
from taildiff.io.json_files import read_json
from taildiff.io.paths import reason, regular, whole
from taildiff.reporting.gallery import REAL, Gallery, GalleryClass, Generated, Verdict
from taildiff.reporting.pictures import Uint8s
from taildiff.run.layout import RunDir
from taildiff.sampling.folders import info_of

ADMITTED = Verdict("admitted", "admitted", True)
REJECTED = Verdict("rejected", "rejected, for any reason", False)
REASONS = {
    "copy": Verdict("copy", "rejected: copy of a training image", False),
    "class": Verdict("class", "rejected: shows another class", False),
    "repeat": Verdict("repeat", "rejected: repeats an admitted one", False),
}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # newer versions may write more


class Nearest(_Record):
    """The nearest training image."""

    index: int
    name: str | None = None
    distance: float


class Scores(_Record):
    """What the filters measured."""

    p_label: float | None = None
    predicted: str | None = None
    copy_ratio: float | None = None
    nearest: Nearest | None = None


class Line(_Record):
    """A line of the manifest: one image that was drawn."""

    file: str | None
    label: int
    class_: str
    rank: int
    guidance: float
    run: str = ""
    verdict: Literal["admitted", "rejected"]
    rejected_by: tuple[str, ...] = ()
    scores: Scores = Scores()


def manifest_of(folder: Path) -> Path:
    """The manifest beside a filled folder."""
    return info_of(folder) / MANIFEST


def of_filled(folder: Path, data: Path | None) -> Gallery:
    """Admitted and rejected images by class, beside the real ones of the store that the run was trained on."""
    lines, notes = read_manifest(manifest_of(folder)), list[str]()
    real = _real(folder, data, notes)
    names = real.store.meta.class_names if real else tuple(dict.fromkeys(line.class_ for line in lines))
    originals = {} if real else {name: _originals(folder, name, lines) for name in names}
    counts = real.counts if real else tuple(len(originals[name]) for name in names)
    groups = Groups.thirds(counts) if len(set(counts)) > 1 else None
    photos = [file for name in names for file in originals.get(name, ())[:REAL]]
    classes: list[GalleryClass] = []
    for label in rank(counts).tolist():
        drawn = [line for line in lines if line.class_ == names[label]]
        if not drawn:
            continue  # not filled
        shown = real.of_class(label) if real else tuple(photos.index(f) for f in originals[names[label]][:REAL])
        made = tuple(_generated(folder, line, real is not None) for line in drawn if line.file)
        group = groups.of(label) if groups else ""
        classes.append(GalleryClass(names[label], counts[label], group, shown, made, _note(drawn, folder)))
    totals = Counter(line.verdict for line in lines)
    runs = ", ".join(sorted({line.run for line in lines if line.run}))
    lead = (
        f"{totals['admitted']} generated images of {len(classes)} classes were admitted and {totals['rejected']} "
        f"rejected{f', all by {runs}' if runs else ''}.{_checked(folder)}"
    )
    if missing := sum(line.file is None for line in lines):
        were = "image was" if missing == 1 else "images were"
        notes.append(f"{missing} rejected {were} not kept; taildiff fill keeps them with --keep-rejected.")
    title = f"{folder.resolve().name}: what was generated"
    if real or not photos:
        return Gallery(title, lead, tuple(classes), *real_side(real), tuple(notes))
    return Gallery(title, lead, tuple(classes), lambda n: _read(photos[n]), lambda n: photos[n].name, tuple(notes))


def read_manifest(path: Path) -> tuple[Line, ...]:
    """All lines; `DataError` names the one that is damaged."""
    lines: list[Line] = []
    try:
        text = whole(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {reason(error)}") from None
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            values = json.loads(line)
            lines.append(Line.model_validate(values | {"class_": values["class"]}))
        except (ValidationError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise DataError(f"{path}, line {number} is damaged: {reason(error)}") from None
    if not lines:
        raise DataError(f"{path} lists no image; fill the folder again")
    return tuple(lines)


def _real(folder: Path, data: Path | None, notes: list[str]) -> Real | None:
    """The training images; None where their store is not known."""
    try:
        recorded = read_json(info_of(folder) / SUMMARY)
        place, of_run = str(data or recorded["store_path"]), RunDir(Path(recorded["run_path"]))
        store = Store.at_recorded(place, str(recorded["store"]))
    except (SpecError, DataError, KeyError, TypeError) as error:
        if data:
            raise DataError(f"{data} is not the store behind {folder}: {error}") from None
        notes.append("The training images nearest to each are not shown; name their store with --data.")
        return None
    try:
        split = Split.load(of_run.split)
    except DataError:  # the run has moved
        return Real(store, store.train_index)
    return Real(store, np.sort(split.index) if split.store_hash == store.meta.hash else store.train_index)


def _originals(folder: Path, name: str, lines: Sequence[Line]) -> list[Path]:
    """Images of a class in the folder that were not generated, as far as generated ones show which folder it is."""
    made = {folder / line.file for line in lines if line.file and line.verdict == "admitted"}
    places = {folder / line.file for line in lines if line.file and line.verdict == "admitted" and line.class_ == name}
    found = (file for place in sorted({each.parent for each in places}) for file in sorted(place.iterdir()))
    return [file for file in found if file not in made and file.is_file()]


def _generated(folder: Path, line: Line, known: bool) -> Generated:
    assert line.file
    admitted = line.verdict == "admitted"
    root = folder if admitted else info_of(folder)
    file = (root / line.file).resolve()
    if not file.is_relative_to(root.resolve()):
        raise DataError(f"{manifest_of(folder)} names {line.file}, which is not in {root}; fill the folder again")
    scores, nearest = line.scores, line.scores.nearest
    reasons = [REASONS.get(name, Verdict(name, f"rejected: {name}", False)) for name in line.rejected_by]
    note = f"seen as {scores.predicted}" if scores.predicted not in (None, line.class_) else ""
    return Generated(
        partial(_read, file),
        line.file,
        line.guidance,
        (ADMITTED,) if admitted else (REJECTED, *reasons),
        note,
        nearest.index if nearest and known else None,
        nearest.distance if nearest else None,
        scores.copy_ratio,
    )


def _checked(folder: Path) -> str:
    """The verdict of `taildiff fill --check`, as a further sentence; empty where there is none."""
    try:
        return f" {read_json(info_of(folder) / CHECK)['verdict']}."
    except (SpecError, KeyError, TypeError):
        return ""


def _note(drawn: Sequence[Line], folder: Path) -> str:
    """How many images of a class were drawn, admitted and rejected, and how far its filters can be trusted."""
    by = Counter(line.rejected_by[0] for line in drawn if line.rejected_by)
    admitted = sum(line.verdict == "admitted" for line in drawn)
    why = ", ".join(f"{count} as {_AS.get(name, name)}" for name, count in by.items())
    rejected = f"{sum(by.values())} rejected ({why})" if by else "none rejected"
    name = drawn[0].class_
    try:
        recorded = summary_of(folder)["classes"][name]
        asked, trust = f"{int(recorded['asked'])} asked for, ", str(recorded["trust"]).partition("; ")[2]
    except (KeyError, TypeError, ValueError):
        asked = trust = ""
    counted = f"{asked}{len(drawn)} drawn: {admitted} admitted, {rejected}."
    return f"{counted} {trust[0].upper()}{trust[1:]}." if trust else counted


_AS = {"copy": "copies", "class": "another class", "repeat": "repeats"}


def _read(file: Path) -> Uint8s:
    """An image (H, W, 1 or 3); `DataError` for one that cannot be read."""
    try:
        with Image.open(regular(file), formats=FORMATS) as image:
            pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file} cannot be read: {reason(error)}") from None
    return pixels[..., None] if pixels.ndim == 2 else pixels
