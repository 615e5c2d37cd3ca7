"""A trained network, loaded from the weights of a run."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from taildiff import build
from taildiff.diffusion.process import Process
from taildiff.errors import CheckpointError, RunError, SpecError
from taildiff.io.checksum import file_sha256, json_sha256
from taildiff.memory import keep_freed_memory
from taildiff.models.codec import Codec, codec
from taildiff.models.denoiser import Denoiser
from taildiff.run.layout import RunDir, weights_at
from taildiff.run.null_label import null_trained
from taildiff.run.weights import Tensors, WeightsMeta, check_finite, check_size, read_weights
from taildiff.spec import DataFacts, RunSpec


@dataclass(frozen=True)
class TrainedModel:
    """A trained network and everything needed to sample from it."""

    denoiser: Denoiser
    process: Process
    facts: DataFacts
    spec: RunSpec
    step: int
    weights_hash: str
    codec: Codec
    """Turns what the network generates into pixels."""
    null_trained: bool = True
    """Whether the null label was trained; without it there is no classifier-free guidance."""
    run: RunDir | None = None
    """Where it is from; its split and its data tell the groups and the training images."""
    worse: Denoiser | None = None
    """The network of worse weights that guides this one (autoguidance)."""

    @property
    def device(self) -> torch.device:
        """Of the network."""
        return next(self.denoiser.parameters()).device


def load_model(
    run: RunDir,
    weights: str = "ema",
    device: str = "cpu",
    step: int | None = None,
    vae: str | None = None,
    autoguide: str | None = None,
) -> TrainedModel:
    """The model with the newest weights of a run, or those of a step; `RunError` if there are none.

    `vae`: the VAE of a latent model, if it has moved. `autoguide`: the weights that guide it, as
    `SamplingSpec.autoguide`; the model's hash is then that of both.
    """
    info = run.info()
    if device == "cpu":
        keep_freed_memory()
    path, tensors, meta, digest = newest_weights(run, weights, step)
    model = TrainedModel(
        filled(tensors, meta.spec, meta.facts, path).to(device).eval().requires_grad_(False),
        build.process(meta.spec.path),
        meta.facts,
        meta.spec,
        meta.step,
        digest,
        codec(meta.facts, vae, device),
        null_trained(meta.spec, info.start_from),
        run,
    )
    return model if autoguide is None else _guided_by(model, weights, autoguide)


def filled(tensors: Tensors, spec: RunSpec, facts: DataFacts, source: object) -> Denoiser:
    """The network with these weights, on the CPU; `CheckpointError` where they do not fit it or are not finite."""
    check_finite(tensors, source)
    check_size(tensors, spec.model, source)
    denoiser = build.denoiser(spec.model, facts)
    try:
        denoiser.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{source} does not fit the network its metadata describes: {error}") from None
    return denoiser


def _guided_by(model: TrainedModel, kind: str, autoguide: str) -> TrainedModel:
    """The model with worse weights of the same kind, given as a step, a run or a file."""
    assert model.run is not None
    if autoguide.isdecimal():
        path, tensors, meta, digest = newest_weights(model.run, kind, int(autoguide))
    else:
        path = weights_at(Path(autoguide))
        tensors, meta = read_weights(path)
        digest = file_sha256(path)
    if (meta.spec.path, meta.facts.shape, meta.facts.class_names) != (
        model.spec.path,
        model.facts.shape,
        model.facts.class_names,
    ):
        raise SpecError(
            f"--autoguide {autoguide}: its process, image size or classes are not those of {model.run.root}; choose "
            "weights that were trained on the same data"
        )
    worse = filled(tensors, meta.spec, meta.facts, path).to(model.device).eval().requires_grad_(False)
    return replace(model, worse=worse, weights_hash=json_sha256([model.weights_hash, digest]))


def newest_weights(run: RunDir, kind: str, step: int | None = None) -> tuple[Path, Tensors, WeightsMeta, str]:
    """The newest weights file, or that of a step, with its content and hash."""
    while steps := run.weight_steps(kind):
        if step is not None and step not in steps:
            raise RunError(f"{run.root} has no {kind} weights of step {step}; it has {', '.join(map(str, steps))}")
        path = run.weights(steps[-1] if step is None else step, kind)
        try:
            return path, *read_weights(path), file_sha256(path)
        except (CheckpointError, FileNotFoundError):
            if path.exists():
                raise  # otherwise training has just replaced it by newer ones
    raise RunError(f"{run.root} has no {kind} weights yet: continue it with the same taildiff train command")
