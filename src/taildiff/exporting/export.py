"""Write a run as a folder of diffusers (layout: `run/exported.py`), all or nothing."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from taildiff import build
from taildiff.data.longtail import Split, rank
from taildiff.errors import InputError
from taildiff.exporting.assemble import assemble
from taildiff.exporting.card import Card, model_card
from taildiff.exporting.modeling import TaildiffTransformer
from taildiff.exporting.public import public_record
from taildiff.exporting.stock_unet import stock_unet
from taildiff.io.atomic import write_json
from taildiff.io.paths import output_folder
from taildiff.io.png import grid, write_png
from taildiff.io.staging import one_writer, partial, sweep
from taildiff.log import Progress, silent
from taildiff.models.codec import codec
from taildiff.models.denoiser import Denoiser
from taildiff.models.unet import UNet
from taildiff.models.vae_files import read_autoencoder
from taildiff.run.exported import ExportDir, ExportMeta
from taildiff.run.layout import RunDir
from taildiff.run.null_label import null_trained
from taildiff.run.weights import WeightsMeta
from taildiff.sampling.generate import TrainedModel, filled, generate, newest_weights
from taildiff.sampling.predicting import check_sampling
from taildiff.spec import CodecFacts, DataFacts, SamplingSpec, SiTSpec, UNetSpec

NO_CARD = Card()
VAEAs = Literal["auto", "name", "copy"]
"""How an export refers to its VAE; auto: a name on the Hub stays a name, a local folder is copied."""
GRID_CLASSES, GRID_COLUMNS = 10, 8
_PIPELINE = "taildiff.exporting.pipeline", "TaildiffPipeline"
_TRANSFORMER = "taildiff.exporting.modeling", "TaildiffTransformer"


@dataclass(frozen=True)
class ExportRequest:
    """What to export, and how."""

    run: RunDir
    out: Path
    sampling: SamplingSpec
    """The pipeline's defaults; its `weights` are those exported."""
    guidance: float
    step: int | None = None
    """Of the weights; None: the newest."""
    vae: str | None = None
    """Where the VAE of a run on latents is now, if it moved."""
    vae_as: VAEAs = "auto"
    grid: int = GRID_COLUMNS
    """Images per class in the grid; 0: no grid."""
    card: Card = NO_CARD
    device: str = "cpu"
    """Samples the grid."""


def check_target(out: Path) -> Path:
    """The folder to write; `InputError` where something is there already."""
    place = output_folder(out)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InputError(f"{out} exists already; choose a new output folder")
    return place


def check_export(request: ExportRequest) -> None:
    """Raise what `export` would raise before it writes; writes nothing."""
    run, sampling = request.run, request.sampling
    path, tensors, meta, digest = newest_weights(run, sampling.weights, request.step)
    denoiser = filled(tensors, meta.spec, meta.facts, path)
    Split.load(run.split)
    source = _vae_source(request, meta.facts)
    if request.grid:
        trained = null_trained(meta.spec, run.info().start_from)
        check_sampling(_model(request, denoiser, meta, digest, trained, "cpu"), sampling, [request.guidance])
    elif source and _is_copied(request, source):
        codec(meta.facts, request.vae)


def export(request: ExportRequest, progress: Progress = silent) -> ExportDir:
    """Write the folder; `TaildiffError` for a run without weights, a VAE that cannot be found, an `out` that exists."""
    out = check_target(request.out)
    with one_writer(out):
        sweep(out)
        check_target(request.out)
        work = ExportDir(partial(out))
        shutil.rmtree(work.root, ignore_errors=True)  # of a killed process
        work.root.mkdir(parents=True)
        try:
            _write(request, work, progress)
            if out.exists():  # an empty folder
                out.rmdir()
            work.root.rename(out)
        finally:
            shutil.rmtree(work.root, ignore_errors=True)
    return ExportDir(out)


def _write(request: ExportRequest, folder: ExportDir, progress: Progress) -> None:
    run, info = request.run, request.run.info()
    path, tensors, meta, digest = newest_weights(run, request.sampling.weights, request.step)
    denoiser = filled(tensors, meta.spec, meta.facts, path)
    trained = null_trained(meta.spec, info.start_from)
    split = Split.load(run.split)
    record = ExportMeta(
        run=run.root.resolve().name,
        kind=meta.kind,
        step=meta.step,
        spec=meta.spec,
        facts=meta.facts,
        counts=split.counts,
        store=info.store,
        null_trained=trained,
        guidance=request.guidance,
        sampling=request.sampling,
    )
    component = write_network(denoiser, meta, folder.net)
    vae = _write_vae(request, meta.facts, folder)
    record = public_record(record, vae["source"] if vae and not folder.vae.is_dir() else None)
    write_index(folder, record, component, vae)
    (folder.root / "pipeline.py").write_text(
        assemble(*_PIPELINE, "Images from a model that taildiff exported."), encoding="utf-8"
    )
    if request.grid:
        model = _model(request, denoiser, meta, digest, trained, request.device)
        _write_grid(request, model, split, folder, progress)
    folder.card.write_text(model_card(run, record, request.card, folder.grid.is_file()), encoding="utf-8")
    shutil.copyfile(run.split, folder.split)
    write_json(folder.record, record.values())


