"""Read diffusers' autoencoders: `config.json` and safetensors, in a folder or on the Hugging Face Hub.

The network is built and filled here rather than by diffusers, so that nothing is unpickled, the global random state is
not used, and a missing parameter is an error rather than a warning above random weights.
"""

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from taildiff.errors import CheckpointError, InputError
from taildiff.io.home import expanded
from taildiff.io.hub import quiet
from taildiff.io.paths import reason, whole
from taildiff.models.convert import misfits
from taildiff.run.weights import Tensors, read_tensors

Kind = Literal["AutoencoderKL", "AutoencoderTiny"]
KINDS: dict[Kind, str] = {
    "AutoencoderKL": "diffusers.models.autoencoders.autoencoder_kl",
    "AutoencoderTiny": "diffusers.models.autoencoders.autoencoder_tiny",
}
_WHOLE = "diffusion_pytorch_model.safetensors"
_INDEX = "diffusion_pytorch_model.safetensors.index.json"
_HALF = "diffusion_pytorch_model.fp16.safetensors"
_FORMER = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}  # before diffusers 0.13
_FORMER_NAME = re.compile(rf"(\.attentions\.\d+)\.({'|'.join(_FORMER)})\.")


@dataclass(frozen=True, slots=True, eq=False)
class Autoencoder:
    """A network of diffusers, on the CPU in float32, ready to compute."""

    source: str
    """Where to find it again: an absolute path, or a name on the Hub."""
    kind: Kind
    module: Any
    """AutoencoderKL or AutoencoderTiny."""
    entries: dict[str, Any]
    """Config entries that differ from the defaults."""
    latent_shape: tuple[int, int, int]
    """(c, h, w)."""


def read_autoencoder(source: str, size: tuple[int, int]) -> Autoencoder:
    """The network of a source, for images of `size` (H, W).

    Raises `InputError` when there is nothing to read or the size does not fit, `CheckpointError` for damaged files.
    """
    folder, source_kept = _find(source)
    config = _read_json(folder / "config.json")
    kind = _kind(config)
    if kind is None:
        name = config.get("_class_name") or "a model without a class name"
        raise InputError(f"{source} contains {name}: supported VAEs are {' and '.join(KINDS)}")
    module, entries = _build(kind, config, folder / "config.json")
    shape = _latent_shape(module, source, size)
    _fill(module, _read_weights(folder, source, kind), folder)
    return Autoencoder(source_kept, kind, module, entries, shape)


