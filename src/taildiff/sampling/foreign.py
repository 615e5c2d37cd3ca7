"""Models from elsewhere, ready to sample from; and as runs, so that they are evaluated like runs."""

from pathlib import Path

import torch

from taildiff import build
from taildiff.data.longtail import Split
from taildiff.data.store import Store
from taildiff.errors import InputError, RunError
from taildiff.importing.foreign import Foreign
from taildiff.io.atomic import write_json
from taildiff.io.home import expanded
from taildiff.io.hub import is_hub_name
from taildiff.log import log
from taildiff.models.codec import codec
from taildiff.models.convert import load_foreign
from taildiff.models.denoiser import Denoiser
from taildiff.run.info import RunInfo, StoreRef, add_checksum
from taildiff.run.layout import RunDir
from taildiff.run.weights import Tensors, WeightsMeta, content_hash, read_weights, write_weights
from taildiff.sampling.generate import TrainedModel
from taildiff.spec import DataFacts


def load_foreign_model(model: Foreign, device: str = "cpu", vae: str | None = None) -> TrainedModel:
    """The model on a device; `CheckpointError` where its parameters do not fit what it says of itself."""
    network = _network(model)
    return TrainedModel(
        network.to(device).eval().requires_grad_(False),
        build.process(model.spec.path),
        model.facts,
        model.spec,
        model.export.step if model.export else 0,
        content_hash(network.state_dict(), {"source": "elsewhere"}),
        codec(model.facts, vae or model.vae, device),
        model.null_trained and model.conditional,
    )


def _network(model: Foreign) -> Denoiser:
    with torch.random.fork_rng(devices=[]):
        network = build.denoiser(model.spec.model, model.facts)
    load_foreign(network, model.read(), model.source)
    return network


def write_run(
    model: Foreign, run: RunDir, store: Store, counts: tuple[int, ...] = (), split: Path | None = None
) -> None:
    """Write the model as a run on `store`, unless it is there; `InputError` for another run there or other images.

    `counts` are the training images per class, which decide head, body and tail (default: those of the store), `split`
    is the split of an export. Which images the model was trained on is not known otherwise.
    """
    facts = _with_vae(_fitted(model, store), model.vae)
    network = _network(model)
    kept = {name: value.cpu() for name, value in network.state_dict().items()}
    step = model.export.step if model.export else 0
    meta = WeightsMeta(kind=model.export.kind if model.export else "ema", step=step, spec=model.spec, facts=facts)
    own = Split.load(split) if split is not None and split.is_file() else Split.unknown(store, counts)
    place = StoreRef(path=str(store.root), hash=store.meta.hash)
    info = RunInfo(
        spec=model.spec,
        facts=facts,
        store=model.export.store if model.export and model.export.store.hash != store.meta.hash else place,
        split_hash=own.hash,
        start_from=model.source if model.null_trained and not model.spec.objective.trains_null else None,
    )
    if run.root.exists() and any(run.root.iterdir()):
        _check_same(run, info, step, meta.kind, kept)
        return
    run.root.mkdir(parents=True, exist_ok=True)
    own.save(run.split)
    write_weights(run.weights(step, meta.kind), kept, meta)
    write_json(run.spec, add_checksum(info.model_dump(mode="json")))
    log.info(f"{model.source} is now also the run {run.root}, which all verbs take")


def _fitted(model: Foreign, store: Store) -> DataFacts:
    """The facts with the store's class names, which are taken in their order where the model has none."""
    have, want = store.facts, model.facts
    if not model.conditional:
        raise InputError(f"{model.source} has no labels, so it cannot be evaluated by class: sample it instead")
    if (have.height, have.width, have.channels, have.classes) != (want.height, want.width, want.channels, want.classes):
        raise RunError(
            f"{store.root} holds {have.classes} classes of {have.height}x{have.width}x{have.channels}, and "
            f"{model.source} makes {want.classes} of {want.height}x{want.width}x{want.channels}: give other images "
            "with --data"
        )
    if have.class_names != want.class_names:
        names = f"0 is '{have.class_names[0]}'" + (f", which it calls '{want.class_names[0]}'" if model.named else "")
        log.warning(f"the labels of {model.source} are taken for the store's classes in their order: {names}")
    return want.model_copy(update={"class_names": have.class_names, "counts": have.counts, "name": have.name})


def _with_vae(facts: DataFacts, vae: str | None) -> DataFacts:
    """The facts with the place of the VAE: that of a copied one is in the export, which does not record it."""
    if facts.codec is None or not vae:
        return facts
    place = vae if is_hub_name(vae) else str(expanded(vae).resolve())
    return facts.model_copy(update={"codec": facts.codec.model_copy(update={"source": place})})


def _check_same(run: RunDir, info: RunInfo, step: int, kind: str, tensors: Tensors) -> None:
    """`InputError` unless the run is of this model."""
    try:
        known = run.info()
        same = known.spec == info.spec and _with_vae(known.facts, "anywhere") == _with_vae(info.facts, "anywhere")
        same = same and content_hash(read_weights(run.weights(step, kind))[0], {}) == content_hash(tensors, {})
    except RunError:
        same = False
    if not same:
        raise InputError(f"{run.root} exists and holds something else than this model; choose another --out")
