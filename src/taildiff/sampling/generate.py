"""Images from a trained model: the same image for the same (weights, sampler, guidance, seed, label, rank).

An image's noise depends only on the seed, its label and its rank among the images of that label, so neither the batch
size nor the other classes change it, and a larger set starts with the smaller one.
"""

import math
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taildiff import build
from taildiff.data.batches import to_images
from taildiff.data.class_names import position
from taildiff.diffusion.guidance import Network
from taildiff.diffusion.process import Process
from taildiff.diffusion.samplers.base import ImageNoise, Predict, predictor, trajectory
from taildiff.errors import InputError, RunError, SpecError, unknown
from taildiff.io.resumable_array import Header, ResumableArray
from taildiff.io.staging import check_space
from taildiff.log import Progress, log, silent
from taildiff.rng import stream
from taildiff.sampling.model import TrainedModel, filled, load_model, newest_weights
from taildiff.sampling.predicting import Predicting
from taildiff.spec import DataFacts, SamplingSpec

__all__ = [
    "LARGE",
    "SATURATED",
    "Labels",
    "TrainedModel",
    "batches",
    "check_images",
    "class_labels",
    "decoded",
    "filled",
    "generate",
    "image_array",
    "images_of",
    "last_images",
    "load_model",
    "newest_weights",
    "ranks_of",
    "usual_batch",
]

if TYPE_CHECKING:
    from taildiff.engine import Engine  # lightning-fabric

Batch = tuple[slice, Iterator[Tensor]]
"""Rows, and what the network makes of them after each step."""
Labels = int | str | Sequence[int | str] | NDArray[Any] | Tensor
"""Classes by label or by name, one per image."""
LARGE = 20.0
"""Above any guidance in use; at smaller ones, images of nothing but black and white are what the data are."""
SATURATED = 0.99
"""Share of values from which on images at a large guidance show nothing."""
_BATCH_PIXELS = 2**21  # 32 images of 256x256, so that a kill loses little


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
    engine: "Engine | None" = None,
) -> np.ndarray:
    """uint8 images (N, H, W, C) for integer labels (N,); `InputError` for an unknown label.

    `batch_size` is that of one pass: 256 by default, fewer for images above 90 pixels per side. With `array` (from
    `image_array`) images are written to disk as they are generated, after those of an interrupted call. With `engine`
    its processes take the batches in turn, which are those of one process; rank zero returns the images, and it alone
    has an `array`, while the others return none.
    """
    labels = class_labels(labels, model.facts.class_names)
    receives = engine is None or engine.is_rank_zero
    images = np.empty((0 if array or not receives else len(labels), *_image_shape(model.facts)), np.uint8)
    first = array.rows if array else 0
    first = engine.from_rank_zero(lambda: first) if engine else first
    started = time.perf_counter()
    predicting = Predicting(model, sampling, guidance)
    parts = batches(predicting, labels, batch_size, first)
    for rows, batch in _shared(predicting, parts, engine):
        progress(f"sampling at guidance {guidance:g}", rows.stop, len(labels))
        if array is None:
            images[rows if receives else slice(0)] = batch if receives else batch[:0]
            continue
        array.append(batch)
        if array.due:
            array.commit()
    if array is None:
        return images
    if new := len(labels) - first:
        rate = new / (time.perf_counter() - started)
        log.info(f"sampled {new:,} images at guidance {guidance:g}, {rate:.3g} images/s")
    return _finished(array)


def _shared(
    predicting: Predicting, parts: Iterator[Batch], engine: "Engine | None"
) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Rows and images of each batch in order, from the processes in turn."""
    if engine is None:
        for rows, steps in parts:
            yield rows, last_images(predicting, steps)
        return
    while turn := list(islice(parts, engine.processes)):
        own = np.zeros((turn[0][0].stop - turn[0][0].start, *_image_shape(predicting.model.facts)), np.uint8)
        if engine.rank < len(turn):
            rows, steps = turn[engine.rank]
            own[: rows.stop - rows.start] = last_images(predicting, steps)
        for (rows, _), images in zip(turn, engine.gathered(torch.from_numpy(own)), strict=False):
            yield rows, images.numpy()[: rows.stop - rows.start]


def last_images(predicting: Predicting, steps: Iterator[Tensor]) -> NDArray[np.uint8]:
    """uint8 images (N, H, W, C) after the last step of a batch; `RunError` for those that `check_images` refuses."""
    *_, x = steps
    x = decoded(predicting.model, x)
    check_images(x, predicting.guidance)
    return to_images(x)


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
    predicting: Predicting, labels: NDArray[np.int64], batch_size: int | None = None, start: int = 0
) -> Iterator[Batch]:
    """Rows from `start` on, and for each batch what the network makes of it after each step, not yet decoded."""
    facts = predicting.model.facts
    batch_size = batch_size or usual_batch(facts.height, facts.width)
    ranks = ranks_of(labels)
    for first in range(start, len(labels), batch_size):
        rows = slice(first, min(first + batch_size, len(labels)))
        yield rows, _steps(predicting, labels[rows], ranks[rows])


def usual_batch(height: int, width: int) -> int:
    """Images sampled together where nothing else is requested."""
    return max(1, min(256, _BATCH_PIXELS // (height * width)))


@torch.inference_mode()
def _steps(predicting: Predicting, labels: NDArray[np.int64], ranks: NDArray[np.int64]) -> Iterator[Tensor]:
    model = predicting.model
    predict = predicting.batch(labels.tolist())
    yield from _drawn(predict, model.process, labels, ranks, model.facts.shape, predicting.sampling, model.device)


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
    yield from _drawn(predict, process, labels, ranks, shape, sampling, device)


def _drawn(
    predict: Predict,
    process: Process,
    labels: NDArray[np.int64],
    ranks: NDArray[np.int64],
    shape: tuple[int, int, int],
    sampling: SamplingSpec,
    device: torch.device,
) -> Iterator[Tensor]:
    """The images after each step from the noise of their seed, labels and ranks."""
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
