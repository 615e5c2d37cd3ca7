"""The initial weights of a run: from its seed, from another run, or from an official checkpoint."""

from collections.abc import Sequence
from pathlib import Path

import torch

from taildiff import build
from taildiff.data.class_names import canonical
from taildiff.errors import CheckpointError, first_few
from taildiff.log import log
from taildiff.models.convert import load_foreign, read_foreign
from taildiff.objectives.objective import Learner
from taildiff.rng import seed_of
from taildiff.run.info import MAY_CHANGE, changed
from taildiff.run.layout import weights_at
from taildiff.run.weights import Tensors, is_taildiff_file, read_weights
from taildiff.spec import DataFacts, RunSpec


def initialise(spec: RunSpec, facts: DataFacts, counts: Sequence[int], start_from: Path | None) -> Learner:
    """Network and objective with weights from the seed; with `start_from`, the network's come from that file."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed_of(spec.seed, "weights"))
        learner = build.learner(spec, facts, counts)
    if start_from is not None:
        tensors, rows = _read_start(weights_at(start_from), spec, facts)
        load_foreign(learner.denoiser, tensors, f"--from {start_from}", rows)
    return learner


def _read_start(path: Path, spec: RunSpec, facts: DataFacts) -> tuple[Tensors, list[int | None] | None]:
    """The weights of another run or of an official checkpoint, and the row of each class in its label table if known.

    `CheckpointError` where they do not fit.
    """
    if path.suffix != ".safetensors" or not is_taildiff_file(path):
        return read_foreign(path), None
    tensors, meta = read_weights(path)
    same_kind = meta.facts.shape == facts.shape and bool(meta.facts.codec) == bool(facts.codec)
    free = [*MAY_CHANGE, "model.zero_init"]
    if not same_kind or any(name.startswith("model.") for name, _, _ in changed(meta.spec, spec, free)):
        raise CheckpointError(
            f"--from {path} does not fit this network and data: it holds {_shape(meta.spec, meta.facts)}, "
            f"and this run is {_shape(spec, facts)}"
        )
    return tensors, _rows(path, meta.facts.class_names, facts.class_names)


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
