"""Images from a trained model: the same image for the same (weights, sampler, guidance, seed, label, rank).

An image's noise depends only on the seed, its label and its rank among the images of that label, so neither the batch
size nor the other classes change it, and a larger set starts with the smaller one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taildiff import build
from taildiff.data.batches import to_images
from taildiff.data.class_names import position
from taildiff.diffusion.guidance import Network, guided
from taildiff.diffusion.process import Process
from taildiff.diffusion.samplers.base import ImageNoise, predictor, trajectory
from taildiff.errors import CheckpointError, InputError, RunError, SpecError, unknown
from taildiff.io.checksum import file_sha256
from taildiff.io.resumable_array import Header, ResumableArray
from taildiff.io.staging import check_space
from taildiff.log import Progress, silent
from taildiff.memory import keep_freed_memory
from taildiff.models.codec import Codec, codec
from taildiff.models.denoiser import Denoiser
from taildiff.rng import stream
from taildiff.run.layout import RunDir
from taildiff.run.null_label import check_guidance, null_trained
from taildiff.run.weights import Tensors, WeightsMeta, check_finite, check_size, read_weights
from taildiff.spec import DataFacts, RunSpec, SamplingSpec

Labels = int | str | Sequence[int | str] | NDArray[Any] | Tensor
"""Classes by label or by name, one per image."""
LARGE = 20.0
"""Above any guidance in use; at smaller ones, images of nothing but black and white are what the data are."""
SATURATED = 0.99
"""Share of values from which on images at a large guidance show nothing."""
_BATCH_PIXELS = 2**21  # 32 images of 256x256, so that a kill loses little


@dataclass(frozen=True)
class TrainedModel:
    """A trained network and everything needed to sample from it."""

    denoiser: Denoiser
    process: Process
    facts: DataFacts
    spec: RunSpec
    step: int
    weights_hash: str
    codec: Codec
    """Turns what the network generates into pixels."""
    null_trained: bool = True
    """Whether the null label was trained; without it there is no guidance."""


def load_model(
    run: RunDir, weights: str = "ema", device: str = "cpu", step: int | None = None, vae: str | None = None
) -> TrainedModel:
    """The model with the newest weights of a run, or those of a step; `RunError` if there are none.

    `vae`: the VAE of a latent model, if it has moved.
    """
    info = run.info()
    if device == "cpu":
        keep_freed_memory()
    path, tensors, meta, digest = newest_weights(run, weights, step)
    denoiser = filled(tensors, meta.spec, meta.facts, path)
    return TrainedModel(
        denoiser.to(device).eval().requires_grad_(False),
        build.process(meta.spec.path),
        meta.facts,
        meta.spec,
        meta.step,
        digest,
        codec(meta.facts, vae, device),
        null_trained(meta.spec, info.start_from),
    )


def filled(tensors: Tensors, spec: RunSpec, facts: DataFacts, source: object) -> Denoiser:
    """The network with these weights, on the CPU; `CheckpointError` where they do not fit it or are not finite."""
    check_finite(tensors, source)
    check_size(tensors, spec.model, source)
    denoiser = build.denoiser(spec.model, facts)
    try:
        denoiser.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{source} does not fit the network its metadata describes: {error}") from None
    return denoiser


def newest_weights(run: RunDir, kind: str, step: int | None = None) -> tuple[Path, Tensors, WeightsMeta, str]:
    """The newest weights file, or that of a step, with its content and hash."""
    while steps := run.weight_steps(kind):
        if step is not None and step not in steps:
            raise RunError(f"{run.root} has no {kind} weights of step {step}; it has {', '.join(map(str, steps))}")
        path = run.weights(steps[-1] if step is None else step, kind)
        try:
            return path, *read_weights(path), file_sha256(path)
        except (CheckpointError, FileNotFoundError):
            if path.exists():
                raise  # otherwise training has just replaced it by newer ones
    raise RunError(f"{run.root} has no {kind} weights yet: continue it with the same taildiff train command")


def class_labels(classes: Labels, names: Sequence[str]) -> NDArray[np.int64]:
    """Labels (N,) of classes given by label or name; `InputError` for one that is not among `names`."""
    if isinstance(classes, np.ndarray | Tensor):
        classes = classes.reshape(-1).tolist()
    labels: list[int] = []
    for each in [classes] if isinstance(classes, int | str) else classes:
        label = position(names, each) if isinstance(each, str) else int(each)
        if isinstance(each, str) and label < 0:
            raise SpecError(unknown("class", each, names))
        labels.append(label)
    if labels and not (min(labels) >= 0 and max(labels) < len(names)):
        raise InputError(f"labels are 0..{len(names) - 1}, not {min(labels)}..{max(labels)}")
    return np.array(labels, dtype=np.int64)


def generate(
    model: TrainedModel,
    labels: np.ndarray,
    sampling: SamplingSpec,
    guidance: float,
    batch_size: int | None = None,
    progress: Progress = silent,
    array: ResumableArray | None = None,
) -> np.ndarray:
    """uint8 images (N, H, W, C) for integer labels (N,); `InputError` for an unknown label.

    `batch_size` is that of one pass: 256 by default, fewer for images above 90 pixels per side. With `array` (from
    `image_array`) images are written to disk as they are generated, after those of an interrupted call.
    """
    labels = class_labels(labels, model.facts.class_names)
    images = np.empty((0 if array else len(labels), *_image_shape(model.facts)), np.uint8)
    for rows, steps in batches(model, labels, sampling, guidance, batch_size, array.rows if array else 0):
        *_, x = steps
        x = decoded(model, x)
        check_images(x, guidance)
        batch = to_images(x)
        progress(f"sampling at guidance {guidance:g}", rows.stop, len(labels))
        if array is None:
            images[rows] = batch
            continue
        array.append(batch)
        if array.due:
            array.commit()
    return images if array is None else _finished(array)


def _finished(array: ResumableArray) -> NDArray[np.uint8]:
    """The sampled images on disk; `RunError` where another process wrote them too, on a file system without locks."""
    images = array.finish()
    if not array.holds(images):
        raise RunError(f"{array.out} was changed by another process meanwhile; rerun the command when that has ended")
    return images


def check_images(x: Tensor, guidance: float) -> None:
    """`RunError` for images (N, C, H, W) with NaN or infinity, and for those that a large guidance saturated.

    Saturated: at a guidance above `LARGE`, nearly all values at or beyond -1 and 1, or in images of one value.
    """
    advice = "Use a smaller --guidance, more --steps" if guidance > 1 else "Use more --steps"
    if not bool(x.isfinite().all()):
        raise RunError(
            f"sampling at guidance {guidance:g} gave values that are NaN or infinite. {advice}, or weights of another "
            "step"
        )
    if guidance <= LARGE or not len(x):
        return
    flat = x.flatten(1)
    constant = flat.amax(1, keepdim=True) == flat.amin(1, keepdim=True)
    share = ((flat.abs() >= 1) | constant).float().mean().item()
    if share >= SATURATED:
        raise RunError(
            f"guidance {guidance:g} is too large: {100 * share:.1f} % of the values of these images are saturated or "
            "constant, so they show nothing. Use a smaller --guidance; between 1 and 5 is usual"
        )


def image_array(out: Path, facts: DataFacts, count: int, key: str, held: bool = False) -> ResumableArray:
    """Sampled images on disk beside `out`; those of another `key` (weights, sampling, labels) are discarded.

    With `held`, the caller holds the lock of `out`.
    """
    header = Header(key={"images": key}, shape=_image_shape(facts))
    check_space(out, "images.npy", count * math.prod(header.shape))
    return ResumableArray(out, "images.npy", np.dtype(np.uint8), header, BaseException, held)


def _image_shape(facts: DataFacts) -> tuple[int, int, int]:
    return facts.height, facts.width, facts.channels


def batches(
    model: TrainedModel,
    labels: NDArray[np.int64],
    sampling: SamplingSpec,
    guidance: float,
    batch_size: int | None = None,
    start: int = 0,
) -> Iterator[tuple[slice, Iterator[Tensor]]]:
    """Rows from `start` on, and for each batch what the network makes of it after each step, not yet decoded."""
    if not 0 <= guidance < float("inf"):
        raise SpecError(f"guidance {guidance:g} is not a number from 0 up")
    check_guidance(model.null_trained, [guidance], "this model")
    batch_size = batch_size or usual_batch(model.facts.height, model.facts.width)
    ranks = ranks_of(labels)
    for first in range(start, len(labels), batch_size):
        rows = slice(first, min(first + batch_size, len(labels)))
        yield rows, _steps(model, labels[rows], ranks[rows], sampling, guidance)


def usual_batch(height: int, width: int) -> int:
    """Images sampled together where nothing else is requested."""
    return max(1, min(256, _BATCH_PIXELS // (height * width)))


@torch.inference_mode()
def _steps(
    model: TrainedModel,
    labels: NDArray[np.int64],
    ranks: NDArray[np.int64],
    sampling: SamplingSpec,
    guidance: float,
) -> Iterator[Tensor]:
    facts, denoiser = model.facts, model.denoiser
    device, clip = next(denoiser.parameters()).device, sampling.clip and facts.codec is None
    network = guided(denoiser.predict, guidance, denoiser.null_label)
    yield from images_of(network, model.process, labels, ranks, facts.shape, sampling, clip, device)


@torch.inference_mode()
def decoded(model: TrainedModel, x: Tensor) -> Tensor:
    """Images (N, C, H, W) of what the network works on."""
    return model.codec.decode(x)


def images_of(
    network: Network,
    process: Process,
    labels: NDArray[np.int64],
    ranks: NDArray[np.int64],
    shape: tuple[int, int, int],
    sampling: SamplingSpec,
    clip: bool,
    device: torch.device,
) -> Iterator[Tensor]:
    """What a guided network makes of noise after each step, (N, *shape); the exported pipelines run it too."""
    predict = predictor(network, process, torch.from_numpy(labels).to(device), clip)
    streams = [stream(sampling.seed, "image", *each) for each in zip(labels.tolist(), ranks.tolist(), strict=True)]
    noise = ImageNoise(streams, shape, device)
    yield from trajectory(build.sampler(sampling, process), build.times(sampling, process), predict, noise)


def ranks_of(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each image's rank (N,) among those of its label (N,), from 0 up, in order."""
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - np.repeat(starts, counts)
    return ranks
