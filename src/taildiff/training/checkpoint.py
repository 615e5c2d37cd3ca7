"""Checkpoints: everything training resumes from, in safetensors and JSON.

    state/step-0000800/   model.safetensors      parameters of denoiser and objective (heads)
                          ema.safetensors        averaged denoiser
                          optimizer.safetensors  state by parameter name: "exp_avg/denoiser.net.conv_in.weight"
                          state.json             position, and size and sha256 of the three files; written last

A folder is written under a temporary name, synced to the disk and renamed, so that it exists completely or not at all.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from taildiff.errors import CheckpointError, SpecError
from taildiff.io.atomic import fsync_dir, remove_temporary, write_atomic, write_json
from taildiff.io.checksum import CHECKSUM, checksum_matches, file_sha256, with_checksum
from taildiff.io.json_files import read_json
from taildiff.run.info import FORMAT, Format, check_format
from taildiff.run.layout import RunDir
from taildiff.run.weights import check_finite, read_tensors
from taildiff.spec import Spec, parse
from taildiff.training.optimizers import Optimizer
from taildiff.training.skip_steps import Skipped

FILES = ("model", "ema", "optimizer")


class FileMeta(Spec):
    """Size and checksum of a file."""

    bytes: int
    sha256: str


class Position(Spec):
    """How far a run has come."""

    format: Format = FORMAT
    step: int = 0
    """Steps done."""
    images: int = 0
    """Images seen."""
    seconds: float = 0.0
    """Of training, excluding evaluation and saving."""
    metrics_bytes: int = 0
    """Length of metrics.jsonl."""
    skipped: Skipped = Skipped()
    """Skipped steps."""
    files: dict[str, FileMeta] = Field(default_factory=dict)
    sha256: str = ""
    """Checksum of all other fields."""


@dataclass(frozen=True)
class Trainable:
    """What a checkpoint saves: the learner, its average, its optimiser."""

    learner: nn.Module
    ema: AveragedModel
    optimizer: Optimizer

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All tensors by file and name."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.learner.named_parameters()}
        state = {
            f"{key}/{names[parameter]}": torch.as_tensor(value)
            for parameter, values in self.optimizer.state.items()
            for key, value in values.items()
        }
        return {"model": self.learner.state_dict(), "ema": self.ema.state_dict(), "optimizer": state}

    def restore(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        """Load what `tensors` returned; raises RuntimeError, KeyError or ValueError when they do not fit."""
        self.learner.load_state_dict(tensors["model"])
        self.ema.load_state_dict(tensors["ema"])
        parameters = dict(self.learner.named_parameters())
        self.optimizer.state.clear()
        for name, value in tensors["optimizer"].items():
            key, parameter = name.split("/", 1)
            owner = parameters[parameter]
            if value.ndim and value.shape != owner.shape:
                raise ValueError(f"{name} is {tuple(value.shape)}, its parameter {tuple(owner.shape)}")
            # copied, because values may be memory-mapped
            self.optimizer.state[owner][key] = value.to(owner.device, copy=True)


def save_checkpoint(run: RunDir, position: Position, trainable: Trainable) -> None:
    """Write the checkpoint of `position.step`, replacing an older one of the same step.

    On failure (OSError names the checkpoint), the half-written files are removed, which frees their space.
    """
    target = run.state(position.step)
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        run.states.mkdir(exist_ok=True)  # without its parents: a run that was removed is not begun again
        temporary.mkdir()
        _write(temporary, position, trainable)
        if target.exists():
            old = target.with_name(f".{target.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
            temporary.rename(target)
            shutil.rmtree(old)
        else:
            temporary.rename(target)
        fsync_dir(run.states)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        error.filename, error.filename2 = str(target), None
        raise


def _write(folder: Path, position: Position, trainable: Trainable) -> None:
    """Write and sync the files of a checkpoint, state.json last."""
    files: dict[str, FileMeta] = {}
    for name, tensors in trainable.tensors().items():
        data = save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
        write_atomic(folder / f"{name}.safetensors", data)
        files[name] = FileMeta(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    values = position.model_copy(update={"files": files}).model_dump(exclude={CHECKSUM})
    write_json(folder / "state.json", with_checksum(values))


def load_checkpoint(folder: Path, trainable: Trainable) -> Position:
    """Restore one checkpoint; `CheckpointError` names what is damaged or not finite, before anything is changed."""
    position, paths = intact(folder)
    tensors = {name: read_tensors(path)[0] for name, path in paths.items()}  # memory-mapped: processes share them
    for name, path in paths.items():
        check_finite(tensors[name], path)
    try:
        trainable.restore(tensors)
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{folder} does not fit this run's network: {error}") from None
    return position


def intact(folder: Path) -> tuple[Position, dict[str, Path]]:
    """The position and the files of a checkpoint; `CheckpointError` names what is damaged."""
    position = read_position(folder)
    paths = {name: folder / f"{name}.safetensors" for name in FILES}
    for name, path in paths.items():
        _check(path, position.files.get(name))
    return position, paths


def _check(path: Path, expected: FileMeta | None) -> None:
    """`CheckpointError` unless the file is the one that was written."""
    try:
        sha256, size = file_sha256(path), path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    if expected is None or sha256 != expected.sha256:
        raise CheckpointError(f"{path} is damaged: its {size} bytes do not match the checksum in state.json")


def read_position(folder: Path) -> Position:
    """Read a checkpoint's state.json; `CheckpointError` when it is damaged or of another step."""
    path = folder / "state.json"
    try:
        values = read_json(path)
        check_format(values, path, CheckpointError)
        position = parse(Position, values, str(path))
    except SpecError as error:
        raise CheckpointError(str(error)) from None
    if not checksum_matches(values):
        raise CheckpointError(f"{path} is damaged: its checksum does not match its content")
    if folder.name != f"step-{position.step:07d}":
        raise CheckpointError(f"{path} is of step {position.step}, unlike its folder")
    return position


def newest(run: RunDir) -> list[Path]:
    """The checkpoint folders, newest first."""
    return [run.state(step) for step in reversed(run.checkpoint_steps())]


def tidy(run: RunDir) -> None:
    """Remove, or rename back, what a crash while saving left behind."""
    for old in run.states.glob(".step-*.old"):
        target = run.states / old.name.removeprefix(".").removesuffix(".old")
        if not target.exists():
            old.rename(target)
    for leftover in [*run.states.glob(".step-*.tmp"), *run.states.glob(".step-*.old")]:
        shutil.rmtree(leftover, ignore_errors=True)
    for folder in (run.root, run.weights_dir, run.samples):
        remove_temporary(folder)


def set_aside(folder: Path) -> None:
    """Rename a damaged checkpoint, so that it no longer counts and is not lost."""
    target = folder.with_name(f"damaged-{folder.name}")
    shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)


def prune(run: RunDir, step: int, keep: int) -> None:
    """Keep the newest `keep` checkpoints and weights files up to `step`; later weights have lost their checkpoint."""
    for old in run.checkpoint_steps()[:-keep]:
        shutil.rmtree(run.state(old))
    for kind in ("ema", "raw"):
        steps = run.weight_steps(kind)
        for other in {*steps} - {*[s for s in steps if s <= step][-keep:]}:
            run.weights(other, kind).unlink()
