"""The initial weights of a run: from its seed, from another run, or from an official checkpoint."""

from collections.abc import Sequence
from pathlib import Path

import torch

from taildiff import build
from taildiff.errors import CheckpointError
from taildiff.models.convert import load_foreign, read_foreign
from taildiff.objectives.objective import Learner
from taildiff.rng import seed_of
from taildiff.run.info import MAY_CHANGE, changed
from taildiff.run.weights import Tensors, is_taildiff_file, read_weights
from taildiff.spec import DataFacts, RunSpec


def initialise(spec: RunSpec, facts: DataFacts, counts: Sequence[int], start_from: Path | None) -> Learner:
    """Network and objective with weights from the seed; with `start_from`, the network's come from that file."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed_of(spec.seed, "weights"))
        learner = build.learner(spec, facts, counts)
    if start_from is not None:
        load_foreign(learner.denoiser, _read_start(start_from, spec, facts), f"--from {start_from}")
    return learner


def _read_start(path: Path, spec: RunSpec, facts: DataFacts) -> Tensors:
    """The weights of another run or of an official checkpoint; `CheckpointError` where they do not fit."""
    if path.suffix != ".safetensors" or not is_taildiff_file(path):
        return read_foreign(path)
    tensors, meta = read_weights(path)
    same_kind = meta.facts.shape == facts.shape and bool(meta.facts.codec) == bool(facts.codec)
    free = [*MAY_CHANGE, "model.zero_init"]
    if not same_kind or any(name.startswith("model.") for name, _, _ in changed(meta.spec, spec, free)):
        raise CheckpointError(
            f"--from {path} does not fit this network and data: it holds {_shape(meta.spec, meta.facts)}, "
            f"and this run is {_shape(spec, facts)}"
        )
    return tensors


def _shape(spec: RunSpec, facts: DataFacts) -> str:
    size = "x".join(map(str, (*facts.shape[1:], facts.shape[0])))
    what = "latents" if facts.codec else "images"
    return f"{spec.model.model_dump_json()} for {facts.classes} classes of {size} {what}"
