"""taildiff sample: images of each class from a run."""

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from taildiff.cli.common import command_line, console, guidances, next_steps, parse_options, progress_bar
from taildiff.errors import InputError, SpecError, unknown
from taildiff.io.staging import partial, sweep
from taildiff.run.layout import RunDir
from taildiff.sampling.folders import GRID, folder_names
from taildiff.spec import SamplingSpec

_COLUMNS, _ROWS = 16, 40  # of the grid


@dataclasses.dataclass(frozen=True)
class Options:
    """Draw images of each class from a run."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    out: Path
    """A new folder for PNG files by class with a grid; or, with --format npz, a file."""
    per_class: int = 8
    """Images of each class."""
    classes: tuple[str, ...] = ()
    """Only these classes, by name."""
    guidance: float | None = None
    """g in null + g (conditional - null); 1 is none [default: 1.5]."""
    omega: float | None = None
    """The same as g - 1, as papers of the DDPM family write it."""
    sampling: Annotated[SamplingSpec, tyro.conf.arg(name="")] = SamplingSpec()  # noqa: RUF009 (frozen)
    format: Literal["png", "npz"] = "png"
    """PNG files by class, or one npz with `images` (N, H, W, C) and `labels` (N,)."""
    vae: str | None = None
    """Where the VAE of a run on latents is now, a folder or a name on the hub; default: where it was."""
    batch_size: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Images drawn together; changes speed and memory only [default: 256, fewer of large images]."""
    dry_run: bool = False
    """Print what would be drawn and do nothing."""


def main(args: list[str]) -> int:
    """`taildiff sample RUN …`."""
    options = parse_options(Options, args, "taildiff sample")
    sampling, out = options.sampling, options.out
    (guidance,) = guidances(_given(options.guidance), _given(options.omega))
    if options.per_class < 1 or (options.batch_size is not None and options.batch_size < 1):
        raise SpecError("--per-class and --batch-size must be at least 1")
    if out.exists() and (options.format == "npz" or not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already; name a new place, so that nothing is mixed or lost")
    run = RunDir(options.run)
    count = options.per_class * len(labels_of(options.classes, run.info().facts.class_names))
    if options.dry_run:
        print(sampling.model_dump_json(indent=1))
        print(f"{count} images, {options.per_class} a class, at guidance {guidance:g}, as {options.format} to {out}")
        return 0
    with _beside(out):  # whether it can be written shows before the work
        pass
    from taildiff.sampling.generate import best_device, generate, load_model

    model = load_model(run, sampling.weights, best_device(), vae=options.vae)
    names = model.facts.class_names
    labels = np.repeat(labels_of(options.classes, names), options.per_class)
    with progress_bar() as progress:
        images = generate(model, labels, sampling, guidance, options.batch_size, progress)
    write(options, images, labels, names)
    console.print(f"{len(images)} images at guidance {guidance:g} in {out}", markup=False, highlight=False)
    next_steps(command_line("evaluate", options.run), command_line("report", options.run))
    return 0


def _given(value: float | None) -> tuple[float, ...]:
    return () if value is None else (value,)


def labels_of(classes: Sequence[str], names: Sequence[str]) -> list[int]:
    """Each named class once, in the order given; all when none is named."""
    for name in classes:
        if name not in names:
            raise SpecError(unknown("class", name, names))
    return [names.index(name) for name in dict.fromkeys(classes or names)]


def write(options: Options, images: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    """OUT/<class>/<n>.png and OUT/grid.png, or one npz; all of it, or after an error nothing."""
    out = options.out.resolve()  # a link to an empty folder stays a link
    with _beside(options.out) as new:
        if options.format == "npz":
            np.savez_compressed(new / "images.npz", images=images, labels=labels, class_names=np.array(names))
            (new / "images.npz").rename(out)
        else:
            _write_pngs(new, images, labels, names, options.per_class)
            new.rename(out)


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out`, which is gone afterwards unless it was renamed."""
    temporary = partial(out.resolve())
    try:
        sweep(out.resolve())
        temporary.mkdir(parents=True)
        yield temporary
    except OSError as error:
        error.filename = str(out)  # what the user named
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_pngs(folder: Path, images: np.ndarray, labels: np.ndarray, names: Sequence[str], per_class: int) -> None:
    """`images` (K per_class, H, W, C), class after class."""
    from taildiff.io.png import grid, png

    places = folder_names(names)
    for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        place = folder / places[label]
        if i % per_class == 0:
            place.mkdir()
            if place.name != names[label]:
                console.print(f"class {names[label]!r} is in the folder {place.name}", markup=False, highlight=False)
        (place / f"{i % per_class:05d}.png").write_bytes(png(image))
    by_class = images.reshape(-1, per_class, *images.shape[1:])
    shown = by_class[:_ROWS, :_COLUMNS]
    (folder / GRID).write_bytes(png(grid(shown.reshape(-1, *images.shape[1:]), columns=shown.shape[1])))
    if shown.shape != by_class.shape:
        said = f"{GRID} shows {shown.shape[1]} images of {len(shown)} classes; all are in the folders"
        console.print(said, markup=False, highlight=False)
