"""What a path or a name on the Hub is, and the model in it, as a run's weights would describe it.

our export                taildiff.json                      everything is known
DDPMPipeline              model_index.json, unet/            a U-Net, its process
DiTPipeline               model_index.json, transformer/     a DiT, its VAE, its class names
UNet2DModel, DiT, ours    config.json                        the network
parameters alone          .safetensors, shards, .pt, .pth    a SiT or DiT by its parameters; `ModelHints` for the rest
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from taildiff.errors import CheckpointError, InputError
from taildiff.importing.files import INDEX, SUFFIXES, parameter_file, read_parameters
from taildiff.importing.stock_dit import dit_spec, is_stock_dit, official_names
from taildiff.importing.stock_unet import ddpm_spec, unet_spec
from taildiff.io.home import expanded
from taildiff.io.hub import download, is_hub_name
from taildiff.io.json_files import read_json
from taildiff.models.codec import load_vae
from taildiff.models.convert import architecture, is_repa, without_heads
from taildiff.run.exported import ExportDir, ExportMeta
from taildiff.run.layout import RunDir
from taildiff.run.weights import Tensors, is_taildiff_file, read_weights
from taildiff.spec import (
    DataFacts,
    DDPMSpec,
    FlowSpec,
    LabelDropSpec,
    ModelHints,
    ObjectiveSpec,
    PathSpec,
    RunSpec,
    SiTSpec,
    UNetSpec,
    parse,
)

RECIPE = "imported"
_HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}
_FACTORS = (8, 4, 16, 2, 32)
"""Pixels per side of a latent, the usual one first."""


@dataclass(frozen=True)
class Foreign:
    """A model that is no run."""

    source: str
    spec: RunSpec
    """Of the network and the process; the rest is of no run."""
    facts: DataFacts
    read: Callable[[], Tensors] = field(repr=False)
    """Parameters, under our names or, for a U-Net, those of diffusers."""
    named: bool = False
    """Whether the class names are known; otherwise they are numbers."""
    conditional: bool = True
    """False for a U-Net without labels, which has the single class `all`."""
    null_trained: bool = True
    vae: str | None = None
    """Where the VAE of a model on latents is."""
    export: ExportMeta | None = None
    """The record of our own export."""


def is_model(source: str | Path) -> bool:
    """Whether a source is a model that is no run: reads names of files alone."""
    if is_hub_name(source):
        return True
    place = expanded(source)
    if RunDir(place).exists():
        return False
    if place.is_file():
        return place.name.endswith((*SUFFIXES, INDEX))
    if not place.is_dir():
        return False
    return any((place / name).is_file() for name in ("taildiff.json", "model_index.json", "config.json")) or (
        parameter_file(place) is not None
    )


def parameters_alone(source: str | Path) -> Path | None:
    """The file, or the index of shards, where a source is parameters without any description of their network.

    A name on the Hub is downloaded.
    """
    place = download(str(source)) if is_hub_name(source) else expanded(source)
    folder = place if place.is_dir() else place.parent
    if any((folder / name).is_file() for name in ("taildiff.json", "model_index.json")):
        return None
    if (folder / "config.json").is_file() and _known(_config(folder / "config.json")):
        return None
    return parameter_file(place) if place.is_dir() else place


def open_foreign(source: str | Path, hints: ModelHints | None = None, vae: str | None = None) -> Foreign:
    """The model at a path or under a name on the Hub; no parameters are read where a config describes them.

    `vae`: where the VAE of a model on latents is; default: as the model says; empty: nothing will be decoded.
    `InputError` for what is no model, or one that networks here cannot be; `CheckpointError` for damaged files.
    """
    hints = hints or ModelHints()
    place = download(str(source)) if is_hub_name(source) else expanded(source)
    name = str(source)
    if not place.exists():
        raise InputError(f"{source} does not exist: give a run, a folder or file of a model, or OWNER/NAME on the Hub")
    if place.is_dir():
        if ExportDir(place).exists():
            return _export(ExportDir(place), name, vae)
        if (place / "model_index.json").is_file():
            return _pipeline(place, name, hints, vae)
        if (place / "config.json").is_file():
            config = _config(place / "config.json")
            return _network(place, config, name, hints, vae, DDPMSpec())
        if (found := parameter_file(place)) is None:
            raise InputError(f"{source} is no run and no model: it has neither run.json, model_index.json, config.json")
        place = found
    elif (place.parent / "config.json").is_file() and _known(config := _config(place.parent / "config.json")):
        return replace(_network(place.parent, config, name, hints, vae, DDPMSpec()), read=lambda: _read(place, name))
    if place.suffix == ".safetensors" and is_taildiff_file(place):
        return _own_weights(place, name, vae)
    return _parameters(place, name, hints, vae)


def _export(folder: ExportDir, name: str, vae: str | None) -> Foreign:
    meta = folder.meta()
    own = str(folder.vae) if folder.vae.is_dir() else meta.facts.codec and meta.facts.codec.source
    found = Foreign(name, meta.spec, meta.facts, lambda: read_parameters(folder.net), named=True, export=meta)
    return replace(found, null_trained=meta.null_trained, vae=own if vae is None else vae)


def _own_weights(path: Path, name: str, vae: str | None) -> Foreign:
    tensors, meta = read_weights(path)
    own = meta.facts.codec and meta.facts.codec.source
    found = Foreign(name, meta.spec, meta.facts, lambda: tensors, named=True)
    return replace(found, null_trained=meta.spec.objective.trains_null, vae=own if vae is None else vae)


def _pipeline(place: Path, name: str, hints: ModelHints, vae: str | None) -> Foreign:
    index = _config(place / "model_index.json")
    part = next((part for part in ("unet", "transformer") if (place / part / "config.json").is_file()), None)
    if part is None:
        raise InputError(
            f"{name} is a {index.get('_class_name')} without unet/ and transformer/: supported are exports of "
            "taildiff, DDPMPipeline and DiTPipeline"
        )
    scheduler = place / "scheduler" / "scheduler_config.json"
    process = ddpm_spec(_config(scheduler), name) if scheduler.is_file() else DDPMSpec()
    own = str(place / "vae") if (place / "vae" / "config.json").is_file() else None
    found = _network(
        place / part, _config(place / part / "config.json"), name, hints, own if vae is None else vae, process
    )
    names = _class_names(index.get("id2label"), found.facts.classes)
    return found if names is None else replace(found, named=True, facts=_renamed(found.facts, names))


def _class_names(labels: Any, classes: int) -> tuple[str, ...] | None:
    """Names of a pipeline's `id2label`, with the number behind names that occur twice."""
    if not isinstance(labels, dict) or sorted(labels) != sorted(map(str, range(classes))):
        return None
    names = [str(labels[str(label)]).split(",")[0].strip() for label in range(classes)]
    return tuple(f"{name} ({label})" if names.count(name) > 1 else name for label, name in enumerate(names))


