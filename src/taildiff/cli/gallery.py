"""`taildiff gallery RUN|FOLDER`: one HTML page to look at generated images beside real ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from taildiff.api.gallery import gallery
from taildiff.cli.common import command_line, next_steps, print_line, wants_progress
from taildiff.cli.parsing import parse_options
from taildiff.run.layout import RunDir


@dataclass(frozen=True)
class Options:
    """Write one self-contained HTML page to look at generated images: by class, beside real ones, each with the
    training image nearest to it. Nothing is sampled: of a run, the images of its evaluations are shown.
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN|FOLDER|NPZ")]
    """An evaluated run; a folder written by taildiff fill; or any images, by class, in a folder or an npz."""
    out: Path | None = None
    """The page, an .html file, replaced if it exists. [default: gallery.html in the run, FOLDER-gallery.html beside a
    folder]"""
    data: Annotated[Path | None, tyro.conf.arg(metavar="STORE")] = None
    """The store with the real images. [default: the one that the run, or the evaluation of the images, records]"""
    per_class: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Images per class and guidance. [default: all, as far as the page stays below 28 MB]"""
    title: str | None = None
    """Heading of the page. [default: what the images are of]"""


def main(args: Sequence[str]) -> int:
    """Write the page and print its path and size; 0 on success."""
    options = parse_options(Options, args, "taildiff gallery")
    page = gallery(
        options.source,
        out=options.out,
        data=options.data,
        title=options.title,
        per_class=options.per_class,
        progress=wants_progress(),
    )
    print_line(f"gallery: {page}   ({page.stat().st_size / 1e6:.1f} MB)")
    if RunDir(options.source).exists():
        next_steps(command_line("report", options.source))
    return 0
