"""`taildiff data`: look at a dataset, prepare it for training, encode its latents, export it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from taildiff.api.data import find_source, holding_out, prepare
from taildiff.cli.common import (
    HELP,
    command_line,
    next_steps,
    print_all_help,
    print_line,
    print_note,
    print_verbs,
    unknown_verb,
)
from taildiff.cli.data_show import Show, shape, show
from taildiff.cli.encode import Encode, resumable_progress
from taildiff.cli.encode import main as encode
from taildiff.cli.export_data import Export
from taildiff.cli.export_data import main as export
from taildiff.cli.options import without_default
from taildiff.cli.parsing import parse_options
from taildiff.data.formats import find, importers
from taildiff.errors import InputError
from taildiff.io.paths import usable_folder

if TYPE_CHECKING:
    from taildiff.data.formats.importer import Importer
    from taildiff.data.store import Store

VERBS = {
    "show PATH": "counts, groups and imbalance of a dataset, and what to expect from it",
    "prepare IMPORTER [SOURCE]": "write images into a store; see taildiff data prepare --help",
    "encode STORE": "write a VAE's latents of a store's images",
    "export STORE": "write a store as an image folder, parquet files or an npz",
}
_MOST_PIXELS = 64  # per side, up to which training on pixels is suggested, and above it on latents


@dataclass(frozen=True)
class Prepare:
    """Write all images of a source into a store that runs train on. Rerun the same command to resume."""

    importer: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="IMPORTER")]]
    """An importer from the list above; `taildiff data prepare IMPORTER` alone explains it."""
    out: Path
    """The store to write."""
    source: tyro.conf.Positional[Annotated[Path | None, tyro.conf.arg(metavar="[SOURCE]")]] = None
    """The file or folder that the importer reads. [default: mnist5k alone needs none]"""
    size: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Pixels per side, by centre crop and resizing. [default: the images' common size, 32, or 64 (large datasets)]"""
    white: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Pixel value that is white, such as 4095 for 12 bits in files of 16. [default: 255 or 65535]"""
    hold_out: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """Hold out this share of each class, such as 0.2, if the source holds out nothing: at least one image of a class
    with 5 or more; exact copies stay together. [default: nothing]"""
    hold_out_seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Another seed holds out other images."""
    strict: bool = False
    """Reject broken images, other image formats and links that lead nowhere instead of skipping them."""
    overwrite: bool = False
    """Replace an existing store at --out."""
    dry_run: bool = False
    """Check the source and print what would be written; write nothing."""

    def importer_options(self) -> dict[str, Any]:
        """The importer's own options, as far as they were given."""
        specific: Any = getattr(self, "specific")  # noqa: B009 (a field that `parse_prepare` adds)
        values = {field.name: (getattr(specific, field.name), field.default) for field in fields(specific)}
        return {name: value for name, (value, default) in values.items() if value != default}


def main(args: list[str]) -> int:
    """Run `taildiff data VERB …` and return the exit code."""
    if not args or args[0] in HELP:
        print_verbs("data", VERBS)
        print_all_help(main, VERBS if "--help-all" in args[:1] else ())
        return 0 if args else 2
    match args[0]:
        case "show":
            show(parse_options(Show, args[1:], "taildiff data show"))
        case "prepare":
            _prepare(parse_prepare(args[1:]))
        case "encode":
            encode(parse_options(Encode, args[1:], "taildiff data encode"))
        case "export":
            export(parse_options(Export, args[1:], "taildiff data export"))
        case verb:
            raise InputError(unknown_verb("data", verb, VERBS))
    return 0


def parse_prepare(args: list[str]) -> Prepare:
    """The options of `taildiff data prepare`; with an importer named, `--help` is about this one."""
    args = _with_importer(args)
    named = [importers()[arg] for arg in args if arg in importers()]
    if len(args) == 1 and named:
        find(args[0])  # raises, with what the importer needs
    about = named[:1] if {*HELP} & {*args} else []
    chosen = about or list(importers().values())
    table = "\n".join(f"  {each.name:<17}{each.source or '-':<21}{each.help}" for each in chosen)
    more = f"\n\n{about[0].usage}" if about else ""
    description = (
        f"{cleandoc(Prepare.__doc__ or '')}\n\n  importer         SOURCE               what it reads\n{table}{more}"
    )
    return parse_options(_with_options(chosen), args, "taildiff data prepare", description=description)