def _known(config: Mapping[str, Any]) -> bool:
    return config.get("_class_name") in ("UNet2DModel", "DiTTransformer2DModel", "Transformer2DModel")


def _network(
    place: Path, config: Mapping[str, Any], name: str, hints: ModelHints, vae: str | None, process: PathSpec
) -> Foreign:
    """The network of a folder with config.json."""
    if not _known(config):
        raise InputError(
            f"{name} contains {config.get('_class_name') or 'a network without a class name'}: supported are "
            "UNet2DModel, DiTTransformer2DModel, and parameters of SiT, DiT, REPA and DeltaFM"
        )
    try:
        if config["_class_name"] == "UNet2DModel":
            return _unet(place, config, name, vae, process)
        model = dit_spec(config, hints, name)
        shape = config.get("in_channels", 4), config["sample_size"], config["sample_size"]
        classes = config.get("num_embeds_ada_norm", 1000)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{place / 'config.json'} lacks an entry or has a wrong one: {error}") from None
    return Foreign(
        name, _run_spec(model, process), _facts(shape, classes, vae, name), lambda: _read(place, name), vae=vae
    )


def _unet(place: Path, config: Mapping[str, Any], name: str, vae: str | None, process: PathSpec) -> Foreign:
    size, rows = config["sample_size"], config.get("num_class_embeds")
    height, width = (size, size) if isinstance(size, int) else size
    channels = config.get("in_channels", 3)
    if config.get("out_channels", 3) != channels:
        raise InputError(f"{name} predicts {config.get('out_channels', 3)} channels of {channels}: only one per input")
    if rows is not None and rows < 2:
        raise InputError(f"{name} has {rows} row of labels: networks here have one per class and one for no label")
    facts = _facts((channels, height, width), 1 if rows is None else rows - 1, vae, name)
    facts = facts if rows is not None else _renamed(facts, ("all",))
    spec = _run_spec(unet_spec(config, name), process)
    if rows is None:
        spec = spec.model_copy(update={"objective": ObjectiveSpec(drop=LabelDropSpec(p=0))})
    return Foreign(name, spec, facts, lambda: _read(place, name), conditional=rows is not None, vae=vae)


