"""`taildiff data export STORE --to FORMAT`: a store for other programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from taildiff.api.data import export_data, open_store
from taildiff.cli.common import command_line, next_steps, print_line, wants_progress

_IMPORTERS = {"imagefolder": "folder", "parquet": "parquet", "npz": "npz"}


@dataclass(frozen=True)
class Export:
    """Write all images of a store for other programs; taildiff data prepare reads them back without loss."""

    store: tyro.conf.Positional[Path]
    """A store written by `taildiff data prepare`."""
    to: Literal["imagefolder", "parquet", "npz"]
    """PNG files by class (in train/ and test/ where images are held out); parquet files as on the Hugging Face Hub (pip
    install 'taildiff[hf]'); or one npz with images, labels, test and class_names."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """A new folder, or a new .npz file. [default: beside the store: STORE-imagefolder, STORE-parquet, STORE.npz]"""
    dry_run: bool = False
    """Check all that the export would refuse and print what would be written; do nothing."""


def main(options: Export) -> None:
    """Write the data, then print where they are and how to read them back."""
    from taildiff.exporting.dataset import check_new_data, default_out  # Pillow

    store = open_store(options.store, 1)
    out = options.out or default_out(store.root, options.to)
    what = f"{store.meta.count:,} images of {len(store.meta.class_names)} classes as {options.to}"
    if options.dry_run:
        check_new_data(store, out, options.to)
        print_line(f"Would write {what} to {out}")
        return
    place = export_data(store, to=options.to, out=out, progress=wants_progress())
    print_line(f"Exported: {what}, in {place}")
    next_steps(command_line("data", "prepare", _IMPORTERS[options.to], place, "--out", "data/again"))
