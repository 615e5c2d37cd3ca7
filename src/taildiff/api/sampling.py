"""`taildiff.load` and `taildiff.sample`."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from taildiff.api.fields import SamplingFields
from taildiff.api.output import ARRAYS, output_file
from taildiff.api.progress import reporting
from taildiff.api.source import ModelSource, model_source
from taildiff.data.class_names import position
from taildiff.device import chosen_device
from taildiff.errors import SpecError, unknown
from taildiff.evaluation.best_guidance import DefaultGuidance
from taildiff.io.checksum import json_sha256
from taildiff.io.paths import check_folder, output_folder, output_path
from taildiff.io.staging import check_space
from taildiff.log import Progress, log
from taildiff.sampling.folders import FileFormat, check_new, check_unclaimed, claimed, write_images
from taildiff.sampling.team import check_team, working_together
from taildiff.spec import SamplingSpec, parse

if TYPE_CHECKING:
    from taildiff.api.model import Model
    from taildiff.sampling.generate import TrainedModel

LARGEST_REQUEST = 100_000_000
"""Images of one call of `sample`."""


def load(
    run: str | os.PathLike[str],
    weights: Literal["ema", "raw"] = "ema",
    *,
    step: int | None = None,
    device: str | None = None,
    vae: str | None = None,
    model: Mapping[str, Any] | None = None,
    autoguide: str | None = None,
) -> "Model":
    """The newest weights of a run, or those of `step`, or a model from elsewhere, ready to sample from.

    Args:
        run: the run's folder; or an export, a model of diffusers, a file of parameters (SiT, DiT, REPA, DeltaFM), or
            OWNER/NAME on the Hugging Face Hub.
        weights: `ema`, the averaged weights, or `raw`, those of the last step.
        step: the step of the weights.
        device: `cpu`, `cuda` or `mps`, also `cuda:1`; default: `cuda` where there is one, else `cpu`.
        vae: where the VAE of a run on latents is now, if it moved.
        model: what a file of parameters does not tell: `embed` (sit, dit, repa), `heads`, `frequencies` (128, 127).
        autoguide: experimental: worse weights that guide these: a step of this run, another run, or a weights file.

    Raises:
        RunError: when there is no run, or it has no such weights.
        SpecError: for a device that this machine lacks.
    """
    from taildiff.api.model import Model  # torch

    source = model_source(run, model, vae)
    return Model(**vars(source.load(weights, chosen_device(device), step, vae, autoguide)))


def sample(
    run: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    per_class: int = 8,
    classes: Sequence[str] = (),
    guidance: float | None = None,
    format: FileFormat | None = None,
    vae: str | None = None,
    model: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    devices: int = 1,
    dry_run: bool = False,
    progress: bool | Progress = False,
    **sampling: Unpack[SamplingFields],
) -> Path:
    """Write images of each class to `out` and return it: PNG files by class, with a grid in OUT-info, or one .npz file.

    After an interruption, the same call resumes behind the images that it has kept beside `out`.

    Args:
        run: the run's folder, or a model from elsewhere, as in `load`.
        out: a new folder, which gets class folders and nothing else, or a new .npz file.
        per_class: images per class.
        classes: only these classes, by name.
        guidance: g in null + g (conditional - null); 1 is none. Default: the best of the run's evaluations;
            1.5 without one, 1 where the null label was never trained.
        format: `png`, or `npz` with `images` (N, H, W, C), `labels` (N,) and `class_names`; default: by the suffix of
            `out`.
        vae: where the VAE of a run on latents is now, if it moved.
        model: what a file of parameters does not tell, as in `load`.
        batch_size: images sampled together; changes speed and memory only.
        device: `cpu`, `cuda` or `mps`; default: `cuda` where there is one, else `cpu`.
        devices: GPUs, or processes on a CPU, that share the work; the images are those of one.
        dry_run: raise what would be refused, and sample and write nothing.
        progress: True draws a progress bar, a callback gets (stage, done, total).
        **sampling: fields of `SamplingSpec`: sampler, steps, spacing, exponent, rho, variance, seed, weights, clip,
            guidance_interval, guidance_by_class, guidance_by_group, autoguide, repel, repel_radius, precision, compile.

    Raises:
        TaildiffError: for an output that exists, a class, setting or device that does not, a run without weights, or
            guidance on a null label that was never trained.
    """
    spec, place, source = parse(SamplingSpec, sampling), output_path(out), model_source(run, model, vae)
    format = format or file_format(place)
    labels = requested_labels(source.facts.class_names, place, per_class, classes, format, batch_size)
    guidance = chosen_guidance(source, guidance, spec).value
    if dry_run:
        check_folder(place)
        check_unclaimed(place)
        facts = source.facts
        check_space(place, "images.npy", len(labels) * facts.height * facts.width * facts.channels)
        check_source(source, spec, [guidance], check_team(devices, device), None, vae)
        return place
    with working_together(devices, device, "sampling") as team, reporting(progress) as report, ExitStack() as stack:
        team.on_rank_zero(lambda: stack.enter_context(claimed(place, format)))
        from taildiff.sampling.generate import generate, image_array  # torch

        trained = source.load(spec.weights, team.device, None, vae, spec.autoguide)
        if not team.is_rank_zero:
            generate(trained, labels, spec, guidance, batch_size, engine=team.engine)
        else:
            key = json_sha256([trained.weights_hash, spec.model_dump(mode="json"), guidance, labels.tolist()])
            with image_array(place, trained.facts, len(labels), key, held=True) as array:
                images = generate(trained, labels, spec, guidance, batch_size, report, array, team.engine)
                write_images(place, images, labels, trained.facts.class_names, format)
        team.finish()
    return place


def check_source(
    source: ModelSource,
    sampling: SamplingSpec,
    guidances: Sequence[float],
    device: str,
    step: int | None,
    vae: str | None,
) -> "TrainedModel":
    """The model, read; `TaildiffError` where it cannot be, or cannot be sampled with these settings."""
    from taildiff.sampling.predicting import check_sampling  # torch

    model = source.load(sampling.weights, device, step, vae, sampling.autoguide)
    check_sampling(model, sampling, guidances)
    return model


def chosen_guidance(source: ModelSource, guidance: float | None, sampling: SamplingSpec) -> DefaultGuidance:
    """The guidance requested, or the default, which is logged; `SpecError` for one that the model does not allow."""
    if sampling.autoguide:
        if guidance is None:
            raise SpecError("give --guidance with --autoguide: the run's evaluations do not tell the best one")
        return DefaultGuidance(guidance, "")
    chosen = source.guidance(guidance)
    if guidance is None:
        log.info(f"guidance {chosen.value:g} ({chosen.reason})")
    return chosen


def file_format(out: str | os.PathLike[str]) -> FileFormat:
    """`npz` for the name of an .npz file, `png` for that of a folder."""
    return "npz" if output_path(out).suffix.lower() in ARRAYS else "png"


def requested_labels(
    names: Sequence[str], out: Path, per_class: int, classes: Sequence[str], format: FileFormat, batch_size: int | None
) -> NDArray[np.int64]:
    """Labels (N,) of the images to sample, class after class; `InputError` for a request that cannot be met."""
    if per_class < 1 or (batch_size is not None and batch_size < 1):
        raise SpecError("--per-class and --batch-size must be at least 1")
    check_new(out, format)
    if format == "npz":
        output_file(out, ARRAYS)
    else:
        output_folder(out)
    labels = {position(names, name): name for name in classes or names}
    if -1 in labels:
        raise SpecError(unknown("class", labels[-1], names))
    if (count := len(labels) * per_class) > LARGEST_REQUEST:
        raise SpecError(
            f"--per-class {per_class} means {count:,} images, more than {LARGEST_REQUEST:,}: sample in parts, each "
            "with another --seed"
        )
    return np.repeat([*labels], per_class)
