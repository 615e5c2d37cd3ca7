"""taildiff sample: images of each class from a run."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from taildiff.cli.common import command_line, console, next_steps, parse_options, progress_bar
from taildiff.errors import InputError, SpecError, unknown
from taildiff.runs import RunDir, write_atomic
from taildiff.spec import SamplingSpec


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
    batch_size: int = 256
    """Images drawn together; changes speed and memory only."""
    dry_run: bool = False
    """Print what would be drawn and do nothing."""


def main(args: list[str]) -> int:
    """`taildiff sample RUN …`."""
    options = parse_options(Options, args, "taildiff sample")
    sampling = options.sampling
    guidance = one_guidance(options.guidance, options.omega)
    if options.per_class < 1 or options.batch_size < 1:
        raise SpecError("--per-class and --batch-size must be at least 1")
    if options.out.exists() and (options.format == "npz" or not options.out.is_dir() or any(options.out.iterdir())):
        raise InputError(f"{options.out} exists already; name a new place, so that nothing is mixed or lost")
    run = RunDir(options.run)
    if options.dry_run:
        run.info()
        print(sampling.model_dump_json(indent=1))
        print(f"guidance {guidance:g}, {options.per_class} images a class, as {options.format} to {options.out}")
        return 0
    from taildiff.evaluation.generate import best_device, generate, load_model

    model = load_model(run, sampling.weights, best_device())
    names = model.facts.class_names
    for name in options.classes:
        if name not in names:
            raise SpecError(unknown("class", name, names))
    labels = np.repeat([names.index(name) for name in options.classes or names], options.per_class)
    with progress_bar() as progress:
        images = generate(model, labels, sampling, guidance, options.batch_size, progress)
    write(options, images, labels, names)
    console.print(f"{len(images)} images at guidance {guidance:g} in {options.out}", highlight=False)
    next_steps(command_line("evaluate", options.run), command_line("report", options.run))
    return 0


def one_guidance(guidance: float | None, omega: float | None, default: float = 1.5) -> float:
    """G from either of its names."""
    if guidance is not None and omega is not None:
        raise SpecError("give --guidance or --omega (= guidance - 1), not both")
    value = guidance if guidance is not None else (omega + 1 if omega is not None else default)
    if not 0 <= value < float("inf"):
        raise SpecError(f"guidance {value:g} is not a number from 0 up")
    return value


def write(options: Options, images: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> None:
    """PNG files OUT/<class>/<n>.png and OUT/grid.png, or one npz."""
    import io

    from taildiff.pictures import grid, write_png

    if options.format == "npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=images, labels=labels, class_names=np.array(names))
        write_atomic(options.out, buffer.getvalue())
        return
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        write_png(options.out / names[label] / f"{i % options.per_class:05d}.png", image)
    write_png(options.out / "grid.png", grid(images, columns=min(options.per_class, 16)))
