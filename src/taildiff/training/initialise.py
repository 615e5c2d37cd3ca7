"""The initial weights of a run: from its seed, from another run, or from a model that was trained elsewhere."""

from collections.abc import Sequence
from pathlib import Path

import torch

from taildiff import build
from taildiff.data.class_names import canonical
from taildiff.errors import CheckpointError, first_few
from taildiff.importing.files import read_parameters
from taildiff.importing.foreign import is_model, open_foreign, parameters_alone
from taildiff.log import log
from taildiff.models.convert import is_repa, load_foreign
from taildiff.models.unet import groups_of
from taildiff.objectives.objective import Learner
from taildiff.rng import seed_of
from taildiff.run.info import MAY_CHANGE, changed
from taildiff.run.layout import RunDir, weights_at
from taildiff.run.weights import Tensors, is_taildiff_file, read_weights
from taildiff.spec import DataFacts, ModelHints, RunSpec, SiTSpec, UNetSpec, flatten


def initialise(spec: RunSpec, facts: DataFacts, counts: Sequence[int], start_from: Path | None) -> Learner:
    """Network and objective with weights from the seed; with `start_from`, the network's come from that file."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed_of(spec.seed, "weights"))
        learner = build.learner(spec, facts, counts)
    if start_from is not None:
        tensors, rows = _read_start(start_from, spec, facts)
        load_foreign(learner.denoiser, tensors, f"--from {start_from}", rows)
    return learner


def adopted(spec: RunSpec, run: RunDir, start_from: Path | None) -> RunSpec:
    """The spec with REPA's time where the starting weights are REPA's, known by their projectors; logged."""
    model = spec.model
    if not isinstance(model, SiTSpec) or model.embed != "sit":
        return spec
    if run.exists():
        info = run.info()
        repa = info.start_from is not None and isinstance(info.spec.model, SiTSpec) and info.spec.model.embed == "repa"
    elif start_from is None or not is_model(start_from) or (alone := parameters_alone(start_from)) is None:
        repa = False
    else:
        repa = is_repa(read_parameters(alone))
    if not repa:
        return spec
    log.info(f"--from {start_from or 'REPA'} holds REPA's projectors, so its time and sign are used: model.embed repa")
    return spec.model_copy(update={"model": model.model_copy(update={"embed": "repa"})})


def _read_start(path: Path, spec: RunSpec, facts: DataFacts) -> tuple[Tensors, list[int | None] | None]:
    """The weights of another run or model, and the row of each class in its label table if known.

    `CheckpointError` where they do not fit.
    """
    path = weights_at(path)
    if is_model(path) and not _is_own(path):
        return _read_foreign(path, spec, facts)
    tensors, meta = read_weights(path)
    _check_described(path, meta.spec, meta.facts, spec, facts)
    return tensors, _rows(path, meta.facts.class_names, facts.class_names)


def _is_own(path: Path) -> bool:
    return path.suffix == ".safetensors" and path.is_file() and is_taildiff_file(path)


def _read_foreign(path: Path, spec: RunSpec, facts: DataFacts) -> tuple[Tensors, list[int | None] | None]:
    """Of a model with a config, which is compared; parameters alone are compared by `load_foreign`."""
    if alone := parameters_alone(path):
        return read_parameters(alone), None
    own = spec.model
    hints = ModelHints(frequencies=own.frequencies) if isinstance(own, SiTSpec) else None
    found = open_foreign(path, hints, vae="")
    _check_described(path, found.spec, found.facts, spec, facts)
    if found.spec.path.kind != spec.path.kind:
        log.warning(
            f"--from {path} was trained on the process {found.spec.path.kind}, and this run is on {spec.path.kind}: "
            "what its last layer predicts has to be learnt anew"
        )
    return found.read(), _rows(path, found.facts.class_names, facts.class_names) if found.named else None


def _check_described(path: Path, given: RunSpec, held: DataFacts, spec: RunSpec, facts: DataFacts) -> None:
    """`CheckpointError` in three lines where the network or its input is another one."""
    on_latents = bool(held.codec) or held.channels not in (1, 3)  # of a model from elsewhere no VAE is opened
    same_kind = held.shape == facts.shape and on_latents == bool(facts.codec)
    free = [*MAY_CHANGE, "model.zero_init", "model.group_channels", "model.groups", "model.dropout"]
    differ = [name for name, _, _ in changed(given, spec, free) if name.startswith("model.")]
    if isinstance(given.model, UNetSpec) and _groups(given) != _groups(spec):
        differ.append("model.groups" if given.model.groups else "model.group_channels")
    if same_kind and not differ:
        return
    values = flatten(given.model_dump(mode="json"))
    options = " ".join(f"--{name.replace('_', '-')} {_option(values.get(name))}" for name in differ)
    advice = "\nTo train that network: " + options if given.model.kind == spec.model.kind and options else ""
    raise CheckpointError(
        f"--from {path} does not fit this network and data: it holds {_shape(given, held)},\n"
        f"and this run is {_shape(spec, facts)}{advice}"
    )


def _groups(spec: RunSpec) -> int | None:
    """GroupNorm groups, however they are chosen; None without a U-Net."""
    model = spec.model
    return groups_of(model.channels, model.group_channels, model.groups) if isinstance(model, UNetSpec) else None


def _option(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _rows(path: Path, given: Sequence[str], own: Sequence[str]) -> list[int | None]:
    """The place of each class among those of the weights, by name; logs which are new and which are left out."""
    places = {canonical(name): place for place, name in enumerate(given)}
    rows = [places.get(canonical(name)) for name in own]
    if list(given) == list(own):
        return rows
    known, new = sum(row is not None for row in rows), [n for n, row in zip(own, rows, strict=True) if row is None]
    left = [name for place, name in enumerate(given) if place not in rows]
    parts = [f"{known} of {len(own)} classes keep their rows of the label table, by name"]
    parts += [f"new: {first_few(new, 20)}"] if new else []
    parts += [f"not used: {first_few(left, 20)}"] if left else []
    log.info(f"--from {path}: {'; '.join(parts)}")
    return rows


def _shape(spec: RunSpec, facts: DataFacts) -> str:
    size = "x".join(map(str, (*facts.shape[1:], facts.shape[0])))
    what = "latents" if facts.codec else "images"
    return f"{spec.model.model_dump_json()} for {facts.classes} classes of {size} {what}"
