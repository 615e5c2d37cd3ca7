"""Samples of each class, from the commonest to the rarest, beside the real images."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taildiff.data.store import Store
from taildiff.errors import DataError
from taildiff.reporting.load import RunData
from taildiff.reporting.pictures import Uint8s, png_uri, reduced, to_pil
from taildiff.reporting.summary import best_guidance

ROWS = 12
TILES = 8
LARGEST_TILE = 96
"""Pixels; larger images are reduced to keep the page small."""


@dataclass(frozen=True)
class Strip:
    """Up to `TILES` images side by side as one PNG."""

    uri: str
    alt: str
    shown: int
    width: int
    height: int


@dataclass(frozen=True)
class SampleRow:
    """One class; `strips` in the order of `SampleSheet.columns`, None without images."""

    name: str
    count: int
    group: str
    strips: tuple[Strip | None, ...]


@dataclass(frozen=True)
class SampleSheet:
    """The section of samples; `columns` are the headings."""

    columns: tuple[str, ...]
    runs: tuple[int | None, ...]
    """Each column's run by position, None for the real images."""
    rows: tuple[SampleRow, ...]
    left_out: int
    """Number of classes that are not shown."""


def sample_sheet(runs: Sequence[RunData], rows: int = ROWS) -> SampleSheet | None:
    """The first samples of each class, not cherry-picked; None if no run kept its images."""
    first = runs[0]
    ranked = first.ranked
    shown = [ranked[place] for place in spread(len(ranked), rows)]
    columns: list[tuple[str, int | None, tuple[Uint8s, Uint8s]]] = []
    real = _real(first)
    if real:
        columns.append(("real" if first.is_foreign else "real, trained on", None, real))
    for place, run in enumerate(runs):
        guidance = best_guidance(run.evaluation) if run.evaluation else None
        images = run.images(guidance) if guidance is not None else None
        if images and run.info.facts.class_names == first.info.facts.class_names:
            at = "" if run.is_foreign else f", guidance {guidance:g}"
            columns.append((f"{run.name}{_seed(run)}{at}", place, images))
    if all(place is None for _, place, _ in columns):
        return None
    names = first.info.facts.class_names
    sheet = tuple(
        SampleRow(
            names[label],
            first.counts[label],
            first.groups[label] if max(first.counts) > min(first.counts) else "",
            tuple(_strip(*pair, label, f"of class {names[label]}: {title}") for title, _, pair in columns),
        )
        for label in shown
    )
    return SampleSheet(tuple(c[0] for c in columns), tuple(c[1] for c in columns), sheet, len(ranked) - len(shown))


def _seed(run: RunData) -> str:
    """The seed whose images stand for several."""
    return next((f", seed {each.info.spec.seed}" for each in run.members if each.evaluation), "")


def spread(total: int, limit: int) -> list[int]:
    """At most `limit` of 0..total-1, evenly spread and including both ends."""
    if total <= limit:
        return list(range(total))
    return [round(place * (total - 1) / (limit - 1)) for place in range(limit)]


def _real(run: RunData) -> tuple[Uint8s, Uint8s] | None:
    """The first training images of each class; None if the store has moved or changed."""
    if run.split is None and not run.is_foreign:
        return None
    try:
        store = Store.at_recorded(run.info.store.path, run.info.store.hash)
    except DataError:
        return None
    index = np.asarray(run.split.index) if run.split else store.train_index
    labels = store.labels[index]
    first = np.concatenate([np.flatnonzero(labels == label)[:TILES] for label in range(len(run.counts))])
    return np.asarray(store.images[index[first]]), labels[first]


def _strip(images: Uint8s, labels: Uint8s, label: int, what: str) -> Strip | None:
    tiles = [reduced(image, LARGEST_TILE) for image in images[np.flatnonzero(labels == label)[:TILES]]]
    if not tiles:
        return None
    height, width = tiles[0].shape[:2]
    sheet = np.concatenate(tiles, axis=1)
    buffer = io.BytesIO()
    to_pil(sheet).save(buffer, "PNG", optimize=True)
    return Strip(png_uri(buffer.getvalue()), f"{len(tiles)} images {what}", len(tiles), width * len(tiles), height)