def _parameters(path: Path, name: str, hints: ModelHints, vae: str | None) -> Foreign:
    """A SiT, DiT or REPA network, recognised by its parameters."""
    tensors = _read(path, name)
    shown = architecture(without_heads(tensors))
    if shown.get("kind") != "sit" or "y_embedder.embedding_table.weight" not in tensors:
        unet = " A U-Net needs its config.json beside it" if shown else ""
        raise InputError(f"{name} has no network that its parameters alone describe (SiT, DiT, REPA, DeltaFM).{unet}")
    width, patch = int(shown["width"]), int(shown["patch"])
    if hints.heads is None and width not in _HEADS:
        raise InputError(f"{name} is of width {width}, and the number of heads is not in it: give --model.heads")
    model = parse(
        SiTSpec,
        {
            "depth": int(shown["depth"]),
            "width": width,
            "heads": hints.heads or _HEADS[width],
            "patch": patch,
            "learn_sigma": shown["learn_sigma"] == "True",
            "embed": hints.embed or ("repa" if is_repa(tensors) else "sit"),
            "frequencies": hints.frequencies or 128,
        },
        name,
    )
    if model.embed == "repa" and model.learn_sigma:
        raise InputError(f"{name} predicts a variance, which REPA's networks do not: give --model.embed sit or dit")
    side = math.isqrt(tensors["pos_embed"].shape[1]) * patch if "pos_embed" in tensors else 32
    classes = len(tensors["y_embedder.embedding_table.weight"]) - 1
    facts = _facts((int(shown["input channels"]), side, side), classes, vae, name)
    process = DDPMSpec() if model.embed == "dit" else FlowSpec()
    return Foreign(name, _run_spec(model, process), facts, lambda: tensors, vae=vae)


def _read(place: Path, name: str) -> Tensors:
    tensors = read_parameters(place)
    return official_names(tensors, name) if is_stock_dit(tensors) else tensors


def _facts(shape: Sequence[int], classes: int, vae: str | None, name: str) -> DataFacts:
    """The data of a network whose input has this shape (C, H, W), with numbers as class names."""
    channels, height, width = shape
    names = tuple(map(str, range(classes)))
    if not vae:
        if vae is None and channels not in (1, 3):
            raise InputError(f"{name} works on latents of {channels} channels: give the VAE that made them, --vae PATH")
        return DataFacts(height=height, width=width, channels=channels, class_names=names, counts=(0,) * classes)
    for factor in _FACTORS:
        try:
            codec = load_vae(vae, (height * factor, width * factor)).facts
        except InputError:
            continue
        if (codec.channels, codec.height, codec.width) == tuple(shape):
            return DataFacts(
                height=height * factor,
                width=width * factor,
                channels=3,
                class_names=names,
                counts=(0,) * classes,
                codec=codec,
            )
    raise InputError(f"{vae} does not make the latents of {name}, {channels}x{height}x{width}; give another --vae")


def _renamed(facts: DataFacts, names: tuple[str, ...]) -> DataFacts:
    return facts.model_copy(update={"class_names": names})


def _run_spec(model: UNetSpec | SiTSpec, process: PathSpec) -> RunSpec:
    return RunSpec(recipe=RECIPE, model=model, path=process)


def _config(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path)
    except InputError as error:
        raise CheckpointError(str(error)) from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is damaged: it is not a JSON object")
    return values