def _build(kind: Kind, config: Mapping[str, Any], path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network on the meta device, and the config entries that differ from the defaults."""
    cls: Any = getattr(import_module(KINDS[kind]), kind)
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if name != "self" and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }
    given = {name: value for name, value in config.items() if name in defaults}
    try:
        with torch.device("meta"):
            module = cls(**given)
    except Exception as error:  # anything that diffusers raises for a wrong config
        raise CheckpointError(f"diffusers cannot build an {kind} from {path}: {reason(error)}") from None
    plain = json.loads(json.dumps(defaults))  # tuples as lists, like `given`
    return module.eval().requires_grad_(False), {name: value for name, value in given.items() if value != plain[name]}


def _latent_shape(module: Any, source: str, size: tuple[int, int]) -> tuple[int, int, int]:
    """(c, h, w), from a pass on the meta device; `InputError` for sizes that encoding and decoding would change."""
    height, width = size
    try:
        with torch.inference_mode():
            encoded = module.encode(torch.empty(1, module.config.in_channels, height, width, device="meta"))
            code = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mean
            back = module.decode(code).sample
    except Exception as error:  # smaller than a kernel, or an inconsistent config
        raise InputError(f"{source} cannot take images of {height}x{width} pixels: {reason(error)}") from None
    _, c, h, w = code.shape
    if back.shape[2:] != size:
        factor = back.shape[2] // h
        raise InputError(
            f"{source} makes one latent of {factor}x{factor} pixels, but {height}x{width} pixels are not divisible by "
            f"{factor}: prepare the data at another --size"
        )
    return c, h, w


def _fill(module: nn.Module, tensors: Tensors, folder: Path) -> None:
    """Load the parameters in float32; `CheckpointError` names those that do not fit."""
    tensors = {_FORMER_NAME.sub(lambda m: f"{m[1]}.{_FORMER[m[2]]}.", name): value for name, value in tensors.items()}
    if problems := misfits(module.state_dict(), tensors):
        raise CheckpointError(f"the weights in {folder} do not fit its config.json: {problems}")
    # Copied: a view would change with the file, and its alignment would decide how sums are rounded.
    values = {name: value.to(torch.float32, copy=True) for name, value in tensors.items()}
    if bad := sorted(name for name, value in values.items() if not bool(value.isfinite().all())):
        raise CheckpointError(f"the weights in {folder} are damaged: {bad[0]} contains non-finite values")
    module.load_state_dict(values, assign=True)


def _read_weights(folder: Path, source: str, kind: Kind) -> Tensors:
    if (folder / _WHOLE).is_file():
        return read_tensors(folder / _WHOLE)[0]
    if (folder / _INDEX).is_file():
        return {
            name: value for shard in _shards(folder / _INDEX) for name, value in read_tensors(folder / shard)[0].items()
        }
    if (folder / _HALF).is_file():
        return read_tensors(folder / _HALF)[0]
    raise InputError(f"{source} has no {_WHOLE}. {_instead(folder, source, kind)}")


def _instead(folder: Path, source: str, kind: Kind) -> str:
    """What to do when there are no safetensors."""
    if expanded(source).is_dir() and not any(folder.glob("*.bin")):
        return "Copy that file into the folder as well"
    inner = ", subfolder='vae'" if folder.name == "vae" and Path(source).name != "vae" else ""
    return (
        "Weights in .bin files are pickles, which can run code, and are not read. If you trust their author, convert "
        f"them: python -c \"from diffusers import {kind} as A; A.from_pretrained('{source}'{inner}, "
        "use_safetensors=False).save_pretrained('converted')\"; then give the folder converted"
    )


def _shards(index: Path) -> list[str]:
    """File names of a sharded checkpoint."""
    names = _read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(v, str) and Path(v).name == v for v in names.values()):
        raise CheckpointError(f"{index} is damaged: it does not map parameters to files beside it")
    return sorted(set(names.values()))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(whole(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged or not JSON: {reason(error)}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is damaged: it is not a JSON object")
    return values


def _kind(config: Mapping[str, Any]) -> Kind | None:
    """The supported class that a config describes."""
    return next((kind for kind in KINDS if kind == config.get("_class_name")), None)


def _find(source: str) -> tuple[Path, str]:
    """The folder with `config.json`, and the source as an absolute path or Hub name."""
    place = expanded(source)
    if place.is_dir():
        for folder in (place, place / "vae"):  # of a VAE or of a pipeline
            if (folder / "config.json").is_file():
                return folder, str(place.resolve())
        raise InputError(f"{source} is not a VAE folder: it has neither config.json nor vae/config.json")
    if place.exists():
        raise InputError(f"{source} is a file: give the folder with config.json and {_WHOLE}")
    if source.startswith((".", "/", "~")) or source.count("/") != 1 or "\\" in source:
        raise InputError(
            f"there is no folder {source}. A VAE is a folder with config.json and {_WHOLE}, "
            "or OWNER/NAME on the Hugging Face Hub"
        )
    return _from_hub(source), source


def _from_hub(name: str) -> Path:
    """The folder in the local cache; missing files are downloaded to it."""
    hub: Any = import_module("huggingface_hub")
    with quiet(hub):
        folder = _fetch(hub, name, local_files_only=True)
        if folder is None:
            try:  # a quick check; the downloads would retry for half a minute
                hub.utils.get_session().head(hub.constants.ENDPOINT, timeout=5)
            except Exception as error:  # the type depends on the hub library's version
                raise InputError(
                    f"{name} is not a local folder and the Hugging Face Hub cannot be reached ({reason(error)}). "
                    f"{_download(name)}"
                ) from None
            folder = _fetch(hub, name, local_files_only=False)
    if folder is None:
        raise InputError(f"{name} on the Hugging Face Hub has neither config.json nor vae/config.json: it is not a VAE")
    return folder


def _fetch(hub: Any, name: str, local_files_only: bool) -> Path | None:
    """The folder of a Hub name with its config and weights; None without a config, or if files are missing locally."""

    def get(file: str) -> Path | None:
        try:
            return Path(hub.hf_hub_download(name, file, local_files_only=local_files_only))
        except hub.errors.EntryNotFoundError as error:
            if isinstance(error, hub.errors.LocalEntryNotFoundError) and not local_files_only:
                raise  # the Hub did not answer; it may have the file
            return None

    try:
        config, prefix = get("config.json"), ""
        if config is None:
            config, prefix = get("vae/config.json"), "vae/"
        if config is None or _kind(_read_json(config)) is None:
            return config and config.parent  # before fetching a large file of another model
        complete = get(prefix + _WHOLE)
        if complete is None and (index := get(prefix + _INDEX)) is not None:
            complete = all(get(prefix + shard) for shard in _shards(index))
        complete = complete or get(prefix + _HALF)
        return config.parent if complete or not local_files_only else None
    except CheckpointError:
        raise
    except Exception as error:  # unknown name, no access, a broken connection, a full disk
        raise InputError(
            f"{name} could not be downloaded from the Hugging Face Hub: {reason(error)}. {_download(name)}"
        ) from None


def _download(name: str) -> str:
    return f"On a machine with network: hf download {name} --local-dir vae; copy the folder here and give its path"
