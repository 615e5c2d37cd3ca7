"""Your own extractors: a TorchScript file, or a Python function.

TorchScript runs the code in the file, so only a file that the user names is loaded.
"""

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from taildiff.errors import InputError, unknown
from taildiff.evaluation.extractors.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    NetworkExtractor,
    Preparation,
    Resize,
    extractor_hash,
)
from taildiff.evaluation.images import Images, ImageSequence, in_batches
from taildiff.io.checksum import file_sha256
from taildiff.io.home import expanded
from taildiff.io.user_code import imported, of_user
from taildiff.log import Progress, silent

VERSION = 1  # raise it with every change that affects features
_RANGES = {
    "uint8": Preparation(eight_bit=True),
    "unit": Preparation(),
    "signed": Preparation(mean=(127.5,), std=(127.5,)),
    "imagenet": Preparation(mean=IMAGENET_MEAN, std=IMAGENET_STD),
}
_OPTIONS = ("size", "resize", "input", "channels")


def load_torchscript(place: str, shape: tuple[int, int, int], device: str = "cpu") -> NetworkExtractor:
    """The extractor in a TorchScript file, `module(images) -> (N, D)`; `place` is `FILE[?option=value[&option=value]]`.

    Options: `size=224` (both sides; default: unchanged), `resize=bicubic|bilinear`, `input=uint8|unit|signed|imagenet`
    (0..255 as 8 bits; [0, 1]; [-1, 1]; ImageNet's mean and deviation), `channels=3|same` (grey repeated, or unchanged).
    `shape` is (H, W, C) of the images. Raises `InputError` if the file, an option or the output does not fit.
    """
    name, _, query = place.partition("?")
    path, prepare = expanded(name), _preparation(query)
    if not path.is_file():
        raise InputError(f"there is no TorchScript file {path}; name one: --features torchscript:FILE")
    try:
        module = torch.jit.load(str(path), map_location=device).eval()
    except Exception as error:  # on damaged files, it raises many types
        raise InputError(f"{path} is not a TorchScript file (made by torch.jit.save): {_last_line(error)}") from None
    try:
        with torch.inference_mode():
            output = module(prepare(np.zeros((2, *shape), dtype=np.uint8), device))
    except Exception as error:  # of the code in the file
        raise InputError(
            f"{path} does not accept these images ({query or 'no options'}): {_last_line(error)}"
        ) from None
    if not isinstance(output, torch.Tensor) or output.ndim != 2 or len(output) != 2:
        what = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise InputError(f"{path} returned {what} for 2 images; it must return a tensor (2, D)")
    identity = extractor_hash("torchscript", VERSION, file_sha256(path), prepare.identity)
    name = f"torchscript-{_plain(path.stem)}"

    def forward(images: torch.Tensor) -> torch.Tensor:
        with of_user(f"{path} failed", __file__):
            return module(images)

    return NetworkExtractor(name, output.shape[1], identity, prepare, forward, device=device)


@dataclass(frozen=True)
class FunctionExtractor:
    """Features from a user's `function(images uint8 (N, H, W, C)) -> (N, D)`, called on 256 images at a time."""

    name: str
    dim: int
    hash: str
    function: Callable[[Images], object]
    is_fid: bool = False
    notes: tuple[str, ...] = ()

    def features(self, images: ImageSequence, progress: Progress = silent) -> NDArray[np.float32]:
        """Features (N, D) of 8-bit images (N, H, W, C)."""
        return in_batches(images, self.dim, 256, lambda part: _call(self.function, part, self.name), progress)

    def probabilities(self, features: NDArray[np.float32], /) -> None:
        """None: a function has no classes."""


def load_function(place: str, shape: tuple[int, int, int]) -> FunctionExtractor:
    """The extractor `module:function`; the module may lie in the current folder.

    Its hash covers the function's file and its attribute `version`, not the modules that the file imports. Raises
    `InputError` if there is no such function or it does not return (N, D).
    """
    function = imported(place, "--features")
    if not callable(function):
        raise InputError(f"--features {place} names no function; name one: --features MODULE:FUNCTION")
    dim = _call(function, np.zeros((2, *shape), dtype=np.uint8), place).shape[1]
    source = inspect.getsourcefile(inspect.unwrap(function)) if inspect.isfunction(function) else None
    file = source or getattr(sys.modules[place.partition(":")[0]], "__file__", None)
    content = file_sha256(Path(file)) if file and Path(file).is_file() else ""
    identity = extractor_hash("function", VERSION, place, content, str(getattr(function, "version", "")))
    return FunctionExtractor(_plain(place), dim, identity, function)


def _call(function: Callable[[Images], object], images: Images, name: str) -> NDArray[np.float32]:
    with of_user(f"--features {name} failed", __file__):
        output = np.asarray(function(np.ascontiguousarray(images)))
    if output.ndim != 2 or len(output) != len(images) or not output.size or output.dtype.kind not in "fiu":
        given = f"{output.dtype} {output.shape}"
        raise InputError(f"{name} returned {given} for {len(images)} images; it must return numbers (N, D)")
    return output.astype(np.float32)


def _preparation(query: str) -> Preparation:
    pairs = (part.partition("=") for part in query.split("&") if part)
    options = {name: value for name, _, value in pairs}
    for name in options:
        if name not in _OPTIONS:
            raise InputError(unknown("option of torchscript", name, _OPTIONS))
    size, kind = options.get("size"), options.get("input", "uint8")
    resize, channels = options.get("resize", "bicubic"), options.get("channels", "3")
    if size is not None and not (size.isascii() and size.isdigit() and int(size) > 0):
        raise InputError(f"size={size} is not a number of pixels; write size=224")
    for name, value, choices in (
        ("resize", resize, get_args(Resize)),
        ("input", kind, tuple(_RANGES)),
        ("channels", channels, ("3", "same")),
    ):
        if value not in choices:
            raise InputError(unknown(name, value, choices))
    side = int(size) if size else None
    return replace(_RANGES[kind], size=side, resize=cast(Resize, resize), colour=channels == "3")


def _plain(name: str) -> str:
    """`name` with only characters that suit folder names."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", name)[:100]


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
