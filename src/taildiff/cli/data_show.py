"""`taildiff data show`: counts, groups and imbalance of a dataset, and what to expect from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from taildiff.cli.common import command_line, console, next_steps, print_line
from taildiff.cli.encode import contents, vae_line
from taildiff.errors import DataError, InputError, first_few
from taildiff.spec import DataSpec, parse
from taildiff.text import shown

if TYPE_CHECKING:
    from taildiff.data.latents import LatentStore
    from taildiff.data.longtail import Groups
    from taildiff.data.source import Source
    from taildiff.data.store import Columns

_FOLDER_SIZE = 32
_MOST_ROWS = 30  # of the class table; with more classes only both ends are shown
_BAR = 30  # characters


@dataclass(frozen=True)
class Show:
    """Print counts, groups and imbalance of a dataset, and what to expect from it."""

    path: tyro.conf.Positional[Path]
    """A store, latents, or a folder with one sub-folder of images per class."""
    tail: Literal["natural", "exp", "step", "list"] = "natural"
    """Show the counts after this cut, the same as `--data.tail` of a run."""
    ratio: float = 0.01
    """Images in the rarest class divided by images in the commonest, for `--tail exp` and `step`."""
    step_share: float = 0.5
    """Fraction of the classes that `--tail step` makes rare."""
    list: Path | None = None
    """A text file with `path class_id` on each line, for `--tail list` of a store. [default: no list]"""
    min_per_class: int = 0
    """Keep at least this many images per class."""
    verify: bool = False
    """Read the whole store, or all latents, compare the checksum with the recorded one, and count exact copies."""


@dataclass(frozen=True)
class _View:
    """The counts of a store, of latents or of a folder."""

    title: str
    class_names: tuple[str, ...]
    uncut: tuple[int, ...]
    """Training images per class before the cut."""
    held_out: tuple[int, ...]
    counts: tuple[int, ...]
    """Training images per class after the cut."""
    prepared: bool
    notes: tuple[str, ...] = ()
    """Lines below the title."""
    copies: tuple[str, ...] = ()
    """Sentences on exact copies."""


def show(options: Show) -> None:
    """Print the dataset at `options.path`."""
    from taildiff.data.formats.published import compare_cut
    from taildiff.data.longtail import Groups

    view = _view(options)
    thirds, shots = Groups.thirds(view.counts), Groups.shots(view.counts)
    console.print(view.title, style="bold", markup=False, highlight=False)
    for note in view.notes:
        print_line(note)
    console.print(_table(view, thirds, shots))
    for groups in (thirds, shots):
        console.print(f"{groups.scheme}: " + "; ".join(_group_line(view, name, labels) for name, labels in groups))
    console.print()
    about = compare_cut(view.counts) if options.tail == "list" else ""
    for line in (*_expectations(view), *view.copies, *filter(None, [about])):
        console.print(f"• {line}", markup=False, highlight=False)
    next_steps(_command_after(options, view.prepared, any(view.held_out)))


def _command_after(options: Show, prepared: bool, held_out: bool) -> str:
    from taildiff.data.holdout import USUAL
    from taildiff.data.latents import is_latents

    if not prepared:
        store = Path("data") / options.path.resolve().name
        words = ["data", "prepare", "folder", options.path, "--out", store, "--size", _FOLDER_SIZE]
        return command_line(*words, *([] if held_out else ["--hold-out", f"{USUAL:g}"]))
    name = "auto-sit-ccua" if is_latents(options.path) else "auto-ccua"
    words = ["train", name, "--data", options.path, "--out", "runs/first"]
    if options.tail != "natural":
        words += ["--data.tail", options.tail]
        words += ["--data.list", options.list] if options.list else ["--data.ratio", f"{options.ratio:g}"]
        words += ["--data.step-share", f"{options.step_share:g}"] if options.tail == "step" else []
        words += ["--data.min-per-class", options.min_per_class] if options.min_per_class else []
    return command_line(*words)


def _view(options: Show) -> _View:
    import numpy as np

    from taildiff.data.formats.folder import find_folder
    from taildiff.data.latents import LatentStore, is_latents, open_data
    from taildiff.data.store import is_store, refuse_run
    from taildiff.data.verify import verify

    if (options.tail == "list") != (options.list is not None):
        raise InputError("give --tail list and --list FILE together")
    refuse_run(options.path)
    prepared = not options.path.exists() or is_store(options.path) or is_latents(options.path)
    store = open_data(options.path) if prepared else None
    notes = _notes(store) if isinstance(store, LatentStore) else ()
    source = None
    if store is not None:
        if options.verify:
            verify(store, limit=None)
        names, labels, test = store.meta.class_names, store.labels, store.test
        what = "latents of " if isinstance(store, LatentStore) else ""
        title = f"{store.meta.name}: {what}{store.meta.count:,} images, {len(names)} classes, {shape(store)}"
        title += f", {store.meta.skipped:,} broken skipped" if store.meta.skipped else ""
        title += "; verified" if options.verify else ""
    elif options.verify:
        raise InputError(f"{options.path} is not a store; --verify works on what taildiff data prepare or encode wrote")
    else:
        found = find_folder(options.path)
        source = found.read()
        names, labels, test = source.class_names, source.labels, source.test
        notes = (*source.remarks, *source.strict_notes)
        title = f"{found.name}: {len(labels):,} image files (not opened yet), {len(names)} classes"
    uncut, held_out = (tuple(np.bincount(labels[part], minlength=len(names)).tolist()) for part in (~test, test))
    counts = _cut(options, uncut, store)
    if options.tail != "natural":
        how = options.list or f"ratio {options.ratio:g}"
        title += f"; cut to {sum(counts):,} ({options.tail}, {how})"
    if 0 in counts:
        empty = names[counts.index(0)]
        raise DataError(f"class '{empty}' would keep no images; raise --ratio, or give --min-per-class 1")
    copies = _copies(source or store, options.verify)
    return _View(title, names, uncut, held_out, counts, store is not None, notes, copies)


def _copies(data: "Columns | Source | None", verify: bool) -> tuple[str, ...]:
    """Sentences on exact copies; of large data only with `--verify`, since all images are read."""
    from taildiff.data.copies import copies, same_content, same_files
    from taildiff.data.latents import LatentStore, pixels_of
    from taildiff.data.source import Source
    from taildiff.data.store import Store
    from taildiff.data.verify import AFFORDABLE, affordable

    if isinstance(data, Source):
        content, names = same_files([Path(str(file)) for file in data.pictures(0)], AFFORDABLE), data.class_names
        later = "Exact copies were not counted, as the files are large; taildiff data show STORE counts them."
        return (later,) if content is None else copies(content, data.labels, data.test, names, data.names)
    try:
        store = pixels_of(data) if isinstance(data, LatentStore) else data
    except DataError:  # the images are elsewhere
        return ()
    assert isinstance(store, Store)
    if not (verify or affordable(store)):
        return ("Exact copies were not counted, as the store is large; --verify counts them.",)
    return copies(same_content(store), store.labels, store.test, store.meta.class_names, store.names)


def _notes(latents: "LatentStore") -> tuple[str, ...]:
    from taildiff.data.latents import pixels_of

    info = latents.info
    try:
        pixels_of(latents)
        state = "available"
    except DataError:
        state = "not found; training does not need it, evaluation needs --data STORE"
    return (contents(info), vae_line(info), f"Images: {info.pixels_path}, {state}")


def _cut(options: Show, uncut: tuple[int, ...], store: "Columns | None") -> tuple[int, ...]:
    """Training images per class after the cut."""
    from taildiff.data.longtail import Split, exponential_counts, step_counts

    match options.tail:
        case "exp":
            return exponential_counts(uncut, options.ratio, min_per_class=options.min_per_class)
        case "step":
            return step_counts(uncut, options.ratio, options.step_share, min_per_class=options.min_per_class)
        case "list":
            if store is None:
                raise InputError("--tail list needs a store; prepare the folder first")
            data = parse(DataSpec, {"tail": "list", "list": options.list, "min_per_class": options.min_per_class})
            return Split.cut(store, data).counts
        case _:
            return uncut


def _table(view: _View, thirds: "Groups", shots: "Groups") -> Table:
    order = [label for _, labels in thirds for label in labels]
    half = _MOST_ROWS // 2
    listed = order if len(order) <= _MOST_ROWS else [*order[:half], None, *order[-half:]]
    table = Table(box=None, pad_edge=False)
    for name in ("class", "training", "held out", "third", "shots", ""):
        table.add_column(name, justify="right" if name in ("training", "held out") else "left", no_wrap=bool(name))
    most = max(view.counts)
    for label in listed:
        if label is None:
            table.add_row(f"… {len(order) - 2 * half} more")
            continue
        count, held_out = view.counts[label], view.held_out[label]
        table.add_row(
            Text(shown(view.class_names[label]), overflow="ellipsis"),
            f"{count:,}",
            f"{held_out:,}",
            thirds.of(label),
            shots.of(label),
            "█" * (_BAR * count // most) or "▏",
        )
    return table


def _group_line(view: _View, name: str, labels: tuple[int, ...]) -> str:
    images = sum(view.counts[label] for label in labels)
    return escape(f"{name} {len(labels)} class{'es' * (len(labels) > 1)}, {images:,} images")


def _expectations(view: _View) -> list[str]:
    from taildiff.data.holdout import USUAL
    from taildiff.data.longtail import FEWEST_REAL, NEARLY_EQUAL

    counts = view.counts
    lines = [f"Imbalance: {max(counts) / min(counts):.1f} : 1 ({max(counts):,} to {min(counts):,} images per class)."]
    if max(view.uncut) <= NEARLY_EQUAL * min(view.uncut):
        about = f"all {sum(view.uncut):,} training images, {min(view.uncut):,} or more per class"
        lines.append(f"Balanced reference: {about}. Every class can be evaluated.")
    else:
        lines.append("No balanced reference; all real images are used, so rare classes are measured on few.")
    rare = [label for label, count in enumerate(view.uncut) if count < FEWEST_REAL]
    if rare:
        lines.append(
            f"{_names(view, rare)}: fewer than {FEWEST_REAL} real images, too few for distances per class; accuracy "
            "and memorised are given with wide intervals."
        )
    few = [label for label, count in enumerate(counts) if count < FEWEST_REAL]
    if few:
        lines.append(
            f"{_names(view, few)}: fewer than {FEWEST_REAL} training images; expect copies and little variety."
        )
    if not any(view.held_out):
        lines.append(
            "No images are held out, so nothing can be tested on unseen ones: prepare them with "
            f"--hold-out {USUAL:g}{' --overwrite' if view.prepared else ''}."
        )
    return lines


def _names(view: _View, labels: list[int]) -> str:
    some = first_few([view.class_names[label] for label in labels], 5)
    return f"{len(labels)} class{'es' * (len(labels) > 1)} ({some})"


def shape(store: "Columns") -> str:
    """Size and channels, such as `32×32 colour`."""
    meta = store.meta
    return f"{meta.height}×{meta.width} {'grey' if meta.channels == 1 else 'colour'}"