def _model(
    request: ExportRequest, denoiser: Denoiser, meta: WeightsMeta, digest: str, trained: bool, device: str
) -> TrainedModel:
    """The network and its VAE as what draws the grid."""
    decoder = codec(meta.facts, request.vae, device)
    process = build.process(meta.spec.path)
    return TrainedModel(denoiser.to(device).eval(), process, meta.facts, meta.spec, meta.step, digest, decoder, trained)


def write_network(denoiser: nn.Module, meta: WeightsMeta, folder: Path) -> list[str]:
    """Write the network as a model of diffusers; its library and class, as model_index.json names them."""
    spec, facts = meta.spec.model, meta.facts
    if isinstance(denoiser, UNet):
        assert isinstance(spec, UNetSpec)
        stock_unet(denoiser, spec, facts).save_pretrained(folder)
        return ["diffusers", "UNet2DModel"]
    assert isinstance(spec, SiTSpec)
    channels, height, width = facts.shape
    network = TaildiffTransformer(
        size=(height, width),
        image_channels=channels,
        classes=facts.classes,
        **spec.model_dump(exclude={"kind", "checkpointing"}),
    )
    network.load_state_dict(denoiser.state_dict())
    network.save_pretrained(folder)
    source = assemble(*_TRANSFORMER, "A SiT or DiT that taildiff exported.")
    (folder / "modeling.py").write_text(source, encoding="utf-8")
    return ["modeling", _TRANSFORMER[1]]


def _write_vae(request: ExportRequest, facts: DataFacts, folder: ExportDir) -> dict[str, Any] | None:
    """Copy or name the VAE; the entry `latents` of model_index.json, None for a run on pixels."""
    if (source := _vae_source(request, facts)) is None:
        return None
    assert facts.codec
    if _is_copied(request, source):
        codec(facts, request.vae)  # refuses another VAE
        network = read_autoencoder(source, (facts.height, facts.width)).module
        network.register_to_config(_name_or_path="")  # its place, which diffusers would write
        network.save_pretrained(folder.vae)
        source = folder.vae.name
    return _latents(facts.codec, source)


def _vae_source(request: ExportRequest, facts: DataFacts) -> str | None:
    """Where the VAE is; None for a run on pixels, where `InputError` refuses options about one."""
    if facts.codec is not None:
        return request.vae or facts.codec.source
    if request.vae is not None or request.vae_as != "auto":
        raise InputError("--vae and --vae-as do not apply to a pixel-space run; remove them")
    return None


def _is_copied(request: ExportRequest, source: str) -> bool:
    """Whether the folder gets the VAE itself; a name on the Hub stays a name."""
    return request.vae_as == "copy" or (request.vae_as == "auto" and Path(source).expanduser().exists())


def _latents(inner: CodecFacts, source: str) -> dict[str, Any]:
    nested = Path(source).expanduser() / "vae" / "config.json"
    return {
        "source": source,
        "subfolder": "vae" if nested.is_file() else "",
        "kind": inner.kind,
        "sha256": inner.hash,
        "channels": inner.channels,
        "height": inner.height,
        "width": inner.width,
        "scaling": inner.scaling,
        "shift": inner.shift,
    }


def write_index(folder: ExportDir, record: ExportMeta, component: list[str], latents: Mapping[str, Any] | None) -> None:
    """Write model_index.json."""
    facts, sampling = record.facts, record.sampling.model_dump(mode="json", exclude={"weights"})
    copied = latents is not None and folder.vae.is_dir()
    values = {
        "_class_name": ["pipeline", _PIPELINE[1]],
        "_diffusers_version": version("diffusers"),
        "net": component,
        "vae": ["diffusers", latents["kind"]] if latents and copied else [None, None],
        "process": record.spec.path.model_dump(mode="json"),
        "sampling": sampling | {"guidance": record.guidance},
        "images": {"height": facts.height, "width": facts.width, "channels": facts.channels},
        "latents": latents,
        "id2label": {str(label): name for label, name in enumerate(facts.class_names)},
        "null_trained": record.null_trained,
    }
    text = json.dumps({name: value for name, value in values.items() if value is not None}, indent=1)
    folder.index.write_text(text + "\n", encoding="utf-8")


def _write_grid(
    request: ExportRequest, model: TrainedModel, split: Split, folder: ExportDir, progress: Progress
) -> None:
    """Images of the commonest to the rarest classes, one row each, at most `GRID_CLASSES` of them evenly spaced."""
    ranked = rank(split.counts)
    shown = ranked[np.unique(np.linspace(0, len(ranked) - 1, min(GRID_CLASSES, len(ranked))).round().astype(int))]
    labels = np.repeat(shown, request.grid)
    images = generate(model, labels, request.sampling, request.guidance, progress=progress)
    write_png(folder.grid, grid(images, columns=request.grid))
