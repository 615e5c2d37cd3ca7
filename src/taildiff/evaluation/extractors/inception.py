"""The Inception network of 2015 whose Fréchet distance is called FID (Heusel et al. 2017, arXiv:1706.08500).

NVIDIA's TorchScript translation of the original TensorFlow graph, used by StyleGAN2-ADA, clean-fid and many others. It
takes 8-bit images and resizes them to 299 pixels itself, like the original; `return_features=True` returns the 2048
features after the last pooling. Any other Inception yields other numbers, so the checksum is pinned.
"""

import os
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from taildiff.errors import InputError
from taildiff.evaluation.extractors.base import NetworkExtractor, Preparation, extractor_hash
from taildiff.evaluation.extractors.files import fetch
from taildiff.io.checksum import file_sha256
from taildiff.io.home import expanded, extractor_cache
from taildiff.log import Progress, silent

VERSION = 1  # raise it with every change that affects features
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
) -> NetworkExtractor:
    """The FID extractor from `file`, `$TAILDIFF_INCEPTION`, the cache or a one-time download; its checksum is verified.

    Raises `InputError` if the file is missing, cannot be downloaded or is a different one.
    """
    path = _locate(file, sha256, url, progress)
    if (actual := file_sha256(path)) != sha256:
        raise InputError(
            f"{path} is not the Inception network of FID (sha256 {actual}, expected {sha256}). "
            f"{_advice(url)}. To use this network under its own name: --features torchscript:{path}"
        )
    module = torch.jit.load(str(path), map_location=device).eval()
    weight = cast(Tensor, module.state_dict()["output.weight"])  # (K, D)

    def head(features: Tensor) -> Tensor:
        return F.linear(features, weight)  # no bias, as in the original Inception score

    def forward(images: Tensor) -> Tensor:
        return module(images, return_features=True)

    prepare = Preparation(eight_bit=True)
    identity = extractor_hash("inception", VERSION, sha256, prepare.identity)
    return NetworkExtractor("inception", weight.shape[1], identity, prepare, forward, head, device, is_fid=True)


def _locate(file: Path | None, sha256: str, url: str, progress: Progress) -> Path:
    named = file or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        path = expanded(named)
        if not path.is_file():
            raise InputError(f"there is no file {path}. {_advice(url)}")
        return path
    path = extractor_cache() / FILE
    if not path.is_file():
        fetch(url, path, sha256, _advice(url), progress)
    return path


def _advice(url: str) -> str:
    return (
        f"Download {FILE} (95.6 MB) from {url} (linked from {PAGE}) on another machine, then pass "
        f"--features inception:FILE, set {VARIABLE}=FILE, or put it at {extractor_cache() / FILE}"
    )
