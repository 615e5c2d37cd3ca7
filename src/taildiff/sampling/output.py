"""What people give and get when they sample: classes by label or name, images in three formats."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from taildiff.data.batches import to_images
from taildiff.errors import InputError, SpecError, unknown
from taildiff.log import Progress

if TYPE_CHECKING:
    from PIL.Image import Image

Labels = int | str | Sequence[int | str] | NDArray[Any] | Tensor
"""Classes by label or by name, one per image."""
Format = Literal["torch", "uint8", "pil"]
"""`torch`: float32 (N, C, H, W) in [0, 1] on the CPU; `uint8`: numpy (N, H, W, C); `pil`: a list of N images."""


class SampleOptions(TypedDict, total=False):
    """Keyword arguments of `Model.sample` and `Model.trajectory`."""

    guidance: float
    steps: int | None
    sampler: Literal["ancestral", "ddim", "euler", "heun"] | None
    seed: int
    batch_size: int | None
    progress: Progress


def class_labels(classes: Labels, names: Sequence[str]) -> NDArray[np.int64]:
    """Labels (N,) of classes given by label or name; `InputError` for one that is not among `names`."""
    if isinstance(classes, np.ndarray | Tensor):
        classes = classes.reshape(-1).tolist()
    labels: list[int] = []
    for each in [classes] if isinstance(classes, int | str) else classes:
        if isinstance(each, str) and each not in names:
            raise SpecError(unknown("class", each, names))
        labels.append(names.index(each) if isinstance(each, str) else int(each))
    if labels and not (min(labels) >= 0 and max(labels) < len(names)):
        raise InputError(f"labels are 0..{len(names) - 1}, not {min(labels)}..{max(labels)}")
    return np.array(labels, dtype=np.int64)


def converted(x: Tensor, format: Format) -> "Tensor | NDArray[np.uint8] | list[Image]":
    """Images (N, C, H, W) in [-1, 1], in the requested format."""
    match format:
        case "torch":
            return x.float().add(1).div(2).clamp(0, 1)
        case "uint8":
            return to_images(x)
        case "pil":
            from PIL import Image

            return [Image.fromarray(image[..., 0] if image.shape[2] == 1 else image) for image in to_images(x)]
        case _:
            raise SpecError(unknown("format", format, ("torch", "uint8", "pil")))
