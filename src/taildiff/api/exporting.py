"""`taildiff.export`: a run in the format of another library."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from taildiff.api.fields import ExportFields, SamplingFields
from taildiff.api.progress import reporting
from taildiff.api.sampling import chosen_guidance
from taildiff.api.source import RunSource
from taildiff.device import chosen_device
from taildiff.errors import SpecError, unknown
from taildiff.io.paths import check_folder, output_folder
from taildiff.log import Progress, log
from taildiff.run.exported import ExportDir
from taildiff.run.layout import RunDir
from taildiff.spec import SamplingSpec, parse

if TYPE_CHECKING:
    from taildiff.exporting.export import ExportRequest

FORMATS = ("diffusers",)


def export(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    to: Literal["diffusers"] = "diffusers",
    push: str | None = None,
    private: bool = False,
    dry_run: bool = False,
    progress: bool | Progress = False,
    **fields: Unpack[ExportFields],
) -> Path:
    """Write a run as a folder that diffusers loads, with a model card, and return it.

    `taildiff.diffusers.TaildiffPipeline.from_pretrained(out)` loads it, and so does diffusers alone:
    `DiffusionPipeline.from_pretrained(out, trust_remote_code=True)`. Both give the images of `taildiff.sample`.

    Args:
        run: the run's folder.
        out: a new folder. With `push`, an export that is there already is pushed as it is.
        to: the format.
        push: upload the folder to this model on the Hugging Face Hub, OWNER/NAME; needs `huggingface_hub`.
        private: create that model as a private one.
        dry_run: raise what would be refused, and write and push nothing.
        progress: True draws a progress bar, a callback gets (stage, done, total).
        **fields: `step`, `vae`, `guidance` and `device` as in `evaluate` and `sample`; `vae_as`: `copy` the VAE, `name`
            it, or `auto`; `grid`: images per class in the card; `name`, `license` and `data_license` for the card; and
            fields of `SamplingSpec`, the pipeline's defaults, of which `weights` are those exported.

    Raises:
        TaildiffError: for a run without weights, a VAE that cannot be found, an `out` that exists, a push that fails.
    """
    request = export_request(run, out, to, push, fields)
    if dry_run:
        check_request(request, push)
        return request.out
    if _is_written(request.out, push):
        _check_written(request)
        log.info(f"pushing the export that is in {out} already")
    else:
        from taildiff.exporting.export import export as write  # torch

        check_folder(request.out)
        with reporting(progress) as report:
            write(request, report)
    if push:
        from taildiff.exporting.push import push as upload

        log.info(f"pushed to {upload(request.out, push, private)}")
    return request.out


def check_request(request: "ExportRequest", push: str | None) -> None:
    """Raise what `export` would raise before it writes."""
    from taildiff.exporting.export import check_export  # torch

    if _is_written(request.out, push):
        _check_written(request)
        return
    check_folder(request.out)
    check_export(request)


def _check_written(request: "ExportRequest") -> None:
    from taildiff.exporting.push import check_export, check_same_run

    check_same_run(ExportDir(request.out), request.run, request.step)
    check_export(ExportDir(request.out))


def _is_written(out: Path, push: str | None) -> bool:
    """Whether there is an export already, and it is to be pushed."""
    return bool(push) and ExportDir(out).exists()


def export_request(
    run: str | os.PathLike[str], out: str | os.PathLike[str], to: str, push: str | None, fields: ExportFields
) -> "ExportRequest":
    """What to export; `TaildiffError` for what can be refused before any work."""
    from taildiff.exporting.card import Card
    from taildiff.exporting.export import ExportRequest, check_target  # torch
    from taildiff.exporting.push import check_name, check_vae

    if to not in FORMATS:
        raise SpecError(unknown("format", to, FORMATS))
    given: dict[str, Any] = dict(fields)
    sampling = parse(SamplingSpec, {name: given.pop(name) for name in SamplingFields.__annotations__ if name in given})
    if sampling.extras:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sampling.extras)
        raise SpecError(f"exported pipelines sample without {names}; remove it, and use it with taildiff sample")
    card = Card(**{name: given.pop(name) for name in ("name", "license", "data_license") if name in given})
    source, place = RunDir(Path(run)), output_folder(out)
    guidance = chosen_guidance(RunSource(source), given.pop("guidance", None), sampling).value
    device = chosen_device(given.pop("device", None))
    if given.get("grid", 0) < 0:
        raise SpecError(f"--grid {given['grid']}: give 0 or more images per class")
    if push:
        check_name(push)
    if not _is_written(place, push):
        check_target(place)
        inner = source.info().facts.codec
        if push and inner and given.get("vae_as") == "name":
            check_vae(given.get("vae") or inner.source)
    return ExportRequest(source, place, sampling, guidance, card=card, device=device, **given)
