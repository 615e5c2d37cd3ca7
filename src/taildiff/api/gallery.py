"""`taildiff.gallery`: one page to look at generated images."""

import os
from pathlib import Path

from taildiff.api.output import PAGE, output_file
from taildiff.api.progress import reporting
from taildiff.errors import InputError
from taildiff.io.paths import text_path
from taildiff.log import Progress
from taildiff.run.layout import RunDir

AnyPath = str | os.PathLike[str]


def gallery(
    source: AnyPath,
    *,
    out: AnyPath | None = None,
    data: AnyPath | None = None,
    title: str | None = None,
    per_class: int | None = None,
    progress: bool | Progress = False,
) -> Path:
    """Write one HTML page with generated images by class, beside real ones, and return its path.

    Each generated image stands beside the training image nearest to it. Nothing is sampled: of a run, the images of its
    evaluations are shown, at every guidance that has some.

    Args:
        source: an evaluated run; a folder that `taildiff fill` wrote, whose rejected images are shown where they were
            kept; or any images: a folder with one sub-folder per class, or an npz with `images` and `labels`.
        out: the page, an .html file, which is replaced if it exists; default: gallery.html in the run, or beside a
            folder, with -gallery.html at the end of its name.
        data: the store with the real images; default: the one that the run, or the evaluation of the images, records.
        title: heading of the page.
        per_class: images per class and guidance; default: all, as far as the page stays below 28 MB.
        progress: True draws a progress bar, a callback gets (stage, done, total).

    Raises:
        TaildiffError: for a source without images, real images that do not fit, or an `out` that may not be written.
    """
    path = text_path(source, "source")
    if per_class is not None and per_class < 1:
        raise InputError(f"--per-class {per_class} must be at least 1")
    of_run = RunDir(path).exists()
    default = path / "gallery.html" if of_run else path.with_name(f"{path.resolve().stem}-gallery.html")
    place = output_file(out or default, PAGE)
    if not path.exists():
        raise InputError(f"{path} does not exist; give a run, a folder of images by class, or an npz of them")
    from taildiff.api import gallery_sources as sources  # torch
    from taildiff.api.gallery_filled import manifest_of, of_filled
    from taildiff.reporting.gallery import write_gallery

    real = None if data is None else text_path(data, "--data")
    with reporting(progress) as report:
        if of_run:
            found = sources.of_run(RunDir(path), real, report)
        elif manifest_of(path).is_file():
            found = of_filled(path, real)
        else:
            found = sources.of_images(path, real, report)
        return write_gallery(sources.chosen(found, title, per_class), place)