def _with_importer(args: list[str]) -> list[str]:
    """The arguments with the importer for a path that stands in its place; `InputError` where --out lacks."""
    if not args or args[0].startswith("-") or args[0] in importers():
        return args
    source = Path(args[0])
    if not source.exists() and "/" not in args[0]:
        return args
    kind = {".npz": "npz", ".parquet": "parquet", ".csv": "table"}.get(source.suffix.lower())
    args = [kind or "folder", *args]
    if not any(arg == "--out" or arg.startswith("--out=") for arg in args) and not {*HELP} & {*args}:
        out = Path("data", source.resolve().stem)
        out = out.with_name(f"{out.name}-store") if out.exists() else out
        whole = command_line("data", "prepare", *args, "--out", out)
        raise InputError(f"give the store to write, such as: {whole}")
    return args


def _with_options(chosen: Sequence["Importer"]) -> type[Prepare]:
    """`Prepare` with a field `specific` for the options of these importers."""
    names = dict.fromkeys(name for importer in chosen for name in importer.options)
    rows = [_row(name, [importer for importer in chosen if name in importer.options]) for name in names]
    specific = make_dataclass("Specific", rows, frozen=True)
    kind = Annotated[
        specific,
        tyro.conf.OmitArgPrefixes,
        tyro.conf.arg(name="importer", help="Each is for the importers named first."),
    ]
    extra = ("specific", kind, field(default_factory=specific))
    return make_dataclass("PrepareWithOptions", [extra], bases=(Prepare,), frozen=True)


def _row(name: str, users: Sequence["Importer"]) -> tuple[str, Any, Any]:
    """Name, annotation and default of an option; its help names the importers that take it."""
    option = users[0].options[name]
    groups, defaults = dict[str, list[str]](), dict[str, None]()
    for importer in users:
        help, stated = without_default(importer.options[name].help)
        groups.setdefault(help, []).append(importer.name)
        defaults |= {stated: None} if stated else {}
    text = " ".join(f"{', '.join(importers)}: {help}" for help, importers in groups.items())
    text += f" [default: {'; '.join(defaults)}]" if defaults else ""
    return name, Annotated[option.type, tyro.conf.arg(metavar=option.metavar or None, help=text)], option.default


def _prepare(options: Prepare) -> None:
    if options.dry_run:
        _print_plan(options)
        return
    existed = (options.out / "store.json").is_file()
    with resumable_progress(options.out) as progress:
        store = prepare(
            options.importer,
            options.source,
            out=options.out,
            size=options.size,
            white=options.white,
            strict=options.strict,
            overwrite=options.overwrite,
            hold_out=options.hold_out,
            hold_out_seed=options.hold_out_seed,
            progress=progress,
            **options.importer_options(),
        )
    meta = store.meta
    for remark in meta.remarks:
        print_note(remark)
    lead = "Already prepared" if existed and not options.overwrite else "Prepared"
    skipped = f" ({meta.skipped:,} broken skipped)" if meta.skipped else ""
    print_line(
        f"{lead}: {meta.count:,} images{skipped} of {len(meta.class_names)} classes, {shape(store)}, "
        f"{int(store.test.sum()):,} held out, in {store.root}"
    )
    next_steps(command_line("data", "show", store.root), _after(store))


def _after(store: "Store") -> str:
    """The next command: training, or encoding where images are too large for a network on pixels."""
    if min(store.meta.height, store.meta.width) <= _MOST_PIXELS:
        return command_line("train", "auto-ccua", "--data", store.root, "--out", "runs/first")
    latents = store.root.with_name(f"{store.root.name}-latents")
    return command_line("data", "encode", store.root, "--vae", "stabilityai/sd-vae-ft-ema", "--out", latents)


def _print_plan(options: Prepare) -> None:
    import numpy as np

    from taildiff.data.prepare import Plan, plan

    hold_out = holding_out(options.hold_out, options.hold_out_seed)
    found = find_source(options.importer, options.source, options.size, options.importer_options())
    size = found.size if options.size is None else options.size
    place = usable_folder(options.out)
    todo = plan(found, place, size, options.strict, options.overwrite, options.white, hold_out)
    source = todo.source if isinstance(todo, Plan) else found.read()
    opened = " (not opened yet)" if source.names else ""
    count = sum(hold_out.wanted(np.bincount(source.labels).tolist())) if hold_out else int(source.test.sum())
    held_out = f", {count:,} held out" if count else ""
    lead = "Would prepare" if isinstance(todo, Plan) else "Already prepared"
    print_line(
        f"{lead}: {len(source.labels):,} images{opened} of "
        f"{len(source.class_names)} classes{held_out}, at {size}×{size} pixels, in {options.out}"
    )
    for note in (*source.remarks, *source.strict_notes):
        print_note(note)
