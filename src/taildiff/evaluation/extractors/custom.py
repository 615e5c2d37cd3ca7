"""Extractors that the user brings: a TorchScript file, or a Python function.

TorchScript runs the code in the file, so a file is taken only because its user names it.
"""

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from taildiff.errors import InputError, unknown
from taildiff.evaluation.extractors.files import digest, sha256_of
from taildiff.evaluation.extractors.network import ImageNetwork
from taildiff.evaluation.extractors.preparing import IMAGENET_MEAN, IMAGENET_STD, Preparation, Resize, in_batches
from taildiff.evaluation.images import Images, Pictures
from taildiff.log import Progress, silent

VERSION = 1  # raise it with every change here that changes features
_RANGES = {
    "uint8": Preparation(eight_bit=True),
    "unit": Preparation(),
    "signed": Preparation(mean=(127.5,), std=(127.5,)),
    "imagenet": Preparation(mean=IMAGENET_MEAN, std=IMAGENET_STD),
}
_OPTIONS = ("size", "resize", "input", "channels")


def load_torchscript(place: str, shape: tuple[int, int, int], device: str = "cpu") -> ImageNetwork:
    """The extractor of a TorchScript file, `module(images) -> (N, D)`; `place` is `FILE[?option=value[&option=value]]`.

    Options: `size=224` (both sides; else as they are), `resize=bicubic|bilinear`, `input=uint8|unit|signed|imagenet`
    (0..255 as 8 bits; [0, 1]; [-1, 1]; the mean and deviation of ImageNet), `channels=3|same` (grey repeated, or as it
    is). `shape` is (H, W, C) of the images to come. Raises `InputError` for anything that does not fit.
    """
    name, _, query = place.partition("?")
    path, prepare = Path(name).expanduser(), _preparation(query)
    if not path.is_file():
        raise InputError(f"there is no TorchScript file {path}: --features torchscript:FILE")
    try:
        module = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        raise InputError(f"{path} is not a TorchScript file (torch.jit.save makes them): {_first(error)}") from None
    try:
        with torch.inference_mode():
            found = module(prepare(np.zeros((2, *shape), dtype=np.uint8), device))
    except RuntimeError as error:
        raise InputError(f"{path} does not take such images ({query or 'no options'}): {_first(error)}") from None
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != 2:
        what = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise InputError(f"{path} gave {what} for 2 images; a tensor (2, D) is wanted")
    identity = digest("torchscript", VERSION, sha256_of(path), prepare.record)
    return ImageNetwork(f"torchscript-{_plain(path.stem)}", found.shape[1], identity, prepare, module, device=device)


@dataclass(frozen=True)
class OwnFunction:
    """Features of a user's function, `function(images uint8 (N, H, W, C)) -> (N, D)`, called with 256 at a time."""

    name: str
    dim: int
    hash: str
    function: Callable[[Images], object]
    is_fid: bool = False
    notes: tuple[str, ...] = ()

    def features(self, images: Pictures, progress: Progress = silent) -> NDArray[np.float32]:
        """Features (N, D) of 8-bit images (N, H, W, C)."""
        return in_batches(images, self.dim, 256, lambda part: _called(self.function, part, self.name), progress)

    def probabilities(self, features: NDArray[np.float32], /) -> None:
        """It has no classes."""


def load_function(place: str, shape: tuple[int, int, int]) -> OwnFunction:
    """The extractor `module:function`; modules of the current folder are found too.

    Its hash covers the file that the function is in and the function's attribute `version`, not what the file imports.
    Raises `InputError` when there is no such function, or what it gives is not (N, D).
    """
    module_name, _, attribute = place.partition(":")
    function = getattr(_imported(module_name), attribute, None)
    if not callable(function):
        raise InputError(f"the module {module_name} has no function '{attribute}': --features MODULE:FUNCTION")
    dim = _called(function, np.zeros((2, *shape), dtype=np.uint8), place).shape[1]
    source = inspect.getsourcefile(inspect.unwrap(function)) if inspect.isroutine(function) else None
    file = source or sys.modules[module_name].__file__
    content = sha256_of(Path(file)) if file else ""
    identity = digest("function", VERSION, place, content, str(getattr(function, "version", "")))
    return OwnFunction(_plain(place), dim, identity, function)


def _imported(name: str) -> object:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"the module {name} of --features {name}:FUNCTION cannot be imported: {error}") from None
    finally:
        sys.path.remove(str(Path.cwd()))


def _called(function: Callable[[Images], object], images: Images, name: str) -> NDArray[np.float32]:
    found = np.asarray(function(np.ascontiguousarray(images)))
    if found.ndim != 2 or len(found) != len(images) or not np.issubdtype(found.dtype, np.number):
        raise InputError(f"{name} gave {found.dtype} {found.shape} for {len(images)} images; numbers (N, D) are wanted")
    return found.astype(np.float32)


def _preparation(query: str) -> Preparation:
    pairs = (part.partition("=") for part in query.split("&") if part)
    options = {name: value for name, _, value in pairs}
    for name in options:
        if name not in _OPTIONS:
            raise InputError(unknown("option of torchscript", name, _OPTIONS))
    size, kind = options.get("size"), options.get("input", "uint8")
    resize, channels = options.get("resize", "bicubic"), options.get("channels", "3")
    if size is not None and not (size.isascii() and size.isdigit() and int(size) > 0):
        raise InputError(f"size={size}: a number of pixels is wanted, as in size=224")
    for name, value, choices in (
        ("resize", resize, get_args(Resize)),
        ("input", kind, tuple(_RANGES)),
        ("channels", channels, ("3", "same")),
    ):
        if value not in choices:
            raise InputError(unknown(name, value, choices))
    base = _RANGES[kind]
    return Preparation(
        size=int(size) if size else None,
        resize=cast(Resize, resize),
        colour=channels == "3",
        eight_bit=base.eight_bit,
        mean=base.mean,
        std=base.std,
    )


def _plain(name: str) -> str:
    """For folder names."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", name)


def _first(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
