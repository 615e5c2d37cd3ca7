"""`taildiff export RUN OUT --to diffusers`: a run as a folder that diffusers loads, with a model card."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from taildiff.api.exporting import check_request, export, export_request
from taildiff.cli.common import SAMPLING, DeviceOption, command_line, guidances, next_steps, print_line, wants_progress
from taildiff.cli.parsing import parse_options
from taildiff.spec import SamplingSpec

_FIELDS = ("step", "vae", "vae_as", "grid", "device", "name", "license", "data_license")


@dataclass(frozen=True)
class Export:
    """Write a run as a folder that diffusers loads with or without taildiff, and push it to the Hugging Face Hub."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    out: tyro.conf.Positional[Path]
    """A new folder. With --push, an export that is there already is pushed as it is."""
    to: Literal["diffusers"] = "diffusers"
    """The format."""
    push: Annotated[str | None, tyro.conf.arg(metavar="OWNER/NAME")] = None
    """Also upload the folder to this model on the Hub (pip install 'taildiff[hub]'; hf auth login). [default:
    nothing is uploaded]"""
    private: bool = False
    """Create that model as a private one."""
    step: int | None = None
    """The weights of this step. [default: the newest]"""
    guidance: float | None = None
    """The pipeline's default guidance. [default: as in taildiff sample]"""
    omega: float | None = None
    """The same as g - 1. [default: --guidance - 1]"""
    vae: str | None = None
    """Where the VAE of a run on latents is now, a folder or a name on the Hub. [default: where it was]"""
    vae_as: Literal["auto", "name", "copy"] = "auto"
    """Copy the VAE into the folder, or name it, to be loaded from the Hub; auto: copy a local one, name one there."""
    grid: Annotated[int, tyro.conf.arg(metavar="N")] = 8
    """Images per class in the card's grid; 0: no grid."""
    name: str = ""
    """The model's name in its card. [default: that of the run]"""
    license: str = "other"
    """The weights' licence as the Hub writes it, such as apache-2.0; other: none is stated."""
    data_license: str = ""
    """The licence of the training images, for the card. [default: not stated]"""
    sampling: Annotated[SamplingSpec, tyro.conf.arg(name="")] = SAMPLING
    device: DeviceOption = None
    dry_run: bool = False
    """Check all that the export would refuse and print what would be written; do nothing."""


def main(args: list[str]) -> int:
    """`taildiff export RUN OUT …`."""
    options = parse_options(Export, args, "taildiff export")
    given = guidances(*((() if value is None else (value,)) for value in (options.guidance, options.omega)))
    fields: Any = {name: getattr(options, name) for name in _FIELDS} | options.sampling.model_dump()
    fields["guidance"] = next(iter(given), None)
    if options.dry_run:
        request = export_request(options.run, options.out, options.to, options.push, fields)
        check_request(request, options.push)
        print(options.sampling.model_dump_json(indent=1))
        print_line(f"{request.run.root} as a pipeline of diffusers, guidance {request.guidance:g}, to {request.out}")
        return 0
    fields |= {"private": options.private, "progress": wants_progress()}
    place = export(options.run, options.out, to=options.to, push=options.push, **fields)
    print_line(f"Exported: {place} (model card: {place / 'README.md'})")
    commands = [command_line("sample", place, "--per-class", 8, "--out", f"{place}-images")]
    if not options.push:
        commands.append(command_line("export", options.run, place, "--push", "OWNER/NAME"))
    next_steps(*commands)
    return 0
