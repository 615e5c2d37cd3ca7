"""DINOv2 (Oquab et al. 2023, arXiv:2304.07193): self-supervised features, which agree with human judgement of generated
images better than Inception's (Stein et al. 2023, arXiv:2306.04675, whose preparation we use).

Features are the class token after the last layer norm. The default is the large model, as in papers that report a
Fréchet distance on it; `dinov2:facebook/dinov2-small` is fifteen times cheaper, and a different extractor.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from taildiff.errors import InputError
from taildiff.evaluation.extractors.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    NetworkExtractor,
    Preparation,
    extractor_hash,
)
from taildiff.io.checksum import file_sha256
from taildiff.io.home import expanded

VERSION = 1  # raise it with every change that affects features
DEFAULT = "facebook/dinov2-large"
_FILES = ("config.json", "model.safetensors")
_PACKAGES = "pip install 'taildiff[dinov2]' (or: pip install 'transformers>=4.45')"


def load_dinov2(place: str = DEFAULT, device: str = "cpu") -> NetworkExtractor:
    """The extractor in a local folder (config.json, model.safetensors) or of that name on the Hugging Face Hub.

    Raises `InputError` if transformers is missing or the weights are neither local nor downloadable.
    """
    if find_spec("transformers") is None:
        raise InputError(f"the extractor dinov2 needs the package transformers: {_PACKAGES}")
    folder = _folder(place)
    transformers: Any = import_module("transformers")
    try:
        module = transformers.AutoModel.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except Exception as error:  # of transformers, and of safetensors for a damaged file
        raise InputError(f"{folder} is not a DINOv2 model that transformers can load ({error}). {_advice()}") from None
    if not module.config.model_type.startswith("dinov2"):
        raise InputError(f"{folder} contains a {module.config.model_type} model, not DINOv2. {_advice()}")
    module.to(device).eval()

    def forward(images: Tensor) -> Tensor:
        return module(pixel_values=images).last_hidden_state[:, 0]

    prepare = Preparation(size=224, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    identity = extractor_hash("dinov2", VERSION, [file_sha256(folder / name) for name in _FILES], prepare.identity)
    return NetworkExtractor("dinov2", module.config.hidden_size, identity, prepare, forward, device=device, batch=32)


def _folder(place: str) -> Path:
    folder = expanded(place)
    if not folder.is_dir():
        if place.startswith((".", "/", "~")) or place.count("/") != 1:
            raise InputError(f"there is no folder {place}. {_advice()}")
        folder = _downloaded(place)
    if missing := [name for name in _FILES if not (folder / name).is_file()]:
        raise InputError(f"{folder} lacks {' and '.join(missing)}. {_advice()}")
    return folder


def _downloaded(name: str) -> Path:
    hub: Any = import_module("huggingface_hub")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(_FILES)))
    except (OSError, ValueError, RuntimeError) as error:  # not found, offline, no such name
        raise InputError(
            f"{name} is not in the local cache and could not be downloaded ({error}). {_advice()}"
        ) from None


def _advice() -> str:
    return (
        f"On a machine with internet access: hf download {DEFAULT} {' '.join(_FILES)} --local-dir dinov2; "
        "copy the folder here and pass it: --features dinov2:FOLDER"
    )
