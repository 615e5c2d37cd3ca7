"""Images from a trained model: the same image for the same (weights, sampler, guidance, seed, label, rank).

An image's noise depends on its label and its rank among the images of that label only, so that neither the batch size
nor the other classes change it, and a larger set begins with the smaller one.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from taildiff import build
from taildiff.data.batches import to_images
from taildiff.diffusion.guidance import guided
from taildiff.diffusion.process import Process
from taildiff.diffusion.samplers.base import ImageNoise, predictor, trajectory
from taildiff.errors import CheckpointError, InputError, RunError
from taildiff.io.checksum import file_sha256
from taildiff.io.resumable_array import Header, ResumableArray
from taildiff.io.staging import check_space
from taildiff.log import Progress, silent
from taildiff.memory import keep_freed_memory
from taildiff.models.codec import Codec, codec
from taildiff.models.denoiser import Denoiser
from taildiff.rng import seed_of
from taildiff.run.layout import RunDir
from taildiff.run.weights import Tensors, WeightsMeta, read_weights
from taildiff.spec import DataFacts, RunSpec, SamplingSpec

_BATCH_PIXELS = 2**21  # 32 images of 256x256: a pass is not too long to be lost


@dataclass(frozen=True)
class Model:
    """A trained network with what is needed to sample from it."""

    denoiser: Denoiser
    process: Process
    facts: DataFacts
    spec: RunSpec
    step: int
    weights_hash: str
    codec: Codec
    """From what the network makes to pixels."""


def best_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_model(
    run: RunDir, weights: str = "ema", device: str = "cpu", step: int | None = None, vae: str | None = None
) -> Model:
    """The newest weights of a run, or those of a step; `RunError` when there are none.

    `vae`: where the VAE of a model of latents is now, if it is not where it was.
    """
    run.info()
    if device == "cpu":
        keep_freed_memory()
    path, tensors, meta, digest = _newest(run, weights, step)
    denoiser = build.denoiser(meta.spec.model, meta.facts)
    try:
        denoiser.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit the network its metadata describes: {error}") from None
    return Model(
        denoiser.to(device).eval().requires_grad_(False),
        build.process(meta.spec.path),
        meta.facts,
        meta.spec,
        meta.step,
        digest,
        codec(meta.facts, vae, device),
    )


def _newest(run: RunDir, kind: str, step: int | None = None) -> tuple[Path, Tensors, WeightsMeta, str]:
    """The newest weights file, or that of a step, what is in it, and its hash."""
    while steps := run.weight_steps(kind):
        if step is not None and step not in steps:
            raise RunError(f"{run.root} has no {kind} weights of step {step}: there are {', '.join(map(str, steps))}")
        path = run.weights(steps[-1] if step is None else step, kind)
        try:
            return path, *read_weights(path), file_sha256(path)
        except (CheckpointError, FileNotFoundError):
            if path.exists():
                raise  # else the run is being trained, and has newer ones by now
    raise RunError(f"{run.root} has no {kind} weights yet: continue it with the same taildiff train command")


def generate(
    model: Model,
    labels: np.ndarray,
    sampling: SamplingSpec,
    guidance: float,
    batch_size: int | None = None,
    progress: Progress = silent,
    array: ResumableArray | None = None,
) -> np.ndarray:
    """uint8 (N, H, W, C) for integer labels (N,); `InputError` for a label that the model does not have.

    `batch_size` is that of one pass, by default 256, and fewer of images above 90 pixels a side. With `array` (of
    `image_array`) the images are kept on disk as they are made, behind those that an interrupted call left there.
    """
    batches = _batches(model, labels, sampling, guidance, batch_size, progress, array.rows if array else 0)
    if array is None:
        images = np.empty((len(labels), *_image_shape(model.facts)), np.uint8)
        for start, batch in batches:
            images[start : start + len(batch)] = batch
        return images
    for _, batch in batches:
        array.append(batch)
        if array.due:
            array.commit()
    return array.finish()


def _batches(
    model: Model,
    labels: np.ndarray,
    sampling: SamplingSpec,
    guidance: float,
    batch_size: int | None,
    progress: Progress,
    start: int,
) -> Iterator[tuple[int, np.ndarray]]:
    """(position, images) batch by batch, from position `start` on."""
    labels, facts = np.asarray(labels, dtype=np.int64), model.facts
    if len(labels) and not (labels.min() >= 0 and labels.max() < facts.classes):
        raise InputError(f"labels are 0..{facts.classes - 1}, not {labels.min()}..{labels.max()}")
    batch_size = batch_size or max(1, min(256, _BATCH_PIXELS // (facts.height * facts.width)))
    seeds = image_seeds(labels, sampling.seed)
    for first in range(start, len(labels), batch_size):
        part = slice(first, first + batch_size)
        images = _batch(model, labels[part], seeds[part], sampling, guidance)
        progress(f"sampling at guidance {guidance:g}", min(first + batch_size, len(labels)), len(labels))
        yield first, images


def image_array(out: Path, facts: DataFacts, count: int, key: str) -> ResumableArray:
    """Sampled images on disk beside `out`; those of another `key` (weights, sampling, labels) are discarded."""
    header = Header(key={"images": key}, shape=_image_shape(facts))
    check_space(out, "images.npy", count * math.prod(header.shape))
    return ResumableArray(out, "images.npy", np.dtype(np.uint8), header, kept_after=BaseException)


def _image_shape(facts: DataFacts) -> tuple[int, int, int]:
    return facts.height, facts.width, facts.channels


@torch.inference_mode()
def _batch(model: Model, labels: np.ndarray, seeds: list[int], sampling: SamplingSpec, guidance: float) -> np.ndarray:
    facts, denoiser = model.facts, model.denoiser
    device = next(denoiser.parameters()).device
    network = guided(denoiser.predict, guidance, denoiser.null_label)
    predict = predictor(
        network, model.process, torch.from_numpy(labels).to(device), sampling.clip and facts.codec is None
    )
    noise = ImageNoise(seeds, facts.shape, device)
    *_, x = trajectory(build.sampler(sampling, model.process), model.process.times(sampling.steps), predict, noise)
    return to_images(model.codec.decode(x))


def image_seeds(labels: np.ndarray, seed: int) -> list[int]:
    """One seed an image, from (seed, label, rank among the images of that label)."""
    seen: dict[int, int] = {}
    seeds: list[int] = []
    for label in labels.tolist():
        rank = seen.get(label, 0)
        seen[label] = rank + 1
        seeds.append(seed_of(seed, "image", label, rank))
    return seeds
