"""The Inception network of 2015 whose Fréchet distance is called FID (Heusel et al. 2017, arXiv:1706.08500).

NVIDIA's TorchScript translation of the original TensorFlow graph, used by StyleGAN2-ADA, clean-fid and many others. It
takes 8-bit images and resizes them to 299 pixels itself, as the original did; `return_features=True` gives the 2048
features after the last pooling. Any other Inception gives other numbers, so the checksum is pinned.
"""

import os
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from taildiff.errors import InputError
from taildiff.evaluation.extractors.files import cache_dir, digest, fetch, sha256_of
from taildiff.evaluation.extractors.network import ImageNetwork
from taildiff.evaluation.extractors.preparing import Preparation
from taildiff.log import Progress, silent

VERSION = 1  # raise it with every change here that changes features
VARIABLE = "TAILDIFF_INCEPTION"
FILE = "inception-2015-12-05.pt"
URL = f"https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/{FILE}"
PAGE = "https://github.com/NVlabs/stylegan2-ada-pytorch"
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"  # also pinned by k-diffusion


def load_inception(
    file: Path | None = None,
    progress: Progress = silent,
    device: str = "cpu",
    *,
    sha256: str = SHA256,
    url: str = URL,
) -> ImageNetwork:
    """The FID extractor from `file`, `$TAILDIFF_INCEPTION`, the cache, or downloaded once; always with its checksum.

    Raises `InputError` when the file is missing, cannot be downloaded or is another one.
    """
    path = _located(file, sha256, url, progress)
    if (found := sha256_of(path)) != sha256:
        raise InputError(
            f"{path} is not the Inception network that FID means (sha256 {found}, expected {sha256}). "
            f"{_advice(url)}. To use another network, under its own name: --features torchscript:{path}"
        )
    module = torch.jit.load(str(path), map_location=device).eval()
    weight = cast(Tensor, module.state_dict()["output.weight"])  # (K, D)

    def head(features: Tensor) -> Tensor:
        return F.linear(features, weight)  # no bias: the original Inception score left it out

    def forward(images: Tensor) -> Tensor:
        return module(images, return_features=True)

    prepare = Preparation(eight_bit=True)
    identity = digest("inception", VERSION, sha256, prepare.record)
    return ImageNetwork("inception", weight.shape[1], identity, prepare, forward, head, device, is_fid=True)


def _located(file: Path | None, sha256: str, url: str, progress: Progress) -> Path:
    named = file or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        path = named.expanduser()
        if not path.is_file():
            raise InputError(f"there is no file {path}. {_advice(url)}")
        return path
    path = cache_dir() / FILE
    if not path.is_file():
        fetch(url, path, sha256, _advice(url), progress)
    return path


def _advice(url: str) -> str:
    return (
        f"Get {FILE} (95.6 MB) from {url} (linked from {PAGE}) on a machine that can, and name it by "
        f"--features inception:FILE or {VARIABLE}=FILE, or put it at {cache_dir() / FILE}"
    )
