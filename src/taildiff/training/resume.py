"""Resume a run: only with the settings and data it was started with, from its newest intact checkpoint."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from taildiff.data.latents import LatentStore
from taildiff.engine import Engine
from taildiff.errors import CheckpointError, RunError
from taildiff.io.atomic import write_json
from taildiff.log import log
from taildiff.run.info import FORMAT, MAY_CHANGE, RunInfo, add_checksum, as_started, changed
from taildiff.run.layout import RunDir
from taildiff.spec import RunSpec
from taildiff.training.checkpoint import Position, Trainable, intact, load_checkpoint, newest, set_aside, tidy
from taildiff.training.request import TrainingRequest


def for_existing_run(request: TrainingRequest) -> TrainingRequest:
    """The request, with what the run has chosen: its precision for `auto`, and its network where an older version
    started it; says what that changes.
    """
    if not (request.run.exists() and request.run.checkpoint_steps()):
        return request
    info = request.run.info()
    if request.spec.precision == "auto":
        request = replace(request, spec=request.spec.model_copy(update={"precision": info.spec.precision}))
    if info.format != FORMAT:
        log.warning(
            f"{request.run.root} was started by an older version of taildiff: its network and objective stay as they "
            "are, but the random numbers from here on are others than that version would have drawn"
        )
    return replace(request, spec=as_started(request.spec, info))


def check_resumable(request: TrainingRequest) -> RunInfo | None:
    """run.json of a run with checkpoints, None for a new run; `RunError` where the request differs from the run."""
    run, spec = request.run, request.spec
    steps = run.checkpoint_steps()
    if not steps:
        return None
    if not run.exists():
        raise RunError(f"{run.root} has checkpoints but no run.json and cannot be resumed; use another --out")
    info = run.info()
    check_same(run, info.spec, spec)
    _check_same_data(request, info)
    if request.start_from is not None and str(request.start_from) != info.start_from:
        raise RunError(f"{run.root} already exists, and --from starts a new run; use another --out")
    if steps[-1] > spec.steps:
        raise RunError(f"{run.root} is at step {steps[-1]}, beyond --steps {spec.steps}; give more steps")
    return info


def _check_same_data(request: TrainingRequest, info: RunInfo) -> None:
    root, store = request.run.root, request.store
    latents = info.latents.hash if info.latents else None, store.info.hash if isinstance(store, LatentStore) else None
    if None in latents and latents != (None, None):
        was, now = ("images" if value is None else "latents" for value in latents)
        raise RunError(
            f"{root} was started on {was}, and {store.root} holds {now}; give the run's {was}, or use another --out"
        )
    for what, was, now in [
        ("another store", info.store.hash, store.meta.hash),
        ("another split", info.split_hash, request.split.hash),
        ("other latents", *latents),
    ]:
        if was != now:
            raise RunError(f"{root} was started with {what} (hash {was}, now {now}); use another --out")


def report_threads(info: RunInfo, engine: Engine) -> None:
    """Log where a run on a CPU resumes with another number of threads, since sums then round differently."""
    was, now = info.hardware.threads, torch.get_num_threads()
    if "cpu" == info.hardware.device == engine.device.type and was not in (None, now):
        log.warning(
            f"the last call of this run used {was} threads, this one {now}: from here on results are not bitwise those "
            f"of {was} threads (to use as many: OMP_NUM_THREADS={was})"
        )


def report_changed_term(info: RunInfo, now: str | None) -> None:
    """Log where the file of the user's own term has changed since the run was started."""
    if info.custom_sha256 and now and info.custom_sha256 != now:
        log.warning(
            f"the file of {info.spec.objective.custom.term} has changed since the last call of this run; from here on, "
            "its loss may be another one"
        )


def write_run_info(request: TrainingRequest, info: dict[str, Any], existing: RunInfo | None) -> None:
    """Write run.json and split.json; a resumed run keeps the start and the command of its first call."""
    start_from = str(request.start_from) if request.start_from else None
    if existing is not None:
        start_from = start_from or existing.start_from
        info |= {"format": existing.format, "created": existing.created, "command": list(existing.command)}
    request.run.root.mkdir(parents=True, exist_ok=True)
    request.split.save(request.run.split)
    write_json(request.run.spec, add_checksum(info | {"start_from": start_from}))


def check_same(run: RunDir, old: RunSpec, new: RunSpec) -> None:
    """`RunError` with one line per changed field when a run is resumed with other settings."""
    free = [*MAY_CHANGE, *(["steps"] if new.optimizer.schedule == "constant" else [])]
    lines = [f"  {name}: {was!r} -> {now!r}" for name, was, now in changed(old, new, free)]
    if lines:
        hint = "" if "steps" in free else " (steps may change only under a constant schedule)"
        raise RunError(
            f"{run.root} was started with other settings{hint}:\n"
            + "\n".join(lines)
            + "\nRestore these to resume it, or use another --out"
        )


def resume(run: RunDir, trainable: Trainable, engine: Engine) -> Position:
    """Restore every process from the newest intact checkpoint; rank zero tidies up and sets damaged ones aside."""
    if engine.is_rank_zero:
        tidy(run)
    engine.barrier()
    position = restore(run, trainable)
    if engine.any(position.step != engine.max(position.step)):
        raise RunError(
            f"the processes do not see the same checkpoints in {run.states} (this one: step {position.step}): "
            "--out must be on a file system that all nodes share"
        )
    engine.barrier()  # no checkpoint is set aside while another process reads it
    if engine.is_rank_zero:
        for folder in newest(run):
            if folder > run.state(position.step):
                set_aside(folder)
    return position


def restore(run: RunDir, trainable: Trainable) -> Position:
    """Restore the newest intact checkpoint, with a warning for each damaged one; without any, position zero."""
    damaged = 0
    for folder in newest(run):
        try:
            position = load_checkpoint(folder, trainable)
        except CheckpointError as error:
            log.warning(f"ignored a damaged checkpoint: {error}")
            damaged += 1
            continue
        if (run.metrics.stat().st_size if run.metrics.is_file() else 0) < position.metrics_bytes:
            log.warning(f"{run.metrics} is shorter than at the checkpoint; the lost lines cannot be recovered")
        skipped = f"; skipped so far: {position.skipped}" if str(position.skipped) else ""
        log.info(f"resuming {run.root} after step {position.step}{skipped}")
        return position
    if damaged:
        raise _none_intact(run, damaged)
    return Position()


def check_restorable(run: RunDir) -> None:
    """`CheckpointError` where a run has checkpoints and none is intact; changes nothing."""
    folders = newest(run)
    for folder in folders:
        with suppress(CheckpointError):
            intact(folder)
            return
    if folders:
        raise _none_intact(run, len(folders))


def _none_intact(run: RunDir, damaged: int) -> CheckpointError:
    return CheckpointError(
        f"none of the {damaged} checkpoints in {run.states} is intact; "
        "restore one from a backup, or remove the folder to start again"
    )
