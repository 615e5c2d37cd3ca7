"""`taildiff sample`: images of each class from a run."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from taildiff.api.sampling import chosen_guidance, file_format, requested_labels, sample
from taildiff.api.source import RunSource, model_source
from taildiff.cli.common import (
    SAMPLING,
    DeviceOption,
    DevicesOption,
    command_line,
    guidances,
    next_steps,
    print_line,
    wants_progress,
)
from taildiff.cli.parsing import parse_options
from taildiff.sampling.folders import FileFormat
from taildiff.spec import ModelHints, SamplingSpec

_FIELDS = ("out", "per_class", "classes", "vae", "batch_size", "device", "devices")


@dataclasses.dataclass(frozen=True)
class Options:
    """Sample images of each class from a run, or from a model that was trained elsewhere."""

    run: tyro.conf.Positional[Path]
    """The run's folder; or an export, a model of diffusers (UNet2DModel, DDPMPipeline, DiTPipeline), a file of
    parameters (SiT, DiT, REPA, DeltaFM), or OWNER/NAME on the Hugging Face Hub."""
    out: Path
    """A new folder for PNG files by class, with a grid in OUT-info beside it; or a new .npz file."""
    per_class: int = 8
    """Images per class."""
    classes: tuple[str, ...] = ()
    """Only these classes, by name: --classes A B, or --classes A --classes B. [default: all]"""
    guidance: float | None = None
    """g in null + g (conditional - null); 1 is none. [default: the best of the run's evaluations; without any 1.5, or 1
    where the null label was never trained]"""
    omega: float | None = None
    """The same as g - 1, as papers of the DDPM family write it. [default: --guidance - 1]"""
    sampling: Annotated[SamplingSpec, tyro.conf.arg(name="")] = SAMPLING
    format: FileFormat | None = None
    """PNG files by class, or one npz with `images` (N, H, W, C) and `labels` (N,). [default: by the suffix of --out]"""
    vae: str | None = None
    """Where the VAE of a run on latents is now, a folder or a name on the Hugging Face Hub.
    [default: where it was]"""
    batch_size: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Images sampled together; changes speed and memory only. [default: 256, fewer large images]"""
    device: DeviceOption = None
    devices: DevicesOption = 1
    model: ModelHints = ModelHints()  # noqa: RUF009 (frozen)
    """For a file of parameters alone."""
    dry_run: bool = False
    """Check all that sampling would refuse and print what would be sampled; do nothing."""


def main(args: list[str]) -> int:
    """`taildiff sample RUN …`."""
    options = parse_options(Options, args, "taildiff sample")
    given = guidances(_given(options.guidance), _given(options.omega), default=())
    source, out = model_source(options.run, options.model, options.vae), options.out
    names, format = source.facts.class_names, options.format or file_format(out)
    count = len(requested_labels(names, out, options.per_class, options.classes, format, options.batch_size))
    guidance = chosen_guidance(source, given[0] if given else None, options.sampling).value
    fields: Any = {name: getattr(options, name) for name in _FIELDS} | options.sampling.model_dump()
    fields |= {"guidance": guidance, "format": format, "model": options.model.model_dump()}
    if options.dry_run:
        sample(options.run, dry_run=True, **fields)
        print(options.sampling.model_dump_json(indent=1))
        print(f"{count} images, {options.per_class} per class, at guidance {guidance:g}, as {format} to {out}")
        return 0
    sample(options.run, progress=wants_progress(), **fields)
    print_line(f"{count} images at guidance {guidance:g} in {out}")
    report = [command_line("report", options.run)] if isinstance(source, RunSource) else []
    next_steps(command_line("evaluate", options.run), *report)
    return 0


def _given(value: float | None) -> tuple[float, ...]:
    return () if value is None else (value,)
